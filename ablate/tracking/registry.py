"""An exported model in MLflow's model registry."""

from __future__ import annotations

import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablate.core.errors import UsageError

ARTIFACT = "model"
"""Name of the model among the artifacts of its trial's run."""


def register(uri: str, name: str, path: Path, trial_id: str, example: Any) -> int:
    """Put an ONNX file beside the trial's run, with signature and input example, and register it; return its version.

    The run itself stays as it is: MLflow's own way would start it again.

    Args:
        uri: the MLflow that has the trial's run.
        name: of the registered model, which is made when it is new.
        path: the ONNX file.
        trial_id: whose run it becomes part of.
        example: (1, C, H, W) float32, one image's pixel values.

    Raises:
        UsageError: MLflow has no such run, cannot be opened or does not answer.
    """
    from ablate.tracking.client import away, connect, why

    try:
        client = connect(uri)
        run_id = _run_id(client, uri, trial_id)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's, about its own code
            return _registered(client, name, path, run_id, example)
    except Exception as error:
        if not away(error):
            raise
        raise UsageError(f"track.uri={uri}: does not answer ({why(error)}); allowed: a running MLflow") from error


def _run_id(client: Any, uri: str, trial_id: str) -> str:
    ids = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(ids, f"tags.trial_id = '{trial_id}' and tags.kind = 'trial'", max_results=1)
    if not runs:
        raise UsageError(
            f"register: MLflow at {uri} has no run of {trial_id}; python -m ablate.track study=NAME delivers it"
        )
    return str(runs[0].info.run_id)


def _registered(client: Any, name: str, path: Path, run_id: str, example: Any) -> int:
    import mlflow
    import onnx
    import onnxruntime
    from mlflow.exceptions import MlflowException
    from mlflow.models import infer_signature

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: example})
    with tempfile.TemporaryDirectory() as folder:
        mlflow.onnx.save_model(
            onnx.load_model_from_string(path.read_bytes()),
            f"{folder}/{ARTIFACT}",
            signature=infer_signature(example, logits),
            input_example=example,
            pip_requirements=[
                f"{package}=={version(package)}" for package in ("mlflow", "onnx", "onnxruntime", "numpy")
            ],
        )
        client.log_artifacts(run_id, f"{folder}/{ARTIFACT}", ARTIFACT)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise UsageError(f"register={name}: {str(error).splitlines()[0]}") from error
    return int(client.create_model_version(name, f"runs:/{run_id}/{ARTIFACT}", run_id).version)
