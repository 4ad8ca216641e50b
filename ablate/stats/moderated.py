"""The moderated t test: many cells of few seeds know their spread better together than each by itself.

Each cell's variance over seeds is drawn towards that of all cells, the more the less the cells' variances vary beyond
what so few seeds would make them vary. With 432 cells of 3 seeds and a common spread, a t test with 2 degrees of
freedom becomes nearly a normal one.

Source: Smyth (2004), Linear models and empirical Bayes methods for assessing differential expression, section 6.2.
Held to its level by benchmarks/many_cells.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ablate.stats import population
from ablate.stats.arrays import Floats, Values
from ablate.stats.margin import Margin
from ablate.stats.multiple_testing import CONFIDENCE

FROM_CELLS = 70
"""The fewest cells that are moderated: with fewer, the common spread is not known well enough."""

_LEAST_OF_MEDIAN = 1e-5
"""A variance counts as no less than this part of the median one: the logarithm of 0 has no value."""


def common_spread(variances: Floats, df: Floats) -> tuple[Floats, Floats]:
    """Return the variance that all cells share, and the degrees of freedom that it is worth: infinite if all agree.

    Args:
        variances: (..., cells) sample variances.
        df: (..., cells) their degrees of freedom, 1 or more.

    Returns:
        (...) variances and (...) degrees of freedom; NaN where half of the variances or more are 0.

    Source: Smyth (2004), section 6.2: moments of the logarithms of the variances.
    """
    from scipy import special

    median = np.median(variances, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(median > 0, np.log(np.maximum(variances, _LEAST_OF_MEDIAN * median)), np.nan)
    logs = logs - special.digamma(df / 2) + np.log(df / 2)
    mean = logs.mean(axis=-1)
    beyond = np.var(logs, ddof=1, axis=-1) - special.polygamma(1, df / 2).mean(axis=-1)
    half = _trigamma_inverse(np.where(beyond > 0, beyond, 1.0))
    varies = beyond > 0
    shared = np.exp(mean + special.digamma(half) - np.log(half))
    common = np.where(varies, shared, variances.mean(axis=-1))  # without variation the pooled one is exact
    return common, np.where(np.isnan(mean), np.nan, np.where(varies, 2 * half, np.inf))


def moderated_variances(variances: Floats, df: Floats) -> tuple[Floats, Floats]:
    """Return (..., cells) variances drawn towards the common one, and their degrees of freedom.

    Where half of the variances or more are 0 they stay as they are. Arguments as in `common_spread`.

    >>> variances, df = moderated_variances(np.array([1.0, 1.1, 0.9, 1.0]), np.full(4, 2.0))
    >>> variances.round(2).tolist(), df.tolist()  # more alike than chance makes them: 4 cells of 2 degrees
    ([1.0, 1.0, 1.0, 1.0], [8.0, 8.0, 8.0, 8.0])
    """
    common, prior_df = (value[..., None] for value in common_spread(variances, df))
    known = ~np.isnan(prior_df)
    finite = np.where(np.isfinite(prior_df), prior_df, 0.0)
    drawn = np.where(np.isinf(prior_df), common, (finite * common + df * variances) / (finite + df))
    drawn_df = np.minimum(prior_df + df, df.sum(axis=-1, keepdims=True))
    return np.where(known, drawn, variances), np.where(known, drawn_df, df)


def moderated(margins: Sequence[Margin], differences: Sequence[Values], equivalence_pp: float) -> list[Margin]:
    """Return the margins with intervals and p values by the moderated t test, where there are cells enough for it.

    Only margins with a spread over a fixed number of seeds are moderated; the others stay as they are. Where the test
    set's error is known, the result is about new seeds and new items, as in `ablate.stats.margin`.

    Args:
        margins: one per cell.
        differences: for each cell its (n,) differences in percentage points.
        equivalence_pp: the smallest difference of interest.
    """
    chosen = [index for index, margin in enumerate(margins) if margin.sd_pp is not None and margin.fixed]
    result = list(margins)
    if len(chosen) < FROM_CELLS:
        return result
    df = np.array([len(differences[index]) - 1.0 for index in chosen])
    variances = np.array([np.var(np.asarray(differences[index], float), ddof=1) for index in chosen])
    drawn, drawn_df = moderated_variances(variances, df)
    if np.array_equal(drawn_df, df):
        return result
    for index, variance, degrees, own in zip(chosen, drawn.tolist(), drawn_df.tolist(), df.tolist(), strict=True):
        result[index] = _moderated(margins[index], variance, degrees, degrees - own, equivalence_pp)
    return result


def _moderated(margin: Margin, variance: float, df: float, prior_df: float, equivalence_pp: float) -> Margin:
    """Return the margin with the interval and p values that follow from a variance and its degrees of freedom."""
    errors = [(float(np.sqrt(variance / margin.n)), df)]
    if margin.test_set:
        of_items = margin.test_set
        crossed = population.crossed(variance / margin.n, df, of_items.se_pp, of_items.residual_se_pp, of_items.items)
        errors.append((float(crossed[0]), float(crossed[1])))
    of_seeds, *_ = tested = [_interval_and_tests(margin.mean_pp, se, degrees, equivalence_pp) for se, degrees in errors]
    return replace(
        margin,
        low_pp=min(low for low, _, _, _ in tested),
        high_pp=max(high for _, high, _, _ in tested),
        p_difference=max(p for _, _, p, _ in tested),
        p_equivalence=max(p for _, _, _, p in tested),
        p_seeds=of_seeds[2],
        moderated_sd_pp=float(np.sqrt(variance)),
        prior_df=prior_df,
    )


def _interval_and_tests(mean: float, se: float, df: float, within: float) -> tuple[float, float, float, float]:
    """Return the ends of the interval, and the p values of a difference and of equivalence."""
    from scipy import stats

    half = float(stats.t.isf((1 - CONFIDENCE) / 2, df)) * se
    difference, equivalence = 2 * stats.t.sf(abs(mean) / se, df), stats.t.sf((within - abs(mean)) / se, df)
    return mean - half, mean + half, float(difference), float(equivalence)


def _trigamma_inverse(values: Floats) -> Floats:
    """Return x with trigamma(x) = values, above 0, by Newton's method.

    Source: Smyth (2004), appendix.
    """
    from scipy import special

    x = 0.5 + 1 / values
    for _ in range(20):  # it converges in fewer than 10 steps from there
        trigamma = special.polygamma(1, x)
        x = x + trigamma * (1 - trigamma / values) / special.polygamma(2, x)
    return np.asarray(x)
