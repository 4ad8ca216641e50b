"""Margins between two arms, and tests on them: pure functions, arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95

Values = Sequence[float] | NDArray[np.float64]

Alternative = Literal["two-sided", "less", "greater"]


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
    pp = differences_pp(first, second)
    sd_pp = None if len(pp) == 1 else float(np.std(pp, ddof=1)) if _spreads(pp) else 0.0
    low_pp, high_pp = t_interval(pp) or (None, None)
    return Margin(len(pp), float(np.mean(pp)), sd_pp, low_pp, high_pp)


def differences_pp(first: Sequence[float], second: Sequence[float]) -> NDArray[np.float64]:
    """(n,) paired differences, first arm minus second, in percentage points. Arguments as in `margin`."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"margin: arms of shape {a.shape} and {b.shape}: allowed: two of the same length, 1 or more")
    if not (np.all((a >= 0) & (a <= 1)) and np.all((b >= 0) & (b <= 1))):
        raise ValueError("margin: accuracies outside [0, 1] or not numbers")
    return np.round(100 * (a - b), 9)  # 0.98 - 0.96 is not quite 0.02


def t_interval(values: Values, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student's interval for the mean of (n,) values; None where they are fewer than two, or all the same.

    >>> t_interval([1.0, 2.0, 3.0])
    (-0.4841..., 4.4841...)
    """
    held = np.asarray(values, dtype=float)
    if not _spreads(held):
        return None
    from scipy import stats

    scale = np.std(held, ddof=1) / np.sqrt(len(held))
    low, high = stats.t.interval(confidence, len(held) - 1, loc=np.mean(held), scale=scale)
    return float(low), float(high)


def t_test(values: Values, mean: float = 0.0, alternative: Alternative = "two-sided") -> float | None:
    """The p value of a one-sample t test against `mean`; None where there is no interval.

    >>> round(t_test([1.0, 2.0, 3.0]), 4), round(t_test([1.0, 2.0, 3.0], alternative="greater"), 4)
    (0.0742, 0.0371)
    """
    held = np.asarray(values, dtype=float)
    if not _spreads(held):
        return None
    from scipy import stats

    return float(stats.ttest_1samp(held, mean, alternative=alternative).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values adjusted for being tested together; one that is None was no test and stays None.

    >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    tested = [place for place, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, place in enumerate(sorted(tested, key=lambda place: p_values[place] or 0.0)):
        least = max(least, min(1.0, (p_values[place] or 0.0) * (len(tested) - rank)))
        adjusted[place] = least
    return adjusted


def fails_more(failed_first: int, of_first: int, failed_second: int, of_second: int) -> float:
    """The p value of the first arm's trials failing more often than the second's.

    >>> round(fails_more(3, 3, 0, 3), 4)
    0.05

    Source: Fisher's exact test, one-sided.
    """
    from scipy import stats

    table = [[failed_first, of_first - failed_first], [failed_second, of_second - failed_second]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def _spreads(values: NDArray[np.float64]) -> bool:
    return len(values) > 1 and bool(np.ptp(values) > 0)
