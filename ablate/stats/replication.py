"""Whether a number could be a further run of what gave some values, by a prediction interval.

A mean over seeds averages their noise, and Student's t is nearly right for it whatever the shape of the noise. A single
further run averages nothing: how often it lies far out is the tail of the noise itself. Hence the intervals here are
the wider of two: Student's, and the same for noise with the tails of t(3).

The noise is that of seeds. Values and number are scored on the same test items, which are as hard for the number's run
as for the others: the sampling of the test set moves all of them together, and is not counted.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ablate.stats.arrays import Floats, Values
from ablate.stats.multiple_testing import ALPHA, holms

HEAVY_DF = 3
"""The degrees of freedom of the heaviest tails that are allowed for."""

FEWEST_DRAWS, NUMBERS_DRAWN = 20_000, 400_000
"""The fewest samples from noise with heavy tails, and the numbers drawn where samples are so small that more are."""

MOST_DRAWN = 100
"""Samples with more values than this are treated as if they had this many."""

LOG1P_T = np.linspace(0, 14, 57)
"""The logarithms of 1 + t at which the tail is computed; between them its logarithm is interpolated."""


def further_run_p(values: Values, number: Floats | float, runs: int = 1) -> Floats:
    """Return the p value of a number being the mean of further runs of what gave the values.

    Args:
        values: (..., n), one per seed, n from 1.
        number: (...), on the same scale.
        runs: how many runs the number is the mean of.

    Returns:
        (...) two-sided p values; NaN where n is 1, or where all values are the same.

    >>> float(further_run_p([1.0, 2.0, 3.0], 7.0).round(2)), float(further_run_p([1.0, 2.0, 3.0], 9.0).round(2))
    (0.06, 0.04)

    Source: Student's prediction interval, Hahn and Meeker (1991), Statistical Intervals, chapter 4.
    """
    from scipy import special

    sample = np.asarray(values, dtype=float)
    t = np.abs(np.asarray(number) - sample.mean(axis=-1)) / _standard_error(sample, runs)
    of_normal = special.stdtr(sample.shape[-1] - 1, -t)
    of_heavy = np.exp(np.interp(np.log1p(t), LOG1P_T, _log_heavy_tail(min(sample.shape[-1], MOST_DRAWN), runs)))
    return np.asarray(2 * np.maximum(of_normal, of_heavy))


def further_run_half_width(values: Values, level: float = ALPHA, runs: int = 1) -> Floats:
    """Return (...) half-widths of the intervals around the mean that hold all numbers with a p value above `level`.

    Arguments and NaN as in `further_run_p`.

    >>> float(further_run_half_width([1.0, 2.0, 3.0]).round(1))  # Student's is 5.0
    5.7
    """
    from scipy import special

    sample = np.asarray(values, dtype=float)
    of_normal = -special.stdtrit(sample.shape[-1] - 1, level / 2)
    log_tail = _log_heavy_tail(min(sample.shape[-1], MOST_DRAWN), runs)
    of_heavy = np.expm1(np.interp(-np.log(level / 2), -log_tail, LOG1P_T))
    return np.asarray(max(of_normal, of_heavy) * _standard_error(sample, runs))


def level_of_each(p_values: Values) -> float:
    """Return the level at which each test alone decides as Holm's procedure does for all of them.

    It is ALPHA divided by the number of tests that Holm does not reject. NaN stands for no test.

    >>> level_of_each([0.001, 0.03, 0.04, np.nan])
    0.025

    Source: Holm (1979), A simple sequentially rejective multiple test procedure: p values that he rejects are below
    ALPHA over the number of tests left at their step, all others are at or above it at the last step.
    """
    adjusted = holms(p_values)
    return ALPHA / max(int(np.sum(adjusted >= ALPHA)), 1)


def _standard_error(sample: Floats, runs: int) -> Floats:
    """Return (...) the standard error of the difference between a mean of further runs and the mean of (..., n)."""
    n = sample.shape[-1]
    if n < 2:
        return np.full(sample.shape[:-1], np.nan)
    sd = np.where(np.ptp(sample, axis=-1) > 0, np.std(sample, ddof=1, axis=-1), np.nan)
    return np.asarray(sd * np.sqrt(1 / runs + 1 / n))


@lru_cache
def _log_heavy_tail(n: int, runs: int) -> Floats:
    """Return the logarithm of the probability that the t of a further run is above each t, under t(3) noise.

    The n values are drawn, and the run's own probability given them is exact. For the mean of several runs it is that
    of a run whose noise is smaller by the root of their number, which is larger far out.

    Source: conditional Monte Carlo, Asmussen and Glynn (2007), Stochastic Simulation, chapter V.
    """
    if n < 2:
        return np.zeros_like(LOG1P_T)
    draws = max(FEWEST_DRAWS, NUMBERS_DRAWN // n)
    sample = np.random.default_rng(0).standard_t(HEAVY_DF, (draws, n))
    mean, error = sample.mean(axis=-1), _standard_error(sample, runs)
    tails = [
        np.mean([_above(runs**0.5 * (t * error + side * mean)).mean() for side in (-1, 1)]) for t in np.expm1(LOG1P_T)
    ]
    return np.log(tails)


def _above(x: Floats) -> Floats:
    """Return the probability that t(3) is above x: in closed form, or its leading term where that form cancels."""
    a = x / HEAVY_DF**0.5
    closed = 0.5 - (np.arctan(a) + a / (1 + a * a)) / np.pi
    return np.asarray(np.where(a > 1000, 2 / (3 * np.pi * np.maximum(a, 1) ** 3), closed))
