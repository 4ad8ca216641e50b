"""Do trials fail more often in one condition than in another? The seed is the block, and pairs agree in all else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fails_more(excess_by_seed: Sequence[int] | NDArray[np.int_]) -> float:
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
    sizes = [abs(int(excess)) for excess in excess_by_seed if excess]
    ways = np.ones(1)  # the probability of each sum, the smallest possible one first
    for size in sizes:
        grown = np.zeros(len(ways) + 2 * size)
        grown[: len(ways)] += ways / 2
        grown[2 * size :] += ways / 2
        ways = grown
    observed = int(sum(int(excess) for excess in excess_by_seed))
    return float(ways[observed + sum(sizes) :].sum())
