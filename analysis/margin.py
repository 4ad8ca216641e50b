"""Margins between two arms: pure functions, arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Margin:
    """A margin in percentage points, with its 95% t interval where there is spread to estimate it from."""

    n: int
    mean_pp: float
    sd_pp: float | None
    low_pp: float | None
    high_pp: float | None


def margin(first: Sequence[float], second: Sequence[float]) -> Margin:
    """Mean paired difference in accuracy, first arm minus second, in percentage points.

    One seed gives an estimate without an interval, and so do identical differences: they say that the
    test set is too coarse to show the spread, not that there is none.

    Args:
        first: (n,) accuracies in [0, 1], one per seed.
        second: (n,) the same seeds, every other factor at the same level.

    Raises:
        ValueError: the arms differ in length, are empty, or hold anything but numbers in [0, 1].

    >>> margin([0.99, 0.98, 0.97], [0.96, 0.96, 0.96])
    Margin(n=3, mean_pp=2.0, sd_pp=1.0, low_pp=-0.4841..., high_pp=4.4841...)

    Source: paired t, Student (1908).
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"margin: arms of shape {a.shape} and {b.shape}: allowed: two of the same length, 1 or more")
    if not (np.all((a >= 0) & (a <= 1)) and np.all((b >= 0) & (b <= 1))):
        raise ValueError("margin: accuracies outside [0, 1] or not numbers")
    differences_pp = np.round(100 * (a - b), 9)  # 0.98 - 0.96 is not quite 0.02
    n, mean_pp = len(a), float(np.mean(differences_pp))
    if n == 1:
        return Margin(n, mean_pp, None, None, None)
    sd_pp = float(np.std(differences_pp, ddof=1))
    if sd_pp == 0:
        return Margin(n, mean_pp, sd_pp, None, None)
    from scipy import stats

    low, high = stats.t.interval(CONFIDENCE, n - 1, loc=mean_pp, scale=sd_pp / np.sqrt(n))
    return Margin(n, mean_pp, sd_pp, float(low), float(high))
