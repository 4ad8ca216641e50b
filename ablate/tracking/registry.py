"""Putting an exported model into MLflow's model registry."""

from __future__ import annotations

import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.core import invocation
from ablate.core.errors import UsageError
from ablate.tracking.record import of_trial

if TYPE_CHECKING:
    import numpy as np
    from mlflow.tracking import MlflowClient
    from numpy.typing import NDArray

ARTIFACT = "model"
"""Name of the model among the artifacts of its trial's run."""


def register(uri: str, name: str, path: Path, trial_id: str, example: NDArray[np.float32]) -> int:
    """Log an ONNX file to the trial's run, with signature and input example, and register it; return its version.

    The run keeps its status and times: MLflow's own function would start the run again.

    Args:
        uri: the MLflow that has the trial's run.
        name: of the registered model, which is made when it is new.
        path: the ONNX file.
        trial_id: the trial whose run gets the model.
        example: (1, C, H, W) float32, one image's pixel values.

    Raises:
        UsageError: MLflow has no run of the trial, cannot be opened or does not answer.
    """
    from ablate.tracking.client import connect, is_unavailable, why

    try:
        client = connect(uri)
        run_id = _run_id(client, uri, trial_id)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns about its own code
            return _registered(client, name, path, run_id, example)
    except Exception as error:
        if not is_unavailable(error):
            raise
        raise UsageError(f"track.uri={uri}: does not answer ({why(error)}); allowed: a running MLflow") from error


def _run_id(client: MlflowClient, uri: str, trial_id: str) -> str:
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, of_trial(trial_id), max_results=1)
    if not runs:
        raise UsageError(
            f"register: MLflow at {uri} has no run of {trial_id}; {invocation.command('track')} study=NAME delivers it"
        )
    return str(runs[0].info.run_id)


def _registered(client: MlflowClient, name: str, path: Path, run_id: str, example: NDArray[np.float32]) -> int:
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
