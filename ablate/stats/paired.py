"""Margins between two arms and tests on them, as pure functions: arrays in, numbers out.

Functions with a plural name take any number of cells (or simulated studies) at once, along the leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ablate.stats import sequential
from ablate.stats.arrays import Floats, Values
from ablate.stats.finite_test_set import TestSet
from ablate.stats.multiple_testing import CONFIDENCE

EQUIVALENCE_PP = 0.5
"""The smallest difference of interest, in percentage points, unless a report states another."""

BCA_FROM = 200
"""The fewest seeds with which a BCa bootstrap interval covers 93 to 97% under normal and under t(3) noise.

Of 20, 30, 50, 100 and 200, by benchmarks/margin_errors.py.
"""

Alternative = Literal["two-sided", "less", "greater"]


@dataclass(frozen=True)
class Margin:
    """A margin in percentage points, with its 95% t interval where there is a spread to estimate it from.

    `sd_pp` is the standard deviation over seeds; None with one seed. `p_difference` is the p value of a margin of 0,
    `p_equivalence` that of a margin as large as the smallest difference of interest. `test_set` is None where no
    predictions are known. `most_seeds`: see `margin`.
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
        """Return the standard error of the mean over seeds."""
        return None if self.sd_pp is None else self.sd_pp / self.n**0.5

    @property
    def identical(self) -> bool:
        """Return whether all seeds have the same difference. The spread is then the test set's, where that is known."""
        return self.sd_pp == 0


def margin(
    first: Sequence[float],
    second: Sequence[float],
    *,
    equivalence_pp: float = EQUIVALENCE_PP,
    test_set: TestSet | None = None,
    most_seeds: int | None = None,
) -> Margin:
    """Return the mean paired difference in accuracy, first arm minus second, in percentage points.

    One seed gives an estimate without an interval. Identical differences do not show that there is no spread, but that
    the test set is too coarse to show it. The standard error is then that of test-set sampling; where that is unknown,
    there is neither interval nor test.

    Args:
        first: (n,) accuracies in [0, 1], one per seed; other measures in hundredths.
        second: (n,) the same seeds, every other factor at the same level.
        equivalence_pp: the smallest difference of interest.
        test_set: what `error_of_test_set` returns for the two arms.
        most_seeds: the most seeds, where they were added one by one until they decided. The interval and the tests are
            then those of `ablate.stats.sequential`, which hold under looking each time. None where the number of seeds
            was fixed.

    Raises:
        ValueError: the arms differ in length, are empty, or hold a value that is not finite.

    >>> result = margin([0.99, 0.98, 0.97], [0.96, 0.96, 0.96])
    >>> result.mean_pp, result.sd_pp, result.low_pp, result.high_pp
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
        n=len(pp),
        mean_pp=float(np.mean(pp)),
        sd_pp=sd_pp,
        low_pp=low_pp,
        high_pp=high_pp,
        p_difference=t_test(pp, least_se=least),
        p_equivalence=_scalar(equivalence_tests(pp, equivalence_pp, _or_nan(least))),
        test_set=test_set,
    )


def _sequential(pp: Floats, sd_pp: float | None, equivalence_pp: float, test_set: TestSet | None, most: int) -> Margin:
    """Return the margin over seeds that were added until they decided. With too few for a look, the p values are 1."""
    most = max(most, len(pp))
    low_pp, high_pp = (_scalar(end) for end in sequential.interval(pp, most))
    return Margin(
        n=len(pp),
        mean_pp=float(np.mean(pp)),
        sd_pp=sd_pp,
        low_pp=low_pp,
        high_pp=high_pp,
        p_difference=float(sequential.difference_p(pp, most)),
        p_equivalence=float(sequential.equivalence_p(pp, equivalence_pp, most)),
        test_set=test_set,
        most_seeds=most,
    )


def differences_pp(first: Sequence[float], second: Sequence[float]) -> Floats:
    """Return (n,) paired differences, first arm minus second, in percentage points. Arguments as in `margin`."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"margin: arms of shape {a.shape} and {b.shape}; allowed: two of the same length, 1 or more")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("margin: an arm holds NaN or infinity; allowed: finite numbers")
    return np.asarray(np.round(100 * (a - b), 9))  # 0.98 - 0.96 is not quite 0.02


def t_intervals(
    values: Values, confidence: float = CONFIDENCE, least_se: Floats | float = np.nan
) -> tuple[Floats, Floats]:
    """Return Student's intervals for the means along the last axis.

    Args:
        values: (..., n).
        confidence: the probability with which an interval holds the true mean.
        least_se: (...) the standard error to use where all n values are the same.

    Returns:
        Low and high ends, (...): NaN where n is 1, or where all values are the same and `least_se` is NaN.
    """
    from scipy import stats

    mean, se, df = _mean_se_df(values, least_se)
    half = stats.t.isf((1 - confidence) / 2, df) * se
    return mean - half, mean + half


def t_tests(
    values: Values, mean: float = 0.0, alternative: Alternative = "two-sided", least_se: Floats | float = np.nan
) -> Floats:
    """Return (...) p values of one-sample t tests against `mean`, along the last axis. The rest as in `t_intervals`."""
    from scipy import stats

    centre, se, df = _mean_se_df(values, least_se)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (centre - mean) / se
    if alternative == "two-sided":
        return np.asarray(2 * stats.t.sf(np.abs(t), df))
    return np.asarray(stats.t.sf(t if alternative == "greater" else -t, df))


def equivalence_tests(values: Values, within: float, least_se: Floats | float = np.nan) -> Floats:
    """Return (...) p values of two one-sided t tests: small where the mean is shown to lie within `within` of 0.

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
    """Return Student's interval for the mean of (n,) values. None for fewer than two, or where they show no spread.

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
    """Return the p value of a one-sample t test against `mean`. None where there is no interval.

    >>> round(t_test([1.0, 2.0, 3.0]), 4), round(t_test([1.0, 2.0, 3.0], alternative="greater"), 4)
    (0.0742, 0.0371)
    """
    return _scalar(t_tests(values, mean, alternative, _or_nan(least_se))) if len(values) > 1 else None


def bca_interval(values: Values, confidence: float = CONFIDENCE, resamples: int = 9999) -> tuple[float, float] | None:
    """Return the bias-corrected and accelerated bootstrap interval of the mean. None below `BCA_FROM` values.

    Source: Efron (1987), Better bootstrap confidence intervals.
    """
    sample = np.asarray(values, dtype=float)
    if len(sample) < BCA_FROM or np.ptp(sample) == 0:
        return None
    from scipy import stats

    rng = np.random.default_rng(0)
    interval = stats.bootstrap(
        (sample,), np.mean, confidence_level=confidence, n_resamples=resamples, batch=1000, method="BCa", rng=rng
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _mean_se_df(values: Values, least_se: Floats | float) -> tuple[Floats, Floats, int]:
    """Return (...) means, (...) standard errors and the degrees of freedom. Arguments as in `t_intervals`."""
    samples = np.asarray(values, dtype=float)
    n = samples.shape[-1]
    if n < 2:
        nothing = np.full(samples.shape[:-1], np.nan)
        return (samples[..., 0] if n else nothing), nothing, 1
    varies = np.ptp(samples, axis=-1) > 0
    se = np.where(varies, np.std(samples, ddof=1, axis=-1) / np.sqrt(n), least_se)
    return np.mean(samples, axis=-1), se, n - 1


def _scalar(value: Floats) -> float | None:
    """Return a (,) array as a number, NaN as None."""
    return None if np.isnan(value) else float(value)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
