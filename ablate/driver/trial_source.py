"""The trials that a study runs: all of them from the start, or more as results come."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ablate.core.events import Done, Event, Failed, Outcome
from ablate.core.levels import Level
from ablate.core.study import Cell, Study, Trial
from ablate.planning.plan import Plan
from ablate.planning.tuning import Search
from ablate.store import run_directory
from ablate.store.run_store import RunStore
from ablate.tracking import trial_metadata


class TrialSource:
    """Gives the trials of a study: those known from the start, and those that follow from results.

    Whoever runs the trials passes every event to `follow`, also the events of trials that were done before. It is a
    context manager, which closes the tuning's storage.

    Args:
        planned: the study's plan.
        store: the run directories.
        slots: the number of trials that run side by side.

    Attributes:
        trials: trial_id -> every trial known so far.
        chosen: the values that each search of tuning chose for its cell.
        without: the searches that ended without a configuration that succeeded.
    """

    def __init__(self, planned: Plan, store: RunStore, slots: float) -> None:
        self.planned, self.store = planned, store
        self.trials: dict[str, Trial] = {trial.trial_id: trial for trial in planned.study.trials}
        self.chosen: dict[Search, dict[str, Level]] = {}
        self.without: list[Search] = []
        self._seeds = _Seeds(planned) if planned.auto else None
        self._tuner: Any = None
        if planned.tuning:
            from ablate.tuning.tuner import Tuner, at_once  # Optuna takes a third of a second

            most = at_once(slots, len(planned.tuned))
            self._tuner = Tuner(planned.study.name, planned.tuning, planned.tuned, store, most)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        if self._tuner:
            self._tuner.close()

    @property
    def study(self) -> Study:
        """The study with every trial known so far, those of its tuning included, and what was chosen."""
        trials = list(self.trials.values())
        if self.planned.is_adaptive:
            position = {cell: position for position, cell in enumerate(self.planned.configs)}
            trials.sort(key=lambda trial: (trial.tuning, position[trial.cell]))
        metadata = {**self.planned.study.metadata, **self._metadata()}
        return dataclasses.replace(self.planned.study, trials=trials, metadata=metadata)

    @property
    def final(self) -> Study:
        """The study with only the trials that margins are made of."""
        study = self.study
        return dataclasses.replace(study, trials=[trial for trial in study.trials if not trial.tuning])

    @property
    def tried(self) -> dict[Search, list[Trial]]:
        """The trials of each search."""
        by_search: dict[Search, list[Trial]] = {search: [] for search in self.searches}
        for trial in self.trials.values():
            if trial.tuning:
                assert self.planned.tuning is not None
                by_search[Search(trial.cell, trial.seed - self.planned.tuning.seed)].append(trial)
        return by_search

    @property
    def searches(self) -> list[Search]:
        """The searches of the study's tuning, in the order of the design."""
        numbers = range(self.planned.tuning.searches) if self.planned.tuning else ()
        return [Search(tuned.cell, number) for tuned in self.planned.tuned for number in numbers]

    @property
    def edges(self) -> dict[Search, dict[str, str]]:
        """The chosen keys that lie at an end of their space -> which end: "lowest" or "highest"."""
        spaces = {tuned.cell: tuned.space for tuned in self.planned.tuned}
        return {
            search: {key: side for key, value in values.items() if (side := spaces[search.cell][key].edge(value))}
            for search, values in self.chosen.items()
        }

    @property
    def total(self) -> tuple[int, bool]:
        """The number of trials to expect, and whether there may be more."""
        planned = self.planned
        budgets = [planned.tuning.budget(tuned) for tuned in planned.tuned] if planned.tuning else []
        seeds = sum(planned.seeds.values())
        searches = planned.tuning.searches if planned.tuning else 0
        known = searches * sum(int(budget) for budget in budgets if budget < math.inf) + seeds
        return max(known, len(self.trials)), bool(planned.auto) or any(budget == math.inf for budget in budgets)

    def begin(self) -> list[Trial]:
        """Return the trials to begin with."""
        if not self._tuner:
            return list(self.trials.values())
        return self._add([*self._tuner.begin(), *self._winners()])

    def follow(self, trial: Trial, event: Event) -> list[Trial]:
        """Take in an event, and return the trials that follow from it."""
        if trial.tuning:
            self._tuner.follow(trial, event)
            if run_directory.outcome_of(event) is None:
                return []
            return self._add([*self._winners(), *self._tuner.more()])
        outcome = run_directory.outcome_of(event)
        if self._seeds is None or outcome is None:
            return []
        self._seeds.note(trial, outcome)
        return self._add(self._more_seeds())

    def is_over(self, trial: Trial, outcome: Outcome | None, retry: str) -> bool:
        """Return whether nothing is left to run of a trial that ended so."""
        if trial.tuning and self._tuner.is_over(trial, outcome):
            return True
        return not is_to_do(outcome, retry)

    def _add(self, trials: Iterable[Trial]) -> list[Trial]:
        """Add the trials to those known, and return those that are new."""
        new = [trial for trial in trials if trial.trial_id not in self.trials]
        self.trials |= {trial.trial_id: trial for trial in new}
        return new

    def _winners(self) -> list[Trial]:
        """Return the trials of the searches that have ended since the last call, at the seeds that they choose for."""
        trials: list[Trial] = []
        for search, values in self._tuner.choices():
            if values is None:
                self.without.append(search)
                continue
            self.chosen[search] = dict(values)
            cell, all_seeds = search.cell, range(self.planned.seeds[search.cell])
            seeds = [seed for seed in all_seeds if self._search(cell, seed) == search]
            trials += self.planned.factory.trials(cell, seeds, values)
        return trials

    def _search(self, cell: Cell, seed: int) -> Search:
        """Return the search that chooses for a seed that margins are made of."""
        return Search(cell, self.planned.tuning.search_of(seed) if self.planned.tuning else 0)

    def _more_seeds(self) -> list[Trial]:
        assert self._seeds is not None
        requested: dict[Cell, set[int]] = {}
        for trial in self.trials.values():
            if not trial.tuning:
                requested.setdefault(trial.cell, set()).add(trial.seed)
        more = self._seeds.more(requested)
        make = self.planned.factory.trial
        return [make(cell, seed, self.chosen.get(self._search(cell, seed))) for cell, seed in more]

    def _metadata(self) -> dict[str, Any]:
        """Return what a report must know of the trials so far: those tried, the values chosen, the values drawn."""
        edges = self.edges
        chosen: dict[int, trial_metadata.Chosen] = {
            position: {
                "cell": dict(search.cell.levels),
                "values": self.chosen.get(search, {}),
                "edges": edges.get(search, {}),
                "search": search.number,
            }
            for position, search in enumerate(self.searches)
            if search in self.chosen or search in self.without
        }
        tried = {position: [trial.trial_id for trial in trials] for position, trials in enumerate(self.tried.values())}
        return trial_metadata.collect(chosen, tried, self._drawn())

    def _drawn(self) -> list[tuple[int, dict[str, Level]]]:
        """Return each seed with the values of its nuisance factors, in the order of the seeds."""
        keys = self.planned.factory.drawn
        by_seed = {trial.seed: trial.values for trial in self.trials.values() if not trial.tuning} if keys else {}
        return [(seed, {key: value for key, value in by_seed[seed] if key in keys}) for seed in sorted(by_seed)]


def is_to_do(outcome: Outcome | None, retry: str) -> bool:
    """Return whether a trial that ended so is to run. A failure is a result, unless it was only an interruption."""
    if isinstance(outcome, Failed):
        return run_directory.to_go_on(outcome, alone=True) or retry == "failed"
    return outcome is None


class _Seeds:
    """Decides which pairs of cells get one more seed, because their margin is undecided."""

    def __init__(self, planned: Plan) -> None:
        assert planned.auto is not None
        self.auto = planned.auto
        self.acc: dict[Cell, dict[int, float]] = {cell: {} for cell in planned.configs}

    def note(self, trial: Trial, outcome: Outcome) -> None:
        """Keep the accuracy of a trial that ended; a failed one has none."""
        acc = outcome.metrics["test_acc"] if isinstance(outcome, Done) else math.nan
        self.acc[trial.cell][trial.seed] = acc

    def more(self, requested: Mapping[Cell, set[int]]) -> list[tuple[Cell, int]]:
        """Return the cells and seeds to run next. A pair is tested once none of its trials is running.

        Args:
            requested: the seeds of each cell that were requested so far.
        """
        from ablate.stats import sequential

        rows = [self._differences(pair) for pair in self.auto.pairs]
        undecided = sequential.undecided(
            rows, first=self.auto.first, last=self.auto.most, within_pp=self.auto.within_pp
        )
        more: dict[tuple[Cell, int], None] = {}
        for pair, is_undecided in zip(self.auto.pairs, undecided, strict=True):
            first, second = (requested.get(cell, set()) for cell in pair)
            both = first & second
            runs = any(seed not in self.acc[cell] for cell in pair for seed in both)
            seed = max(both, default=-1) + 1
            if is_undecided and both and not runs and seed < self.auto.most:
                more |= {(cell, seed): None for cell in pair if seed not in requested[cell]}
        return list(more)

    def _differences(self, pair: Sequence[Cell]) -> list[float]:
        """Return the differences of a pair in percentage points, in the order of the seeds; NaN where an arm failed."""
        first, second = (self.acc[cell] for cell in pair)
        return [100 * (first[seed] - second[seed]) for seed in sorted(first.keys() & second.keys())]
