"""The test items that each trial got right, from the predictions that its run keeps."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.core.text import counted
from ablate.tracking.artifacts import PREDICTIONS_FILE, read_predictions
from ablate.tracking.moved import local_folder

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MOST_FETCHED = 1000
"""Runs whose predictions are fetched from a server; a file on this machine is read whatever their number."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of one trial: (items,) whether it got each test item right, and how many classes there are."""

    right: NDArray[np.bool_]
    classes: int


def read(client: MlflowClient, frame: pd.DataFrame) -> dict[str, Predictions]:
    """Return the predictions of done trials by run_id, where they are kept."""
    done = frame[frame["outcome"] == "done"]
    folders = {run_id: local_folder(uri) for run_id, uri in zip(done["run_id"], done["artifacts"], strict=True)}
    results = {run_id: _read(folder / PREDICTIONS_FILE) for run_id, folder in folders.items() if folder}
    elsewhere = [run_id for run_id, folder in folders.items() if not folder][:MOST_FETCHED]
    with ThreadPoolExecutor(8) as pool:
        results |= dict(zip(elsewhere, pool.map(lambda run_id: _fetch(client, run_id), elsewhere), strict=True))
    return {run_id: known for run_id, known in results.items() if known is not None}


def missing_files(frame: pd.DataFrame) -> list[str]:
    """Return a sentence on done trials whose files are not where MLflow has them, if there are any."""
    folders = list(map(local_folder, frame.loc[frame["outcome"] == "done", "artifacts"]))
    lost = [folder for folder in folders if folder and not folder.is_dir()]
    if not lost:
        return []
    return [
        f"The files of {len(lost)} of {counted(len(folders), 'trial')} are not found, the first at {lost[0]}: their "
        "predictions are left out. Put the folder mlruns beside MLflow's database."
    ]


def _fetch(client: MlflowClient, run_id: str) -> Predictions | None:
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return _read(Path(client.download_artifacts(run_id, PREDICTIONS_FILE, folder)))
        except (MlflowException, OSError):
            return None


def _read(file: Path) -> Predictions | None:
    """Return a file's predictions; None where it is damaged, empty or not there."""
    try:
        predicted, labels = (np.array(classes, dtype=int) for classes in read_predictions(file.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not len(predicted) or predicted.shape != labels.shape:
        return None
    return Predictions(np.asarray(predicted == labels), int(labels.max()) + 1)
