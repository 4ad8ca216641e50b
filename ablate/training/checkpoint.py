"""Checkpoints of one trial: training as it stood, in a file that is whole or not there, and the one before."""

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

FORMAT = 2
"""Goes up when what a checkpoint holds changes; one of another format is not used."""

SECONDS_A_MINUTE = 60
SECONDS_BETWEEN_LOOKS = 0.2
WORTH_KEEPING_S = 10.0
"""Training that took longer is kept before the last evaluation, during which nothing can be kept."""


class Checkpoints:
    """The checkpoints in a run directory.

    Args:
        directory: the trial's run directory.
        epochs: between two checkpoints, at the end of one; or
        minutes: between two, wherever training stands. One of both is None.
    """

    def __init__(self, directory: Path, *, epochs: int | None = None, minutes: float | None = None) -> None:
        self.newest, self.previous = (directory / name for name in CHECKPOINTS)
        self._epochs, self._seconds = epochs, minutes and minutes * SECONDS_A_MINUTE
        self._saved = time.monotonic()

    def is_due(self, epoch: int | None = None) -> bool:
        """Whether it is time for the next one; `epoch` is the one that has just ended, None within one."""
        if self._seconds is not None:
            return self.age_s() >= self._seconds
        return epoch is not None and epoch % (self._epochs or 1) == 0

    def age_s(self) -> float:
        """Seconds since the last one was written, or since training began here."""
        return time.monotonic() - self._saved

    def save(self, state: dict[str, Any]) -> None:
        """Put the state on the disk, come what may, before what was there is given up. Raises OSError."""
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
        """The newest state that is whole, None without one; and a line about each file that is not."""
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
    """Writes a training's checkpoints when they are due, and when it is asked to stop.

    The first rank looks, decides for all and writes; all of them call the same, and stop between the same batches.

    Args:
        checkpoints: where they go.
        stop: the file whose existence asks for it; None where nobody can.
        prune: the file that asks for it as a tuning does, and that says why.
        state: what to keep, as it is now; called on all ranks.
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
        """Between two batches. Raises Stopped or Pruned, with a checkpoint written, when asked to."""
        asked, due = self._decided(self.checkpoints.is_due())
        if asked or due:
            self._save()
        if asked:
            raise asked

    def after_epoch(self, epoch: int, *, is_last: bool) -> None:
        """Between an epoch and its evaluation, as `between`."""
        due = self.checkpoints.is_due(epoch) or (is_last and self.checkpoints.age_s() > WORTH_KEEPING_S)
        if self._ranks.decided(due):
            self._save()
        self.between()

    def stop_if_asked(self) -> None:
        """Where the state can no longer be kept: raises Stopped or Pruned, and the last checkpoint stands."""
        asked, _ = self._decided(due=False)
        if asked:
            raise asked

    def _save(self) -> None:
        state = self._state()
        if self._ranks.is_first:
            self.checkpoints.save(state)

    def _decided(self, due: bool) -> tuple[Stopped | Pruned | None, bool]:
        """What the first rank was asked for, and whether it says that a checkpoint is due: mostly one small number."""
        asked = self._asked() if self._ranks.is_first else None
        choice = self._ranks.decided(2 * (asked is not None) + due)
        return self._ranks.told(asked) if choice >= 2 else None, bool(choice % 2)

    def _asked(self) -> Stopped | Pruned | None:
        """Looks a few times a second: on a shared file system a look can take milliseconds."""
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return None
        self._looked = now
        if self._stop is not None and self._stop.exists():
            return Stopped()
        return Pruned(self._prune.read_text()) if self._prune.exists() else None


def write(state: dict[str, Any], path: Path) -> None:
    """Write what torch can save, and have it survive a loss of power."""
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as file:
        torn = file.testzip()  # torch itself does not look at the checksums
    if torn:
        raise ValueError(f"{torn} is not as written")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["format"] != FORMAT:
        raise ValueError(f"its format is {state['format']}, not {FORMAT}")
    return state


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
