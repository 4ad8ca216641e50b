"""The tuning that a line requests: the sampler, the budget of each cell, what may be chosen. Without Optuna."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.levels import Level
from ablate.core.study import Cell, Trial
from ablate.core.text import shortened
from ablate.planning.search_space import Range, Space, size

METRICS = {"valid_acc": "maximize", "valid_loss": "minimize"}
"""Metrics to choose by, which every epoch reports of the validation images, and the direction of improvement."""

USUAL_TRIALS = 20

MOST_BYTES_OF_NAME = 512
"""Of an Optuna study, in its databases."""

Values = Mapping[str, Level]


class Search(NamedTuple):
    """One search for a cell's configuration."""

    cell: Cell
    number: int


@dataclass(frozen=True)
class Tuning:
    """How the cells of a study are tuned, the same for every cell.

    Attributes:
        sampler: tpe, random or grid.
        trials: configurations that a cell starts; None for all of a grid, or where `epochs` is the budget.
        epochs: the budget in epochs that all configurations of a cell train together; None where `trials` is it.
        metric: one of METRICS.
        pruner: none, median or hyperband.
        seed: of the trials that tuning tries; the seeds that margins are made of are others.
        storage: an Optuna database's address, or a file; None for one in the runs folder.
        searches: how often each cell is tuned from the start, each time with the whole budget and a seed of its own:
            once for all seeds that margins are made of, or once for each of them, so that their spread holds that of
            the search.
    """

    sampler: str
    trials: int | None
    epochs: int | None
    metric: str
    pruner: str
    seed: int
    storage: str | None
    searches: int = 1

    @classmethod
    def of(cls, tune: Config) -> Tuning:
        """Return the tuning in a resolved config's `tune`."""
        return cls(**{name: tune[name] for name in cls.__dataclass_fields__})

    def with_budget(self, cells: Sequence[TunedCell]) -> Tuning:
        """Return the tuning with a number of configurations.

        Where the line gives no budget it is the usual number, or the size of the smallest space if that is less.
        """
        if self.trials is not None or self.epochs is not None or self.sampler == "grid":
            return self
        return dataclasses.replace(self, trials=int(min(USUAL_TRIALS, *(cell.size for cell in cells))))

    def of_search(self, number: int) -> Tuning:
        """Return the tuning of one of the searches: its seed is the first one's plus its number."""
        return dataclasses.replace(self, seed=self.seed + number)

    def search_of(self, seed: int) -> int:
        """Return the number of the search that chooses for a seed that margins are made of."""
        return seed % self.searches

    @property
    def prunes(self) -> bool:
        """Whether configurations may be stopped before they are trained to the end."""
        return self.pruner != "none" or self.epochs is not None

    def budget(self, cell: TunedCell) -> float:
        """Return how many configurations a cell may start: all there are where `trials` is None."""
        return cell.size if self.trials is None else self.trials


@dataclass(frozen=True)
class TunedCell:
    """A cell that is tuned.

    Attributes:
        cell: the cell.
        space: what its configuration may be chosen from.
        make: makes a trial, of the values tried and a seed.
        epochs: of one trial.
    """

    cell: Cell
    space: Space
    make: Callable[[Values, int], Trial]
    epochs: int

    @property
    def size(self) -> float:
        """The number of configurations in its space; infinite with a range of real numbers."""
        return size(self.space)


def check(tuning: Tuning, cells: Sequence[TunedCell], seeds: int, fewest: int) -> None:
    """Raise UsageError for a budget or a space that is impossible, or that cannot be the same for every cell.

    Args:
        tuning: what the line requests.
        cells: all of the study.
        seeds: margins are made of seeds 0 to `seeds` - 1 at most.
        fewest: the seeds that a cell has at least.
    """
    if tuning.searches > 1 and (fewest < seeds or tuning.searches != seeds):
        typed = "seeds=auto" if fewest < seeds else f"seeds={seeds}"
        raise UsageError(
            f"tune.searches={tuning.searches} {typed}: seeds that share a search are not independent; allowed: "
            "1, or a number of seeds and as many searches"
        )
    if tuning.metric not in METRICS:
        is_of_test = "test" in tuning.metric
        on_test = ": validation images are to choose by, test images are for the report" if is_of_test else ""
        raise UsageError(f"tune.metric={tuning.metric}{on_test}; allowed: {', '.join(METRICS)}")
    if tuning.seed < seeds:
        raise UsageError(
            f"tune.seed={tuning.seed}: margins are made of seeds 0 to {seeds - 1}; allowed: {seeds} or more"
        )
    if tuning.trials is not None and tuning.epochs is not None:
        raise UsageError(f"tune.trials={tuning.trials} tune.epochs={tuning.epochs}: two budgets; allowed: one")
    small = min(cells, key=lambda cell: cell.size)
    if small.size < 2:
        raise UsageError(
            f"tune={tuning.sampler}: {small.cell} has nothing to choose; allowed: tune.space.KEY of a key it has"
        )
    if tuning.epochs is not None:
        longest = max(cell.epochs for cell in cells)
        if tuning.epochs < longest:
            raise UsageError(f"tune.epochs={tuning.epochs}: one trial trains {longest}; allowed: {longest} or more")
    if tuning.trials is not None and tuning.trials > small.size:
        holds = f"the space of {small.cell or 'the one cell'} holds {small.size} configurations"
        raise UsageError(f"tune.trials={tuning.trials}: {holds}; allowed: up to {small.size}")
    if tuning.sampler == "grid":
        _check_grid(tuning, cells)


def _check_grid(tuning: Tuning, cells: Sequence[TunedCell]) -> None:
    for cell in cells:
        for key, dimension in cell.space.items():
            if isinstance(dimension, Range) and not math.isfinite(dimension.size):
                raise UsageError(
                    f"tune.space.{key}={dimension}: a grid has levels; allowed: a,b, or tune=random or tpe"
                )
    few, many = min(cells, key=lambda cell: cell.size), max(cells, key=lambda cell: cell.size)
    if tuning.trials is None and tuning.epochs is None and few.size < many.size:
        raise UsageError(
            f"tune=grid: {few.cell} has {few.size} configurations, {many.cell} {many.size}, and every cell is to get "
            f"the same budget; allowed: tune.trials=N, up to {few.size}"
        )


def name_of(study: str, tuning: Tuning, cell: TunedCell) -> str:
    """Return the name of a cell's Optuna study; it differs where anything differs that changes what is tried.

    The budget is not part of it: a larger budget for the same question continues where the smaller one ended.
    """
    identity = [tuning.sampler, tuning.metric, tuning.pruner, tuning.seed, cell.make({}, tuning.seed).trial_id]
    identity += [f"{key}: {dimension!r}" for key, dimension in cell.space.items()]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    return shortened(f"{study}: {cell.cell} {digest}", MOST_BYTES_OF_NAME)
