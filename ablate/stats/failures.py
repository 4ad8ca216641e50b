"""Do trials fail more often in one condition than in another? Shares with their intervals, and exact tests.

Where trials are paired, the seed is the block, and pairs agree in all but the condition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablate.stats.arrays import Floats
from ablate.stats.multiple_testing import CONFIDENCE

BySeed = Sequence[int] | NDArray[np.int_]


def share_interval(failed: int, ended: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact interval for the share of runs that fail, in [0, 1].

    >>> [round(end, 4) for end in share_interval(1, 10)]
    [0.0025, 0.445]

    Source: Clopper and Pearson (1934), by quantiles of the beta distribution: a large report has thousands of shares.
    """
    from scipy import special

    tail = (1 - confidence) / 2
    low = special.betaincinv(failed, ended - failed + 1, tail) if failed else 0.0
    high = special.betaincinv(failed + 1, ended - failed, 1 - tail) if failed < ended else 1.0
    return float(low), float(high)


def share_is_larger(failed_first: int, of_first: int, failed_second: int, of_second: int) -> float:
    """Return the p value of the first share of failed runs being the larger one.

    >>> round(share_is_larger(3, 3, 0, 3), 4)
    0.05

    Source: Fisher's exact test, one-sided.
    """
    from scipy import stats

    table = np.array([[failed_first, of_first - failed_first], [failed_second, of_second - failed_second]])
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def fails_more(excess_by_seed: BySeed) -> float:
    """Return the p value of trials failing more often in the first condition than in the second; exact, one-sided.

    Under the null hypothesis a seed's trials might as well have changed conditions, all of them together. So a seed
    that fails in every cell is a single observation, and one that fails alike in both conditions is none. Without any
    seed that fails more often in one of them, the p value is 1.

    Args:
        excess_by_seed: (n,) for each seed, over the pairs of its trials that agree in all but the condition: in how
            many the first alone failed minus in how many the second alone did.

    >>> fails_more([8]), fails_more([1, 1, 1, 1, 1, 0]), fails_more([2, 1, -1])
    (0.5, 0.03125, 0.375)

    Source: McNemar (1947), within strata as in Mantel and Haenszel (1959); a block's labels permuted together, Winkler
        et al. (2014).
    """
    sums, probabilities = _under_chance(excess_by_seed)
    return float(probabilities[sums >= sum(excess_by_seed)].sum())


def failures_differ(excess_by_seed: BySeed) -> float:
    """Return the p value of trials failing equally often in both conditions; two-sided, else as `fails_more`.

    >>> failures_differ([1, 1, 1, 1, 1, 1]), failures_differ([8, 0, 0]), failures_differ([0, 0])
    (0.03125, 1.0, 1.0)
    """
    sums, probabilities = _under_chance(excess_by_seed)
    return float(probabilities[np.abs(sums) >= abs(sum(excess_by_seed))].sum())


def _under_chance(excess_by_seed: BySeed) -> tuple[NDArray[np.int_], Floats]:
    """Return the sums that swaps of whole seeds can give, and the probability of each."""
    sizes = [abs(int(excess)) for excess in excess_by_seed if excess]
    ways = np.ones(1)
    for size in sizes:
        grown = np.zeros(len(ways) + 2 * size)
        grown[: len(ways)] += ways / 2
        grown[2 * size :] += ways / 2
        ways = grown
    return np.arange(len(ways)) - sum(sizes), ways
