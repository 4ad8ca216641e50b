"""Which test items each trial got right, from the predictions that its run keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NAME = "predictions.json"
MOST_FETCHED = 1000
"""Runs whose predictions are fetched from a server; a file on this machine is read whatever their number."""

Found = tuple[str, NDArray[np.bool_]]


def right(client: Any, frame: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """run_id -> (items,) whether the trial got each test item right, of the done trials that kept predictions."""
    done = frame[frame["outcome"] == "done"]
    runs = list(zip(done["run_id"], done["artifacts"], strict=True))
    here = [(run_id, _path(where)) for run_id, where in runs if _path(where)]
    elsewhere = [run_id for run_id, where in runs if not _path(where)][:MOST_FETCHED]
    with ThreadPoolExecutor(8) as pool:
        fetched = list(pool.map(lambda run_id: _fetched(client, run_id), elsewhere))
    read = (_read(run_id, Path(path, NAME)) for run_id, path in here)
    return dict(_known([*read, *fetched]))


def _known(found: Iterable[Found | None]) -> Iterable[Found]:
    return (one for one in found if one)


def _path(where: str) -> str:
    """The folder of a file address; empty for one elsewhere."""
    parts = urlsplit(where)
    return url2pathname(parts.path) if parts.scheme in ("", "file") else ""


def _fetched(client: Any, run_id: str) -> Found | None:
    import tempfile

    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return _read(run_id, Path(client.download_artifacts(run_id, NAME, folder)))
        except (MlflowException, OSError):
            return None


def _read(run_id: str, file: Path) -> Found | None:
    try:
        kept = json.loads(file.read_text())
        predicted, labels = np.array(kept["predicted"], dtype=int), np.array(kept["labels"], dtype=int)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (run_id, predicted == labels) if len(predicted) and predicted.shape == labels.shape else None
