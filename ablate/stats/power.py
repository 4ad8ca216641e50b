"""How many seeds decide a margin."""

from __future__ import annotations

import numpy as np

from ablate.stats.multiple_testing import ALPHA

POWER = 0.8
"""The chance with which the seeds decide."""

MOST_SEEDS = 1000


def more_seeds(
    mean_pp: float, sd_pp: float, n: int, equivalence_pp: float, *, differences: int = 1, equivalences: int = 1
) -> int | None:
    """Return how many more seeds decide a margin with a chance of 80%, if the mean and spread so far are the true ones.

    A margin is decided when it is shown to differ from 0, or to be equivalent. None means that more than 1,000 more
    seeds are needed.

    Args:
        mean_pp: the mean so far.
        sd_pp: the standard deviation over seeds so far.
        n: the seeds so far.
        equivalence_pp: the smallest difference of interest.
        differences: the tests of a difference that share the level, this one included (Holm).
        equivalences: the same for the tests of equivalence.

    >>> more_seeds(1.0, 0.8, 3, 0.5), more_seeds(0.0, 0.3, 3, 0.5)
    (5, 2)

    Source: power of the t test by the noncentral t distribution; of two one-sided tests, Phillips (1990), by the
    shifted t.
    """
    from scipy import stats

    seeds = np.arange(n + 1, n + 1 + MOST_SEEDS)
    df, se = seeds - 1, sd_pp / np.sqrt(seeds)
    differs = stats.nct.sf(stats.t.isf(ALPHA / differences / 2, df), df, abs(mean_pp) / se)
    critical = stats.t.isf(ALPHA / equivalences, df)
    near, far = (equivalence_pp - abs(mean_pp)) / se, (equivalence_pp + abs(mean_pp)) / se
    equivalent = stats.t.cdf(near - critical, df) + stats.t.cdf(far - critical, df) - 1
    decided = np.flatnonzero(np.maximum(np.nan_to_num(differs, nan=1.0), equivalent) >= POWER)
    return int(seeds[decided[0]] - n) if len(decided) else None
