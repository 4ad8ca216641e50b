"""What one arm costs as a ratio to another: by the clock, and by counts."""

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
    """One thing that is compared.

    name: in two words. quantity: for people; the smaller the better. of: a row a trial -> its values, NaN where it has
    none. timed: by the clock, so that it needs a test, on one machine; else counted, and the same for every seed.
    """

    name: str
    quantity: str
    of: Callable[[pd.DataFrame], pd.Series]
    timed: bool = False


def _epoch_s(trials: pd.DataFrame) -> pd.Series:
    """A trial of one epoch tells nothing: a worker process spends seconds of its first epoch on warming up."""
    return _column(trials, "train_s").where(_column(trials, "recipe.epochs") > 1)


def _column(trials: pd.DataFrame, *keys: str) -> pd.Series:
    """The sum of the columns; NaN where one is missing."""
    if not set(keys) <= set(trials):
        return pd.Series(np.nan, index=trials.index)
    return trials[list(keys)].astype(float).sum(axis=1, skipna=False)


LINES = (
    Line("training speed", "an epoch's training time", _epoch_s, timed=True),
    Line("training memory", "bytes of tensors at the peak", lambda t: _column(t, "train_peak_tensor_bytes")),
    Line("training complexity", "numbers learned and stored", lambda t: _column(t, "parameters", "norm_moments")),
    Line("inference speed", "latency of one image", lambda t: _column(t, "latency_ms"), timed=True),
    Line("inference memory", "bytes of weights and maps", lambda t: _column(t, "weight_bytes", "inference_peak_bytes")),
    Line("inference complexity", "operations on one image", lambda t: _column(t, "multiply_adds", *OTHER_OPS)),
)


@dataclass(frozen=True)
class Ratios:
    """Second arm over first.

    log_by_seed: (n,) natural logs, one a seed: the mean over its cells. log_by_cell: the mean of each cell.
    apart: pairs left out because their trials ran on unlike machines.
    """

    log_by_seed: NDArray[np.float64]
    log_by_cell: NDArray[np.float64]
    apart: int

    @property
    def mean(self) -> float:
        return float(np.exp(np.mean(self.log_by_seed)))


def ratios(frame: pd.DataFrame, rows: Sequence[MarginRow], line: Line) -> Ratios:
    """The ratios of the pairs that the rows' margins rest on.

    Args:
        frame: a row a trial, with run_id, machine and what the line reads.
        rows: what `matched.margins` gives.
        line: what to compare.
    """
    trials = frame.set_index("run_id")
    values = line.of(trials)
    by_seed: dict[int, list[float]] = defaultdict(list)
    by_cell, apart = [], 0
    for row in rows:
        its = []
        for seed, first, second in zip(row.by_seed, row.first_runs, row.second_runs, strict=True):
            if not (values[first] > 0 and values[second] > 0):
                continue
            if line.timed and trials.at[first, "machine"] != trials.at[second, "machine"]:
                apart += 1
                continue
            its.append(float(np.log(values[second] / values[first])))
            by_seed[seed].append(its[-1])
        if its:
            by_cell.append(float(np.mean(its)))
    return Ratios(np.array([np.mean(by_seed[seed]) for seed in sorted(by_seed)]), np.array(by_cell), apart)


def shown_ratio(value: float, line: Line) -> str:
    """Two decimals; of what is counted more, where two would say 1.

    >>> shown_ratio(0.9966, LINES[0]), shown_ratio(0.9966, LINES[1]), shown_ratio(1.0, LINES[1])
    ('1.00', '0.997', '1.00')
    """
    return f"{value:.3f}" if not line.timed and 0 < abs(value - 1) < 0.005 else f"{value:.2f}"
