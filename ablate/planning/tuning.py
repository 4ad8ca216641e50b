"""What a line asks of tuning: the sampler, the budget of each cell, what may be chosen. Without Optuna."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core.errors import UsageError
from ablate.core.levels import Level
from ablate.core.study import Cell, Trial
from ablate.planning.search_space import Range, Space, size

METRICS = {"valid_acc": "maximize", "valid_loss": "minimize"}
"""What one may choose by, told by every epoch of the validation images, and what is the better of it."""

USUAL_TRIALS = 20

Values = Mapping[str, Level]


@dataclass(frozen=True)
class Tuning:
    """The same for every cell of a study.

    sampler: tpe, random or grid. trials: configurations that a cell starts; None for all of a grid, or where `epochs`,
    which all of a cell's configurations together may train, is the budget. metric: one of METRICS. pruner: none, median
    or hyperband. seed: of the configurations tried, none of those that margins are made of. storage: an Optuna
    database's address, or a file; None for one in the runs folder.
    """

    sampler: str
    trials: int | None
    epochs: int | None
    metric: str
    pruner: str
    seed: int
    storage: str | None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Tuning:
        """From the `tune` of a resolved config."""
        return cls(**{name: config[name] for name in cls.__dataclass_fields__})

    def with_budget(self, cells: Sequence[TunedCell]) -> Tuning:
        """With the usual number of configurations where none was asked for, or all that the smallest space holds."""
        if self.trials is not None or self.epochs is not None or self.sampler == "grid":
            return self
        return dataclasses.replace(self, trials=int(min(USUAL_TRIALS, *(one.size for one in cells))))

    @property
    def prunes(self) -> bool:
        """Whether configurations may be stopped before they are trained to the end."""
        return self.pruner != "none" or self.epochs is not None

    def budget(self, cell: TunedCell) -> float:
        """Configurations that a cell may start: all there are, with no number of them."""
        return cell.size if self.trials is None else self.trials


@dataclass(frozen=True)
class TunedCell:
    """A cell, what its configuration may be chosen from, and what makes a trial of one.

    make: the values tried, and the seed. epochs: of one trial.
    """

    cell: Cell
    space: Space
    make: Callable[[Values, int], Trial]
    epochs: int

    @property
    def size(self) -> float:
        return size(self.space)


def check(tuning: Tuning, cells: Sequence[TunedCell], seeds: int) -> None:
    """Raise UsageError for a budget or a space that cannot be, or that would not be the same for every cell.

    Args:
        tuning: what was asked.
        cells: all of the study.
        seeds: those that margins are made of, at most: 0 to one below.
    """
    if tuning.metric not in METRICS:
        on_test = ": one chooses on the validation images, the test ones are for the report" * ("test" in tuning.metric)
        raise UsageError(f"tune.metric={tuning.metric}{on_test}; allowed: {', '.join(METRICS)}")
    if tuning.seed < seeds:
        raise UsageError(
            f"tune.seed={tuning.seed}: margins are made of seeds 0 to {seeds - 1}; allowed: {seeds} or more"
        )
    if tuning.trials is not None and tuning.epochs is not None:
        raise UsageError(f"tune.trials={tuning.trials} tune.epochs={tuning.epochs}: two budgets; allowed: one of both")
    small = min(cells, key=lambda one: one.size)
    if small.size < 2:
        raise UsageError(
            f"tune={tuning.sampler}: {small.cell} has nothing to choose; allowed: tune.space.KEY of a key it has"
        )
    if tuning.epochs is not None:
        longest = max(one.epochs for one in cells)
        if tuning.epochs < longest:
            raise UsageError(f"tune.epochs={tuning.epochs}: one trial takes {longest}; allowed: {longest} or more")
    if tuning.trials is not None and tuning.trials > small.size:
        holds = f"the space of {small.cell or 'the one cell'} holds {small.size} configurations"
        raise UsageError(f"tune.trials={tuning.trials}: {holds}; allowed: up to {small.size}")
    if tuning.sampler == "grid":
        _check_grid(tuning, cells)


def _check_grid(tuning: Tuning, cells: Sequence[TunedCell]) -> None:
    for one in cells:
        for key, dimension in one.space.items():
            if isinstance(dimension, Range) and not math.isfinite(dimension.size):
                raise UsageError(
                    f"tune.space.{key}={dimension}: a grid has levels; allowed: a,b, or tune=random or tpe"
                )
    few, many = min(cells, key=lambda one: one.size), max(cells, key=lambda one: one.size)
    if tuning.trials is None and tuning.epochs is None and few.size < many.size:
        raise UsageError(
            f"tune=grid: {few.cell} has {few.size} configurations, {many.cell} {many.size}, and every cell is to get "
            f"the same budget; allowed: tune.trials=N, up to {few.size}"
        )


def name_of(study: str, tuning: Tuning, cell: TunedCell) -> str:
    """The name of a cell's optuna_study: another one where anything is asked that would change what is tried.

    A larger budget of the same question goes on where the smaller one ended.
    """
    asked = [tuning.sampler, tuning.metric, tuning.pruner, tuning.seed, cell.make({}, tuning.seed).trial_id]
    asked += [f"{key}: {dimension!r}" for key, dimension in cell.space.items()]
    return f"{study}: {cell.cell} {hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}"
