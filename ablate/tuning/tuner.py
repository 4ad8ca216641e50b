"""The tuning of a study: it picks the configurations that are tried next, and each cell's best one."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import optuna

from ablate.core.events import Epoch, Event, Failed, Outcome
from ablate.core.study import Trial
from ablate.planning.tuning import Search, TunedCell, Tuning, Values
from ablate.store import run_directory
from ablate.store.run_store import RunStore
from ablate.tuning.cell import CellTuning
from ablate.tuning.storage import default_file, lock, open_storage


class Tuner:
    """Hands out trials of the cells' tuning, a few of each cell at a time, and follows their events.

    One process at a time tunes a study, until `close`. Optuna's storage holds every configuration and result, so that
    the same line continues the tuning after a kill.

    Args:
        study: the study's name.
        tuning: the sampler, the pruner and the budget.
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
        self._lock = lock(study, runs)
        try:
            storage = open_storage(tuning.storage, default_file(study, runs))
            self.searches = {
                Search(tuned.cell, number): CellTuning(storage, study, tuning.of_search(number), tuned)
                for tuned in cells
                for number in range(tuning.searches)
            }
        except BaseException:
            self._lock.release()
            raise
        self._chosen: set[Search] = set()

    def close(self) -> None:
        self._lock.release()

    def begin(self) -> list[Trial]:
        """Return the trials that earlier drivers handed out, ended or not, and further ones."""
        known = [trial for search in self.searches.values() for trial in search.taken_over]
        return [*known, *self.more()]

    def more(self) -> list[Trial]:
        """Return further configurations until `at_once` trials run or wait; every search gets equally many."""
        trials: list[Trial] = []
        while (unspent := [search for search in self.searches.values() if not search.is_spent]) and self._room > 0:
            trials.append(min(unspent, key=lambda search: (len(search.running), search.started)).ask())
        return trials

    def follow(self, trial: Trial, event: Event) -> None:
        """Take in an event of one of the tuning's trials; request a trial to stop where the pruner says so."""
        search = self._search(trial)
        if isinstance(event, Epoch):
            reason = search.report(trial, event)
            if reason:
                self.store.prune(trial, reason)
        elif outcome := run_directory.outcome_of(event):
            history = self.store.local.history(trial)  # whoever hands on an outcome has read it in the store
            epochs = [earlier for earlier in history if isinstance(earlier, Epoch)]
            search.tell(trial, outcome, epochs[-1] if epochs else None)

    def choices(self) -> Iterator[tuple[Search, Values | None]]:
        """Yield each search that has ended since the last call, with its choice; None where no trial is done."""
        for search, tuning in self.searches.items():
            if tuning.is_over and search not in self._chosen:
                self._chosen.add(search)
                yield search, tuning.best()

    def is_over(self, trial: Trial, outcome: Outcome | None) -> bool:
        """Return whether a trial is not to be continued: its end was reported, or it was pruned and tuning prunes."""
        if trial.trial_id not in self._search(trial).running:
            return True
        return isinstance(outcome, Failed) and outcome.kind == "pruned" and self.tuning.prunes

    @property
    def _room(self) -> float:
        return self.at_once - sum(len(search.running) for search in self.searches.values())

    def _search(self, trial: Trial) -> CellTuning:
        return self.searches[Search(trial.cell, trial.seed - self.tuning.seed)]


def at_once(slots: float, cells: int) -> int:
    """Return how many trials may run or wait: two for every slot, and at least one for every cell."""
    return max(2 * math.ceil(slots), cells)
