"""Student's intervals and tests on values that are paired by seed, as pure functions: arrays in, numbers out.

Functions with a plural name take any number of cells (or simulated studies) at once, along the leading axes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ablate.stats.arrays import Floats, Values
from ablate.stats.multiple_testing import CONFIDENCE

EQUIVALENCE_PP = 0.5
"""The smallest difference of interest, in percentage points, unless a report states another."""

BCA_FROM = 200
"""The fewest seeds with which a BCa bootstrap interval covers 93 to 97% under normal and under t(3) noise.

Of 20, 30, 50, 100 and 200, by benchmarks/margin_errors.py.
"""

Alternative = Literal["two-sided", "less", "greater"]


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
