"""The tuning of a study: which configuration of which cell is tried next, and what each cell chose."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend

from ablate.core.errors import UsageError
from ablate.core.events import Epoch, Event, Failed, Outcome
from ablate.core.study import Cell, Trial
from ablate.planning.tuning import TunedCell, Tuning, Values
from ablate.store import run_directory
from ablate.store.run_store import RunStore
from ablate.tuning.cell import CellTuning


class Tuner:
    """Hands out trials of the cells' tuning, a few of each at a time, and follows their events.

    One process at a time tunes a study; what it asked and was told is in the storage, so that the same line goes on
    after a kill. `close` lets others.

    Args:
        study: its name.
        tuning: what was asked.
        cells: in the order of the design.
        store: the run directories.
        at_once: trials that may run or wait at a time.

    Raises:
        UsageError: another process is tuning the study, or the storage cannot be opened.
    """

    def __init__(
        self,
        study: str,
        tuning: Tuning,
        cells: Sequence[TunedCell],
        store: RunStore,
        at_once: int,
    ) -> None:
        optuna.logging.set_verbosity(logging.ERROR)
        self.tuning, self.store, self.at_once = tuning, store, at_once
        runs = store.runs
        (runs / "studies").mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(runs / "studies" / f"{study}.tune.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            told = "another process is tuning it; allowed: one at a time; say the line again when it is through"
            raise UsageError(f"study={study}: {told}") from None
        try:
            kept = _storage(tuning.storage, runs / "studies" / f"{study}.optuna")
            self.cells = {one.cell: CellTuning(kept, study, tuning, one) for one in cells}
        except BaseException:
            self._lock.release()
            raise
        self._chosen: set[Cell] = set()

    def close(self) -> None:
        self._lock.release()

    def begin(self) -> list[Trial]:
        """What earlier drivers handed out, ended or not, and more."""
        known = [trial for one in self.cells.values() for trial in one.taken_over]
        return [*known, *self.more()]

    def more(self) -> list[Trial]:
        """Further configurations, as many as may run or wait beside those that do; of each cell equally many."""
        found: list[Trial] = []
        while (open_ones := [one for one in self.cells.values() if not one.is_spent]) and self._room > 0:
            found.append(min(open_ones, key=lambda one: (len(one.running), one.started)).ask())
        return found

    def follow(self, trial: Trial, event: Event) -> None:
        """Take in an event of one of the tuning's trials; a trial that is to stop is asked to."""
        one = self.cells[trial.cell]
        if isinstance(event, Epoch):
            reason = one.report(trial, event)
            if reason:
                self.store.prune(trial, reason)
        elif outcome := run_directory.outcome_of(event):
            history = self.store.local.history(trial)  # whoever hands on an outcome has read it in the store
            epochs = [told for told in history if isinstance(told, Epoch)]
            one.tell(trial, outcome, epochs[-1] if epochs else None)

    def choices(self) -> Iterator[tuple[Cell, Values | None]]:
        """The cells whose tuning is over since the last call, each with what it chose; None where nothing was done."""
        for cell, one in self.cells.items():
            if one.is_over and cell not in self._chosen:
                self._chosen.add(cell)
                yield cell, one.best()

    def is_over(self, trial: Trial, outcome: Outcome | None) -> bool:
        """Whether a trial is not to be gone on with: its end was told, or it was pruned, which is its end here."""
        if trial.trial_id not in self.cells[trial.cell].running:
            return True
        return isinstance(outcome, Failed) and outcome.kind == "pruned" and self.tuning.prunes

    @property
    def _room(self) -> float:
        return self.at_once - sum(len(one.running) for one in self.cells.values())


class _Lock:
    """As Optuna's own locks, which a process that is killed leaves behind; this one the system takes back."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _storage(asked: str | None, usual: Path) -> Any:
    if asked is not None and "://" in asked:
        try:
            return optuna.storages.RDBStorage(asked)
        except Exception as error:  # SQLAlchemy's and each driver's own
            first = str(error).partition("\n")[0]
            raise UsageError(f"tune.storage={asked}: {first}; allowed: a database's address, or a file") from error
    path = Path(asked) if asked is not None else usual
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        lock: Any = _Lock(path.with_name(f"{path.name}.lock"))
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"tune.storage={path}: {error}; allowed: a file that Optuna's journal is kept in") from error


def _drop_torn_line(path: Path) -> None:
    """What a full disk or a loss of power left of a last line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def at_once(slots: float, cells: int) -> int:
    """Trials that may run or wait: every slot has the next one ready, and every cell one."""
    return max(2 * math.ceil(slots), cells)
