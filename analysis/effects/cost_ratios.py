"""The cost of one arm as a ratio to that of another: measured times, and counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.effects.matched import MarginRow
from analysis.sources.runs import OTHER_OPS


@dataclass(frozen=True)
class Line:
    """A cost that is compared; less is better.

    name: two words.
    quantity: what is measured, for people.
    of: takes a frame with one row per trial and returns a value per trial, NaN where the trial has none.
    timed: whether it is measured by the clock. Then it needs a test, and both trials must have run on one machine.
        Otherwise it is a count, which is the same for every seed.
    """

    name: str
    quantity: str
    of: Callable[[pd.DataFrame], pd.Series]
    timed: bool = False


def _epoch_s(trials: pd.DataFrame) -> pd.Series:
    """Return the training time of an epoch in seconds; NaN for trials of one epoch.

    A worker process spends seconds of its first epoch on warming up, so that a single epoch's time measures nothing.
    """
    return _column(trials, "train_s").where(_column(trials, "recipe.epochs") > 1)


def _column(trials: pd.DataFrame, *keys: str) -> pd.Series:
    """Return the sum of the columns; NaN where one is missing."""
    if not set(keys) <= set(trials):
        return pd.Series(np.nan, index=trials.index)
    return trials[list(keys)].astype(float).sum(axis=1, skipna=False)


def _sum_of(*keys: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda trials: _column(trials, *keys)


LINES = (
    Line("training speed", "an epoch's training time", _epoch_s, timed=True),
    Line("training memory", "bytes of tensors at the peak", _sum_of("train_peak_tensor_bytes")),
    Line("training complexity", "numbers learned and stored", _sum_of("parameters", "norm_moments")),
    Line("inference speed", "latency of one image", _sum_of("latency_ms"), timed=True),
    Line("inference memory", "bytes of weights and maps", _sum_of("weight_bytes", "inference_peak_bytes")),
    Line("inference complexity", "operations on one image", _sum_of("multiply_adds", *OTHER_OPS)),
)


@dataclass(frozen=True)
class Ratios:
    """The second arm's cost over the first's.

    log_by_seed: (n,) natural logarithms, one per seed: the mean over the seed's cells.
    log_by_cell: (cells,) the mean of each cell, as natural logarithms.
    apart: the number of pairs left out because their trials ran on unlike machines.
    """

    log_by_seed: NDArray[np.float64]
    log_by_cell: NDArray[np.float64]
    apart: int

    @property
    def mean(self) -> float:
        """The geometric mean over seeds."""
        return float(np.exp(np.mean(self.log_by_seed)))


def ratios(frame: pd.DataFrame, rows: Sequence[MarginRow], line: Line) -> Ratios:
    """Return the ratios of the pairs of trials that the rows' margins rest on.

    Args:
        frame: one row per trial, with run_id, machine and the columns that the line reads.
        rows: what `matched.margins` returns.
        line: the cost to compare.
    """
    run_ids = frame["run_id"]
    costs: dict[str, float] = dict(zip(run_ids, line.of(frame), strict=True))
    machines: dict[str, str] = dict(zip(run_ids, frame["machine"], strict=True)) if line.timed else {}
    by_seed: dict[int, list[float]] = defaultdict(list)
    by_cell, apart = [], 0
    for row in rows:
        logs = []
        for seed, first, second in zip(row.by_seed, row.first_runs, row.second_runs, strict=True):
            if not (costs[first] > 0 and costs[second] > 0):
                continue
            if line.timed and machines[first] != machines[second]:
                apart += 1
                continue
            logs.append(float(np.log(costs[second] / costs[first])))
            by_seed[seed].append(logs[-1])
        if logs:
            by_cell.append(float(np.mean(logs)))
    return Ratios(np.array([np.mean(by_seed[seed]) for seed in sorted(by_seed)]), np.array(by_cell), apart)


def shown_ratio(value: float, line: Line) -> str:
    """Return a ratio with two decimals, or with three where a count would read 1.00 without being 1.

    >>> shown_ratio(0.9966, LINES[0]), shown_ratio(0.9966, LINES[1]), shown_ratio(1.0, LINES[1])
    ('1.00', '0.997', '1.00')
    """
    return f"{value:.3f}" if not line.timed and 0 < abs(value - 1) < 0.005 else f"{value:.2f}"
