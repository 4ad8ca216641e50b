"""The share of runs that failed in two arms: intervals and exact tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ablate.stats.multiple_testing import CONFIDENCE

MOST_FLIPPED = 14
"""Seeds whose signs are flipped in all ways; of more, FLIPS ways are drawn."""

FLIPS = 20_000


def share_interval(failed: int, ended: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact interval for the share of runs that fail, in [0, 1].

    >>> [round(end, 4) for end in share_interval(1, 10)]
    [0.0025, 0.445]

    Source: Clopper and Pearson (1934).
    """
    from scipy import stats

    interval = stats.binomtest(failed, ended).proportion_ci(confidence_level=confidence, method="exact")
    return float(interval.low), float(interval.high)


def fails_more(failed_first: int, of_first: int, failed_second: int, of_second: int) -> float:
    """Return the p value of the first arm's runs failing more often than the second's.

    >>> round(fails_more(3, 3, 0, 3), 4)
    0.05

    Source: Fisher's exact test, one-sided.
    """
    from scipy import stats

    table = np.array([[failed_first, of_first - failed_first], [failed_second, of_second - failed_second]])
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def failures_differ(by_seed: Sequence[int]) -> float | None:
    """Return the two-sided p value of the two arms failing equally often, with the seed as the block.

    A seed that fails in many cells counts once: its sign is flipped as a whole. None where no seed tells them apart.

    Args:
        by_seed: (n,) for each seed the failures of the first arm, over all cells, less those of the second.

    >>> failures_differ([1, 1, 1, 1, 1, 1]), failures_differ([8, 0, 0]), failures_differ([0, 0])
    (0.03125, 1.0, None)

    Source: randomisation test, Fisher (1935).
    """
    differences = np.array([difference for difference in by_seed if difference], dtype=float)
    if not len(differences):
        return None
    if len(differences) <= MOST_FLIPPED:
        ways = 1 - 2.0 * (np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences)) & 1)
        return float(np.mean(np.abs(ways @ differences) >= abs(differences.sum()) - 1e-9))
    ways = np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, len(differences)))
    as_far = np.count_nonzero(np.abs(ways @ differences) >= abs(differences.sum()) - 1e-9)
    return float((1 + as_far) / (1 + FLIPS))
