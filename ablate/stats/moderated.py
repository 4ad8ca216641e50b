"""The moderated t test: many cells of few seeds know their spread better together than each by itself.

Each cell's variance over seeds is drawn towards that of all cells, the more the less the cells' variances vary beyond
what so few seeds would make them vary. With 432 cells of 3 seeds and a common spread, a t test with 2 degrees of
freedom becomes nearly a normal one.

Source: Smyth (2004), Linear models and empirical Bayes methods for assessing differential expression, section 6.2.
Held to its level by benchmarks/many_cells.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ablate.stats import population
from ablate.stats.arrays import Floats
from ablate.stats.margin import Margin
from ablate.stats.multiple_testing import CONFIDENCE

FROM_CELLS, FEWEST_SEEDS = 70, 3
"""The fewest cells, and seeds of a cell, that are moderated: with fewer, the common spread is not known well enough."""

_CAUTION = 3.0
"""The prior's degrees of freedom count 1 - 3 / sqrt(cells) times: without it, cells of spreads from half to twice the
usual one are wrong in 8% of studies of 70 cells (benchmarks/many_cells.py)."""

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


def moderated_variances(values: Floats) -> tuple[Floats, Floats]:
    """Return the variances over seeds drawn towards the common one, and their degrees of freedom, (..., cells) each.

    What the common variance is worth is taken lower than its estimate, the more so the fewer cells it rests on: cells
    whose spreads differ otherwise than the method assumes would be drawn too far. And it cannot be worth more than the
    noise that a seed's cells share allows, of which there is one value per seed, however many cells there are.

    Where half of the variances or more are 0 they stay as they are.

    Args:
        values: (..., cells, n) margins by seed; NaN where a cell lacks the seed.

    >>> variances, df = moderated_variances(np.array([[1.0, 2.0, 3.0], [1.1, 3.1, 2.1], [3.0, 1.0, 2.0]] * 6))
    >>> variances.round(2)[:3].tolist(), df.round(1)[:3].tolist()
    ([1.0, 1.0, 1.0], [36.0, 36.0, 36.0])
    """
    df = (~np.isnan(values)).sum(axis=-1) - 1.0
    variances = np.nanvar(values, ddof=1, axis=-1)
    common, prior_df = (value[..., None] for value in common_spread(variances, df))
    prior_df = prior_df * max(0.0, 1 - _CAUTION / values.shape[-2] ** 0.5)
    known = ~np.isnan(prior_df)
    finite = np.where(np.isfinite(prior_df), prior_df, 0.0)
    drawn = np.where(np.isinf(prior_df), common, (finite * common + df * variances) / (finite + df))
    most_df = np.maximum(np.minimum(df.sum(axis=-1), _df_of_shared_noise(values, variances))[..., None], df)
    return np.where(known, drawn, variances), np.where(known, np.minimum(prior_df + df, most_df), df)


def _df_of_shared_noise(values: Floats, variances: Floats) -> Floats:
    """Return (...) the degrees of freedom that the mean variance has if part of the noise is one for all cells.

    With a share r of it, they are (n - 1) / r^2, however many cells there are. Arguments as in `moderated_variances`,
    and (..., cells) the variances.
    """
    from scipy import stats

    by_seed = np.nanmean(values - np.nanmean(values, axis=-1, keepdims=True), axis=-2)
    seeds = values.shape[-1]
    between = np.var(by_seed, ddof=1, axis=-1) * (seeds - 1) / stats.chi2.isf(0.5, seeds - 1)  # above its mean in half
    share = between / np.maximum(variances.mean(axis=-1), between)
    return np.asarray((seeds - 1) / np.maximum(share, 1e-6) ** 2)


def moderated(margins: Sequence[Margin], by_seed: Sequence[Mapping[int, float]], equivalence_pp: float) -> list[Margin]:
    """Return the margins with intervals and p values by the moderated t test, where there are cells enough for it.

    Only margins with a spread over a fixed number of seeds, FEWEST_SEEDS or more, are moderated; the others stay as
    they are. Where the test set's error is known, the result is about new seeds and new items, as in
    `ablate.stats.margin`.

    Args:
        margins: one per cell.
        by_seed: for each cell its differences in percentage points, by seed.
        equivalence_pp: the smallest difference of interest.
    """
    chosen = [index for index, margin in enumerate(margins) if margin.fixed and margin.n >= FEWEST_SEEDS]
    result = list(margins)
    if len(chosen) < FROM_CELLS:
        return result
    seeds = sorted({seed for index in chosen for seed in by_seed[index]})
    values = np.array([[by_seed[index].get(seed, np.nan) for seed in seeds] for index in chosen])
    variances, df = moderated_variances(values)
    for index, variance, degrees in zip(chosen, variances.tolist(), df.tolist(), strict=True):
        prior_df = degrees - (margins[index].n - 1)
        if prior_df > 0:
            result[index] = _moderated(margins[index], variance, degrees, prior_df, equivalence_pp)
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
