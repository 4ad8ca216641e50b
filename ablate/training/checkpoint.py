"""Checkpoints of one trial: the state of its training, in a file that is whole or missing, and the one before."""

from __future__ import annotations

import math
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablate.core.errors import Pruned, Stopped
from ablate.store.run_directory import CHECKPOINTS
from ablate.training.ranks import ALONE, Ranks

FORMAT = 3
"""Raised by 1 whenever the content of a checkpoint changes; a checkpoint of another format is not used."""

SECONDS_A_MINUTE = 60
SECONDS_BETWEEN_LOOKS = 0.2
WORTH_KEEPING_S = 10.0
"""After this many seconds without one, a checkpoint is written before the last evaluation, which allows none."""


class Checkpoints:
    """The checkpoints in a run directory.

    Args:
        directory: the trial's run directory.
        epochs: between two checkpoints, written at the end of an epoch; None where `minutes` count.
        minutes: between two checkpoints, written after any batch; None where `epochs` count.
    """

    def __init__(self, directory: Path, *, epochs: int | None = None, minutes: float | None = None) -> None:
        self.newest, self.previous = (directory / name for name in CHECKPOINTS)
        self._epochs, self._seconds = epochs, minutes and minutes * SECONDS_A_MINUTE
        self._saved = time.monotonic()

    def is_due(self, epoch: int | None = None) -> bool:
        """Return whether the next checkpoint is due.

        Args:
            epoch: the one that has just ended; None within an epoch.
        """
        if self._seconds is not None:
            return self.age_s() >= self._seconds
        return epoch is not None and epoch % (self._epochs or 1) == 0

    def age_s(self) -> float:
        """Return the seconds since the last checkpoint was written, or since this attempt began."""
        return time.monotonic() - self._saved

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, and only then give up the checkpoint before the last.

        Raises:
            OSError: the disk is full or fails; the checkpoints that were there stay.
        """
        temporary = self.newest.with_suffix(".tmp")
        try:
            write(state | {"format": FORMAT}, temporary)
            if self.newest.exists():
                self.newest.replace(self.previous)
            temporary.replace(self.newest)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(self.newest.parent)
        self._saved = time.monotonic()

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the newest whole state, None without one, and a line about each file that is not whole."""
        complaints: list[str] = []
        for path in (self.newest, self.previous):
            try:
                return _read(path), complaints
            except FileNotFoundError:
                continue
            except Exception as error:  # torch raises whatever its reader trips over
                complaints.append(f"{path.name} is damaged ({str(error).partition(chr(10))[0]})")
        return None, complaints

    def remove(self) -> None:
        for path in (self.newest, self.previous):
            path.unlink(missing_ok=True)


class CheckpointWriter:
    """Writes a training's checkpoints when they are due, and when the trial is requested to stop.

    The first rank looks for requests, decides for all ranks and writes. All ranks call the same methods, and stop
    between the same two batches.

    Args:
        checkpoints: where they go.
        stop: the file that requests a stop by its existence; None where nobody can.
        prune: the file with which a tuning requests a stop, and that says why.
        state: returns the current state; called on all ranks.
        ranks: the processes that train.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        stop: Path | None,
        prune: Path,
        state: Callable[[], dict[str, Any]],
        ranks: Ranks = ALONE,
    ) -> None:
        self.checkpoints, self._stop, self._prune, self._state = checkpoints, stop, prune, state
        self._ranks, self._looked = ranks, -math.inf

    def between(self) -> None:
        """Write a checkpoint if one is due; called between two batches.

        Raises:
            Stopped: the trial is requested to stop; a checkpoint is written.
            Pruned: a tuning requests it; a checkpoint is written.
        """
        request, due = self._decided(self.checkpoints.is_due())
        if request or due:
            self._save()
        if request:
            raise request

    def after_epoch(self, epoch: int, *, is_last: bool) -> None:
        """Do as `between`; called between an epoch and its evaluation."""
        due = self.checkpoints.is_due(epoch) or (is_last and self.checkpoints.age_s() > WORTH_KEEPING_S)
        if self._ranks.first_choice(due):
            self._save()
        self.between()

    def stop_if_requested(self) -> None:
        """Write nothing; called where the state can no longer be kept, so that the last checkpoint stays.

        Raises:
            Stopped: the trial is requested to stop.
            Pruned: a tuning requests it.
        """
        request, _ = self._decided(due=False)
        if request:
            raise request

    def _save(self) -> None:
        state = self._state()
        if self._ranks.is_first:
            self.checkpoints.save(state)

    def _decided(self, due: bool) -> tuple[Stopped | Pruned | None, bool]:
        """Return the request that the first rank sees, and whether a checkpoint is due there.

        Ranks mostly exchange one small number for it.
        """
        request = self._stop_request() if self._ranks.is_first else None
        choice = self._ranks.first_choice(2 * (request is not None) + due)
        return self._ranks.first_value(request) if choice >= 2 else None, bool(choice % 2)

    def _stop_request(self) -> Stopped | Pruned | None:
        """Look for a request a few times a second: on a shared file system a look can take milliseconds."""
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return None
        self._looked = now
        if self._stop is not None and self._stop.exists():
            return Stopped()
        return Pruned(self._prune.read_text()) if self._prune.exists() else None


def write(state: dict[str, Any], path: Path) -> None:
    """Write what torch can save, so that it survives a loss of power."""
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as file:
        torn = file.testzip()  # torch itself does not look at the checksums
    if torn:
        raise ValueError(f"{torn} is not as written")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["format"] != FORMAT:
        raise ValueError(f"its format is {state['format']}, not {FORMAT}")
    return state


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
