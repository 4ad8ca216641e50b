"""What a study has to run: all of it from the start, or more as results come."""

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
from ablate.store import run_directory
from ablate.store.run_store import RunStore

TOLD_AT_ONCE = 100
"""Trials or seeds named in one entry of the metadata: MLflow bounds a tag's length."""


class TrialSource:
    """The trials of a study, those that are known so far and those that results bring.

    Whoever runs them hands every event to `follow`, those of trials that were done before too. A context manager.

    Args:
        planned: the study's plan.
        store: the run directories.
        slots: trials that run side by side.
    """

    def __init__(self, planned: Plan, store: RunStore, slots: float) -> None:
        self.planned, self.store = planned, store
        self.trials: dict[str, Trial] = {one.trial_id: one for one in planned.study.trials}
        self.chosen: dict[Cell, dict[str, Level]] = {}
        self.without: list[Cell] = []  # cells none of whose configurations came through
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
        """The study with every trial known so far, its tuning's among them, and what was chosen."""
        trials = list(self.trials.values())
        if self.planned.is_adaptive:
            place = {cell: place for place, cell in enumerate(self.planned.configs)}
            trials.sort(key=lambda one: (one.tuning, place[one.cell]))
        metadata = {**self.planned.study.metadata, **self._told()}
        return dataclasses.replace(self.planned.study, trials=trials, metadata=metadata)

    @property
    def final(self) -> Study:
        """The same with the trials alone that margins are made of."""
        study = self.study
        return dataclasses.replace(study, trials=[one for one in study.trials if not one.tuning])

    @property
    def tried(self) -> dict[Cell, list[Trial]]:
        """The trials of each cell's tuning."""
        found: dict[Cell, list[Trial]] = {one.cell: [] for one in self.planned.tuned}
        for one in self.trials.values():
            if one.tuning:
                found[one.cell].append(one)
        return found

    @property
    def edges(self) -> dict[Cell, dict[str, str]]:
        """The chosen keys that lie at an end of what there was to choose from: lowest, or highest."""
        spaces = {one.cell: one.space for one in self.planned.tuned}
        return {
            cell: {key: side for key, value in values.items() if (side := spaces[cell][key].edge(value))}
            for cell, values in self.chosen.items()
        }

    @property
    def total(self) -> tuple[int, bool]:
        """How many trials there will be, as far as one can tell, and whether there may be more."""
        planned = self.planned
        budgets = [planned.tuning.budget(one) for one in planned.tuned] if planned.tuning else []
        seeds = sum(planned.seeds.values())
        known = sum(int(one) for one in budgets if one < math.inf) + seeds
        return max(known, len(self.trials)), bool(planned.auto) or any(one == math.inf for one in budgets)

    def begin(self) -> list[Trial]:
        """The trials to begin with."""
        if not self._tuner:
            return list(self.trials.values())
        return self._known([*self._tuner.begin(), *self._winners()])

    def follow(self, trial: Trial, event: Event) -> list[Trial]:
        """Take in an event; return the trials that it brings."""
        if trial.tuning:
            self._tuner.follow(trial, event)
            if run_directory.outcome_of(event) is None:
                return []
            return self._known([*self._winners(), *self._tuner.more()])
        outcome = run_directory.outcome_of(event)
        if self._seeds is None or outcome is None:
            return []
        self._seeds.note(trial, outcome)
        return self._known(self._more_seeds())

    def is_over(self, trial: Trial, outcome: Outcome | None, retry: str) -> bool:
        """Whether there is nothing left to run of a trial that ended so."""
        if trial.tuning and self._tuner.is_over(trial, outcome):
            return True
        return not is_to_do(outcome, retry)

    def _known(self, trials: Iterable[Trial]) -> list[Trial]:
        """Those that are new, noted."""
        new = [one for one in trials if one.trial_id not in self.trials]
        self.trials |= {one.trial_id: one for one in new}
        return new

    def _winners(self) -> list[Trial]:
        """The trials of the cells whose tuning has ended since the last call."""
        found = []
        for cell, values in self._tuner.choices():
            if values is None:
                self.without.append(cell)
                continue
            self.chosen[cell] = dict(values)
            found += self.planned.factory.trials(cell, range(self.planned.seeds[cell]), values)
        return found

    def _more_seeds(self) -> list[Trial]:
        assert self._seeds is not None
        asked: dict[Cell, set[int]] = {}
        for one in self.trials.values():
            if not one.tuning:
                asked.setdefault(one.cell, set()).add(one.seed)
        more = self._seeds.more(asked)
        return [self.planned.factory.trial(cell, seed, self.chosen.get(cell)) for cell, seed in more]

    def _told(self) -> dict[str, Any]:
        """What a report must know of the trials so far: those tried, what was chosen, what was drawn for each seed."""
        edges, tried, drawn = self.edges, self.tried, self._drawn()
        chosen = {
            f"chosen.{place}": {
                "cell": dict(cell.levels),
                "values": self.chosen.get(cell, {}),
                "edges": edges.get(cell, {}),
            }
            for place, cell in enumerate(self.planned.configs)
            if cell in self.chosen or cell in self.without
        }
        ids = {place: [one.trial_id for one in its] for place, its in enumerate(tried.values())}
        parts: dict[str, Any] = {
            f"tried.{place}.{start}": its[start : start + TOLD_AT_ONCE]
            for place, its in ids.items()
            for start in range(0, len(its), TOLD_AT_ONCE)
        }
        parts |= {
            f"drawn.{start}": dict(drawn[start : start + TOLD_AT_ONCE]) for start in range(0, len(drawn), TOLD_AT_ONCE)
        }
        return chosen | parts

    def _drawn(self) -> list[tuple[int, dict[str, Level]]]:
        """The nuisance factors' values of each seed."""
        keys = self.planned.factory.drawn
        by_seed = {one.seed: one.values for one in self.trials.values() if not one.tuning} if keys else {}
        return [(seed, {key: value for key, value in by_seed[seed] if key in keys}) for seed in sorted(by_seed)]


def is_to_do(outcome: Outcome | None, retry: str) -> bool:
    """A failed trial is a result, unless it was only interrupted, or one asks to try again."""
    if isinstance(outcome, Failed):
        return run_directory.to_go_on(outcome, alone=True) or retry == "failed"
    return outcome is None


class _Seeds:
    """Which pairs of cells are undecided, and get one more seed."""

    def __init__(self, planned: Plan) -> None:
        assert planned.auto is not None
        self.auto = planned.auto
        self.acc: dict[Cell, dict[int, float]] = {cell: {} for cell in planned.configs}

    def note(self, trial: Trial, outcome: Outcome) -> None:
        """How a trial ended; one that failed has no accuracy."""
        acc = outcome.metrics["test_acc"] if isinstance(outcome, Done) else math.nan
        self.acc[trial.cell][trial.seed] = acc

    def more(self, asked: Mapping[Cell, set[int]]) -> list[tuple[Cell, int]]:
        """The cells and seeds to run next; `asked` are those of each cell that were asked for.

        A pair is looked at once nothing of it is running.
        """
        from ablate.stats import sequential

        rows = [self._differences(pair) for pair in self.auto.pairs]
        undecided = sequential.undecided(
            rows, first=self.auto.first, last=self.auto.most, within_pp=self.auto.within_pp
        )
        found: dict[tuple[Cell, int], None] = {}
        for pair, is_undecided in zip(self.auto.pairs, undecided, strict=True):
            first, second = (asked.get(cell, set()) for cell in pair)
            both = first & second
            runs = any(seed not in self.acc[cell] for cell in pair for seed in both)
            seed = max(both, default=-1) + 1
            if is_undecided and both and not runs and seed < self.auto.most:
                found |= {(cell, seed): None for cell in pair if seed not in asked[cell]}
        return list(found)

    def _differences(self, pair: Sequence[Cell]) -> list[float]:
        """In the order of the seeds, in percentage points; NaN where an arm has no accuracy."""
        first, second = (self.acc[cell] for cell in pair)
        return [100 * (first[seed] - second[seed]) for seed in sorted(first.keys() & second.keys())]
