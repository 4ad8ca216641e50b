"""Margins between two arms, and tests on them: pure functions, arrays in, numbers out.

Functions with a plural name take any number of cells (or simulated studies) at once, along the leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ablate.stats import sequential

CONFIDENCE = 0.95
ALPHA = 0.05
EQUIVALENCE_PP = 0.5
"""The smallest difference of interest, in percentage points, unless a report states another."""

BCA_FROM = 200
"""Seeds from which a BCa bootstrap interval covers 93 to 97%, the noise being normal or t(3): the fewest of 20, 30, 50,
100 and 200, by benchmarks/margin_errors.py."""

POWER = 0.8
MOST_SEEDS = 1000

Floats = NDArray[np.float64]
Values = Sequence[float] | Floats
Alternative = Literal["two-sided", "less", "greater"]


@dataclass(frozen=True)
class TestSet:
    """What a finite test set leaves open about a margin: the standard error of its mean over seeds, and the items."""

    __test__ = False  # for pytest
    se_pp: float
    items: int


@dataclass(frozen=True)
class Margin:
    """A margin in percentage points, with its 95% t interval where there is a spread to estimate it from.

    sd_pp: over seeds; None with one. p_difference: that it is 0. p_equivalence: that it reaches the smallest
    difference of interest. test_set: None where no predictions are known. most_seeds: see `margin`.
    """

    n: int
    mean_pp: float
    sd_pp: float | None = None
    low_pp: float | None = None
    high_pp: float | None = None
    p_difference: float | None = None
    p_equivalence: float | None = None
    test_set: TestSet | None = None
    most_seeds: int | None = None

    @property
    def seed_se_pp(self) -> float | None:
        """The standard error of the mean over seeds."""
        return None if self.sd_pp is None else self.sd_pp / self.n**0.5

    @property
    def identical(self) -> bool:
        """Whether all seeds differ by the same, so that the spread is taken from the test set, if it is known."""
        return self.sd_pp == 0


def margin(
    first: Sequence[float],
    second: Sequence[float],
    *,
    equivalence_pp: float = EQUIVALENCE_PP,
    test_set: TestSet | None = None,
    most_seeds: int | None = None,
) -> Margin:
    """Mean paired difference in accuracy, first arm minus second, in percentage points.

    One seed gives an estimate without an interval. Identical differences say that the test set is too coarse to
    show the spread, not that there is none: the standard error is then that of test-set sampling, and with none
    known there is neither interval nor test.

    Args:
        first: (n,) accuracies in [0, 1], one per seed; other measures in hundredths.
        second: (n,) the same seeds, every other factor at the same level.
        equivalence_pp: the smallest difference of interest.
        test_set: what `test_set_error` gives for the two arms.
        most_seeds: up to which seeds were added until they decided; the interval and the tests are then those that
            hold under looking each time, `ablate.stats.sequential`'s. None where their number was fixed.

    Raises:
        ValueError: the arms differ in length, are empty, or hold anything but numbers.

    >>> found = margin([0.99, 0.98, 0.97], [0.96, 0.96, 0.96])
    >>> found.mean_pp, found.sd_pp, found.low_pp, found.high_pp
    (2.0, 1.0, -0.4841..., 4.4841...)

    Source: paired t, Student (1908); two one-sided tests, Schuirmann (1987).
    """
    pp = differences_pp(first, second)
    least = test_set.se_pp if test_set else None
    sd_pp = None if len(pp) == 1 else float(np.std(pp, ddof=1)) if np.ptp(pp) > 0 else 0.0
    if most_seeds is not None:
        return _sequential(pp, sd_pp, equivalence_pp, test_set, most_seeds)
    low_pp, high_pp = t_interval(pp, least_se=least) or (None, None)
    return Margin(
        *(len(pp), float(np.mean(pp)), sd_pp, low_pp, high_pp),
        p_difference=t_test(pp, least_se=least),
        p_equivalence=_scalar(equivalence_tests(pp, equivalence_pp, _or_nan(least))),
        test_set=test_set,
    )


def _sequential(pp: Floats, sd_pp: float | None, equivalence_pp: float, test_set: TestSet | None, most: int) -> Margin:
    """As `margin`, of seeds that were added until they decided; too few for a look are no evidence, and so p is 1."""
    most = max(most, len(pp))
    ends = [_scalar(end) for end in sequential.interval(pp, most)]
    return Margin(
        *(len(pp), float(np.mean(pp)), sd_pp, ends[0], ends[1]),
        p_difference=float(sequential.difference_p(pp, most)),
        p_equivalence=float(sequential.equivalence_p(pp, equivalence_pp, most)),
        test_set=test_set,
        most_seeds=most,
    )


def differences_pp(first: Sequence[float], second: Sequence[float]) -> Floats:
    """(n,) paired differences, first arm minus second, in percentage points. Arguments as in `margin`."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"margin: arms of shape {a.shape} and {b.shape}: allowed: two of the same length, 1 or more")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("margin: values that are not numbers")
    return np.round(100 * (a - b), 9)  # 0.98 - 0.96 is not quite 0.02


def t_intervals(values: Values, confidence: float = CONFIDENCE, least_se: Any = np.nan) -> tuple[Floats, Floats]:
    """Student's intervals for the means along the last axis.

    Args:
        values: (..., n).
        confidence: of the interval.
        least_se: (...) the standard error where all n are the same.

    Returns:
        Low and high ends, (...): NaN where n is 1, or all are the same and `least_se` is NaN.
    """
    from scipy import stats

    mean, se, df = _mean_se_df(values, least_se)
    half = stats.t.isf((1 - confidence) / 2, df) * se
    return mean - half, mean + half


def t_tests(
    values: Values, mean: float = 0.0, alternative: Alternative = "two-sided", least_se: Any = np.nan
) -> Floats:
    """(...) p values of one-sample t tests against `mean`, along the last axis; otherwise as `t_intervals`."""
    from scipy import stats

    centre, se, df = _mean_se_df(values, least_se)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (centre - mean) / se
    if alternative == "two-sided":
        return np.asarray(2 * stats.t.sf(np.abs(t), df))
    return np.asarray(stats.t.sf(t if alternative == "greater" else -t, df))


def equivalence_tests(values: Values, within: float, least_se: Any = np.nan) -> Floats:
    """(...) p values of two one-sided t tests: small where the mean is shown to lie within `within` of 0.

    >>> float(equivalence_tests([0.1, 0.2, 0.0, 0.1], 0.5).round(4))
    0.0011

    Source: Schuirmann (1987).
    """
    above = t_tests(values, -within, "greater", least_se)
    below = t_tests(values, within, "less", least_se)
    return np.maximum(above, below)


def t_interval(
    values: Values, confidence: float = CONFIDENCE, least_se: float | None = None
) -> tuple[float, float] | None:
    """Student's interval for the mean of (n,) values; None where they are fewer than two, or show no spread.

    >>> t_interval([1.0, 2.0, 3.0])
    (-0.4841..., 4.4841...)
    """
    if len(values) < 2:
        return None
    low, high = t_intervals(values, confidence, _or_nan(least_se))
    return None if np.isnan(low) else (float(low), float(high))


def t_test(
    values: Values, mean: float = 0.0, alternative: Alternative = "two-sided", least_se: float | None = None
) -> float | None:
    """The p value of a one-sample t test against `mean`; None where there is no interval.

    >>> round(t_test([1.0, 2.0, 3.0]), 4), round(t_test([1.0, 2.0, 3.0], alternative="greater"), 4)
    (0.0742, 0.0371)
    """
    return _scalar(t_tests(values, mean, alternative, _or_nan(least_se))) if len(values) > 1 else None


def bca_interval(values: Values, confidence: float = CONFIDENCE, resamples: int = 9999) -> tuple[float, float] | None:
    """The bias-corrected and accelerated bootstrap interval of the mean; None below `BCA_FROM` values.

    Source: Efron (1987), Better bootstrap confidence intervals.
    """
    held = np.asarray(values, dtype=float)
    if len(held) < BCA_FROM or np.ptp(held) == 0:
        return None
    from scipy import stats

    rng = np.random.default_rng(0)
    found = stats.bootstrap(
        (held,), np.mean, confidence_level=confidence, n_resamples=resamples, batch=1000, method="BCa", rng=rng
    ).confidence_interval
    return float(found.low), float(found.high)


def test_set_error(first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]]) -> TestSet:
    """How much the mean margin would vary over other test sets of the same size, the trained networks fixed.

    Each item's difference is averaged over the seeds; one item that only the first arm gets right and one that only
    the second does are added, so that a small test set without any disagreement is not taken to exclude it.

    Args:
        first: for each seed, (items,) whether the first arm is right.
        second: for each seed, (items,) the same for the second.

    >>> right, wrong = np.ones(98, bool), np.zeros(98, bool)
    >>> found = test_set_error([right], [right])
    >>> round(found.se_pp, 4), found.items  # 100 sqrt(2 / 100) / sqrt(100)
    (1.4142, 98)

    Source: for one seed, McNemar's setting, Bonett and Price (2012), Adjusted Wald intervals for a difference of
    binomial proportions based on paired data.
    """
    return item_error(np.mean([a.astype(float) - b for a, b in zip(first, second, strict=True)], axis=0))


def item_error(by_item: Floats) -> TestSet:
    """As `test_set_error`, of (items,) differences in [-1, 1] that are worked out already."""
    items = len(by_item)
    variance = (np.sum(by_item**2) + 2) / (items + 2) - (np.sum(by_item) / (items + 2)) ** 2
    return TestSet(float(100 * np.sqrt(variance / (items + 2))), items)


test_set_error.__test__ = False  # type: ignore[attr-defined]  # for pytest


def more_seeds(
    mean_pp: float, sd_pp: float, n: int, equivalence_pp: float, *, differences: int = 1, equivalences: int = 1
) -> int | None:
    """How many more seeds would decide, if mean and spread are what they seem: with a chance of 80%.

    Decided is: shown to differ from 0, or to be equivalent. None: more than 1,000 would be needed.

    Args:
        mean_pp: the mean so far.
        sd_pp: the standard deviation over seeds so far.
        n: the seeds so far.
        equivalence_pp: the smallest difference of interest.
        differences: tests that the level is divided among, this one included (Holm).
        equivalences: the same for the equivalence tests.

    >>> more_seeds(1.0, 0.8, 3, 0.5), more_seeds(0.0, 0.3, 3, 0.5)
    (5, 2)

    Source: power of the t test by the noncentral t distribution; of two one-sided tests, Phillips (1990), by the
    shifted t.
    """
    from scipy import stats

    seeds = np.arange(n + 1, n + 1 + MOST_SEEDS)
    df, se = seeds - 1, sd_pp / np.sqrt(seeds)
    needed = stats.t.isf(ALPHA / differences / 2, df)
    differs = stats.nct.sf(needed, df, abs(mean_pp) / se)
    needed = stats.t.isf(ALPHA / equivalences, df)
    room = (equivalence_pp - abs(mean_pp)) / se, (equivalence_pp + abs(mean_pp)) / se
    equivalent = stats.t.cdf(room[0] - needed, df) + stats.t.cdf(room[1] - needed, df) - 1
    decided = np.flatnonzero(np.maximum(np.nan_to_num(differs, nan=1.0), equivalent) >= POWER)
    return int(seeds[decided[0]] - n) if len(decided) else None


def fails_more(failed_first: int, of_first: int, failed_second: int, of_second: int) -> float:
    """The p value of the first arm's trials failing more often than the second's.

    >>> round(fails_more(3, 3, 0, 3), 4)
    0.05

    Source: Fisher's exact test, one-sided.
    """
    from scipy import stats

    table = [[failed_first, of_first - failed_first], [failed_second, of_second - failed_second]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def _mean_se_df(values: Values, least_se: Any) -> tuple[Floats, Floats, int]:
    held = np.asarray(values, dtype=float)
    n = held.shape[-1]
    if n < 2:
        nothing = np.full(held.shape[:-1], np.nan)
        return (held[..., 0] if n else nothing), nothing, 1
    spreads = np.ptp(held, axis=-1) > 0
    se = np.where(spreads, np.std(held, ddof=1, axis=-1) / np.sqrt(n), least_se)
    return np.mean(held, axis=-1), se, n - 1


def _scalar(p: Floats) -> float | None:
    return None if np.isnan(p) else float(p)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
