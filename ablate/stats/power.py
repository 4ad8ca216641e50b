"""How many seeds decide a margin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablate.stats.arrays import Floats
from ablate.stats.highest_score import critical_score, shape
from ablate.stats.multiple_testing import ALPHA
from ablate.stats.seed_rule import later_look
from ablate.stats.sequential import FIRST

POWER = 0.8
"""The chance with which the seeds decide."""

MOST_SEEDS = 1000

_COARSE = np.unique(np.geomspace(1, MOST_SEEDS, 60).round().astype(int))
"""Numbers of further seeds that are looked at first, since a thousand of each cell take seconds of a large report."""

FEW_LOOKS = 20
"""The last look that the levels of later looks are computed for. Those of more looks are a little lower: beyond 20
seeds the chance of deciding is some 70%, not 80%."""

_KNOWN_DF = 1e4
"""With so many degrees of freedom the spread is known."""

RANGE = 0.8
"""The confidence of the range of the spread from which the range of seeds follows."""


@dataclass(frozen=True)
class MoreSeeds:
    """How many more seeds would decide a margin: from `fewest` to `most`; None is more than MOST_SEEDS.

    `never` is true where no number of seeds would, since the error that comes from the test set stays.
    """

    fewest: int | None
    most: int | None
    never: bool = False


def more_seeds_range(
    mean_pp: float,
    sd_pp: float,
    n: int,
    equivalence_pp: float,
    *,
    items_se_pp: float = 0.0,
    differences: int = 1,
    equivalences: int = 1,
    prior_df: float = 0.0,
) -> MoreSeeds:
    """Return how many more seeds decide, from the smallest to the largest spread that so few seeds leave open.

    n seeds hardly know the spread over seeds: of 3, its 80% interval goes from 0.66 to 3.1 times the estimate. The mean
    so far is taken to be the true one. Arguments as in `more_seeds`; n is 2 or more.

    >>> more_seeds_range(1.0, 0.8, 3, 0.5)
    MoreSeeds(fewest=7, most=140, never=False)
    """
    from scipy import stats

    tails = (1 - RANGE) / 2, (1 + RANGE) / 2
    df = n - 1 + prior_df
    spreads = [sd_pp * float(np.sqrt(df / stats.chi2.isf(tail, df))) if df < _KNOWN_DF else sd_pp for tail in tails]
    fewest, most = (
        more_seeds(
            mean_pp,
            spread,
            n,
            equivalence_pp,
            items_se_pp=items_se_pp,
            differences=differences,
            equivalences=equivalences,
            prior_df=prior_df,
        )
        for spread in spreads
    )
    if not items_se_pp:
        return MoreSeeds(fewest, most)
    levels = np.array([ALPHA / differences]), np.array([ALPHA / equivalences])
    at_best = _powers(mean_pp, np.array([items_se_pp]), np.array([1e6]), equivalence_pp, *levels)
    return MoreSeeds(fewest, most, never=bool(at_best[0] < POWER))


def more_seeds(
    mean_pp: float,
    sd_pp: float,
    n: int,
    equivalence_pp: float,
    *,
    items_se_pp: float = 0.0,
    differences: int = 1,
    equivalences: int = 1,
    prior_df: float = 0.0,
) -> int | None:
    """Return how many more seeds decide a margin with a chance of 80%, if the mean and spread so far are the true ones.

    A margin is decided when it is shown to differ from 0, or to be equivalent, by the test for seeds that were added
    after a look: `ablate.stats.seed_rule`. None means that more than 1,000 more seeds are needed.

    Args:
        mean_pp: the mean so far.
        sd_pp: the standard deviation over seeds so far.
        n: the seeds so far.
        equivalence_pp: the smallest difference of interest.
        items_se_pp: the standard error that comes from the test set, and that seeds do not take away.
        differences: the tests of a difference that share the level, this one included (Holm).
        equivalences: the same for the tests of equivalence.
        prior_df: the degrees of freedom that the spread of other cells adds: see `ablate.stats.moderated`.

    >>> more_seeds(1.0, 0.8, 3, 0.5), more_seeds(0.0, 0.3, 3, 0.5), more_seeds(1.0, 0.8, 3, 0.5, items_se_pp=0.8)
    (13, 8, None)

    Source: power of the t test by the noncentral t distribution; of two one-sided tests, Phillips (1990), by the
    shifted t.
    """

    def first_that_decide(more: NDArray[np.int_]) -> int | None:
        """Return the index of the first of these numbers of further seeds that decide."""
        of_seeds = sd_pp / np.sqrt(n + more)
        se = np.hypot(of_seeds, items_se_pp)
        df = n + more - 1 + prior_df
        if items_se_pp:
            df = df * (se / np.maximum(of_seeds, 1e-12)) ** 4
        levels = [_later_levels(n, tests)[more - 1] for tests in (differences, equivalences)]
        powers = _powers(mean_pp, se, np.minimum(df, 1e6), equivalence_pp, *levels)
        return next(iter(np.flatnonzero(powers >= POWER).tolist()), None)

    coarse = first_that_decide(_COARSE)
    if not coarse:
        return None if coarse is None else int(_COARSE[0])
    between = np.arange(_COARSE[coarse - 1] + 1, _COARSE[coarse] + 1)
    return int(between[first_that_decide(between) or 0])


def detectable_pp(sd_pp: float, n: int, differences: int = 1, df: float | None = None) -> float:
    """Return the margin that n seeds show to differ from 0 with a chance of 80%, in percentage points.

    Args:
        sd_pp: the standard deviation of a seed's margin.
        n: the seeds, 2 or more.
        differences: the tests that share the level (Holm's first step).
        df: the degrees of freedom of the spread; None for n - 1, those of the seeds alone.

    >>> round(detectable_pp(1.0, 10), 2), round(detectable_pp(1.0, 3), 2)
    (1.0, 3.26)

    Source: power of the t test by the noncentral t distribution.
    """
    from scipy import optimize, stats

    df = n - 1 if df is None else df
    critical = float(stats.t.isf(ALPHA / differences / 2, df))

    def lacks(shift: float) -> float:
        return POWER - float(np.nan_to_num(stats.nct.sf(critical, df, shift), nan=1.0))

    most = critical
    while lacks(most) > 0:
        most *= 2
    return float(optimize.brentq(lacks, 0.0, most) * sd_pp / np.sqrt(n))


@lru_cache
def _later_levels(n: int, tests: int) -> Floats:
    """Return the level of a t test that decides after n + 1, n + 2, ... seeds, as one of so many tests.

    It is the two-sided level at that look. The one-sided test of equivalence has about the same.
    """
    from scipy import special

    seeds = np.arange(n + 1, n + 1 + MOST_SEEDS)
    factors = [later_look(int(last))[1] for last in seeds]
    score = {factor: critical_score(1 - ALPHA / tests / factor, FIRST, FEW_LOOKS) for factor in set(factors)}
    levels = 2 * special.ndtr(-np.array([score[factor] for factor in factors]) * shape(seeds))
    levels.flags.writeable = False  # it is shared by all cells
    return np.asarray(levels)


def _powers(
    mean_pp: float, se: Floats, df: Floats, equivalence_pp: float, of_difference: Floats, of_equivalence: Floats
) -> Floats:
    """Return the chance of deciding with each of these standard errors, degrees of freedom and levels of the tests."""
    from scipy import stats

    differs = stats.nct.sf(stats.t.isf(of_difference / 2, df), df, abs(mean_pp) / se)
    critical = stats.t.isf(of_equivalence, df)
    near, far = (equivalence_pp - abs(mean_pp)) / se, (equivalence_pp + abs(mean_pp)) / se
    equivalent = stats.t.cdf(near - critical, df) + stats.t.cdf(far - critical, df) - 1
    return np.maximum(np.nan_to_num(differs, nan=1.0), equivalent)
