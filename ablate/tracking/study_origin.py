"""Where a study comes from, as artifacts of its parent run: its requests, what it holds fixed, and patches to code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.core.levels import Level
from ablate.core.requests import REQUESTS, Request, diffs
from ablate.core.study import Study, Trial
from ablate.store import manifest
from ablate.store.run_directory import CODE_FOLDER
from ablate.tracking.artifacts import PROVENANCE_FILE

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def keep(client: MlflowClient, run_id: str, study: Study, runs: Path) -> None:
    """Log `PROVENANCE_FILE`, and once each patch that a request names, to the study's parent run.

    Args:
        client: of MLflow.
        run_id: of the parent run.
        study: as this driver requested it; earlier requests are in its manifest.
        runs: the runs folder, whose manifest and patches are read.
    """
    if study.name in manifest.names(runs):
        study = manifest.load(study.name, runs).study
    requests = list(study.metadata.get(REQUESTS, ()))
    if not requests:
        return
    client.log_dict(run_id, content(study, requests), PROVENANCE_FILE)
    paths = [f"{CODE_FOLDER}/{name}" for name in sorted({name for request in requests for name in diffs(request)})]
    logged = {file.path for file in client.list_artifacts(run_id, CODE_FOLDER)} if paths else set()
    for path in paths:
        if path not in logged and (runs / path).is_file():
            client.log_artifact(run_id, str(runs / path), CODE_FOLDER)


def content(study: Study, requests: Sequence[Request]) -> dict[str, Any]:
    """Return what the artifact `PROVENANCE_FILE` holds: the requests, the factors, and the settings held fixed."""
    factors = {name: list(levels) for name, levels in study.factors.items()}
    return {"study": study.name, "requests": requests, "factors": factors, "fixed": _fixed(study.trials)}


def _fixed(trials: Sequence[Trial]) -> Mapping[str, Level]:
    """Return the settings that all trials share."""
    first, *others = [dict(trial.params) for trial in trials] or [{}]
    for params in others:
        first = {key: value for key, value in first.items() if key in params and params[key] == value}
    return first
