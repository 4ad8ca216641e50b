"""A trial's predictions on the test set, in a file beside its event log, so that the log's lines stay small.

predictions.npz holds two arrays of shape (n,) and of whole numbers: `predicted` and `labels`, a class index per test
item, in the data set's own order. It is written before the log's line that says `Done`. In run directories that were
written before this file existed, that line itself holds the predictions.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

from ablate.core.errors import UsageError
from ablate.core.events import Done, Event

PREDICTIONS = "predictions.npz"


def save(directory: Path, done: Done) -> None:
    """Write the outcome's predictions whole, and onto the disk, before this returns; without any, leave no file."""
    import numpy as np  # here, since most commands read no predictions, and start faster without it

    path = directory / PREDICTIONS
    if not done.predicted:
        path.unlink(missing_ok=True)  # of an attempt that ended before it could store its outcome
        return
    temporary = directory / f".{PREDICTIONS}.tmp"
    with temporary.open("wb") as file:
        np.savez_compressed(file, predicted=np.asarray(done.predicted), labels=np.asarray(done.labels))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(directory: Path) -> tuple[list[int], list[int]]:
    """Return the predicted classes and the labels, (n,) each; both empty where there is no file.

    Raises:
        UsageError: the file is damaged.
    """
    import numpy as np

    path = directory / PREDICTIONS
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["predicted"].tolist(), arrays["labels"].tolist()
    except FileNotFoundError:
        return [], []
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UsageError(
            f"{path}: damaged ({error}); allowed: to remove {directory} and train the trial again"
        ) from error


def with_predictions(events: Sequence[Event], directory: Path) -> list[Event]:
    """Return a trial's events; if the last one is `Done` and lacks its predictions, with those of the file."""
    if not events or not isinstance(done := events[-1], Done) or done.predicted:
        return list(events)
    predicted, labels = load(directory)
    return [*events[:-1], dataclasses.replace(done, predicted=predicted, labels=labels) if predicted else done]
