"""How probable is it that a run of one arm is better than a run of the other?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ablate.stats.arrays import Values
from ablate.stats.failures import share_interval


@dataclass(frozen=True)
class Superiority:
    """The probability that the first arm is the better one of a pair with the same seed, with its 95% interval."""

    probability: float
    low: float
    high: float
    n: int


def superiority(differences: Values, *, lower_is_better: bool = False) -> Superiority | None:
    """Return how often the first arm is better, of pairs with the same seed. A tie counts half; None without a pair.

    The interval is exact. Ties widen it: once they are counted against the first arm, once for it.

    >>> superiority([1.0, 2.0, 0.5])
    Superiority(probability=1.0, low=0.2924..., high=1.0, n=3)
    >>> superiority([1.0, 0.0]).probability
    0.75

    Args:
        differences: (n,) first minus second, one per seed; equal accuracies exactly 0.
        lower_is_better: whether less is better.

    Source: P(A > B), Bouthillier et al. (2021), section 4; interval: Clopper and Pearson (1934).
    """
    better = np.asarray(differences, dtype=float) * (-1 if lower_is_better else 1)
    n = len(better)
    if not n:
        return None
    wins = float((better > 0).sum() + (better == 0).sum() / 2)
    low, high = share_interval(math.floor(wins), n)[0], share_interval(math.ceil(wins), n)[1]
    return Superiority(wins / n, low, high, n)
