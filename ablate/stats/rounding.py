"""Differences that are equal but for the rounding of the numbers that they were computed from."""

from __future__ import annotations

import math

import numpy as np

from ablate.stats.arrays import Floats

FLOAT32_PP = 2e-5
"""Differences of accuracies stored in float32 are within this of the exact ones, in percentage points.

Of numbers of another size they are within as small a part of the largest.
"""


def without_rounding(differences_pp: Floats, items: int | None = None, largest_pp: float = 100.0) -> Floats:
    """Return (n,) differences of accuracies, equal ones exactly equal.

    A spread that is only rounding looks like certainty: 3 seeds one image ahead each would be significant at 5e-11.

    Args:
        differences_pp: (n,) in percentage points, from accuracies in float64 or in float32.
        items: the size of the test set, of which every accuracy is a count; None where it is not known. Differences
            that are within FLOAT32_PP of each other are then taken to be equal.
        largest_pp: the largest of the numbers that were subtracted; those of a loss may be far from 100.

    >>> without_rounding(np.array([0.2777778, 0.2777717]), 360).tolist()
    [0.277777778, 0.277777778]
    >>> without_rounding(np.array([0.2777778, 0.2777717])).tolist()
    [0.27777475, 0.27777475]
    >>> without_rounding(np.array([0.00030, 0.00031]), largest_pp=0.002).tolist()
    [0.0003, 0.00031]
    """
    if items:
        counts = np.rint(differences_pp * items / 100)
        if np.all(np.abs(differences_pp - 100 * counts / items) < FLOAT32_PP):
            return np.round(100 * counts / items, 9)
    within = FLOAT32_PP * largest_pp / 100
    decimals = 9 if within <= 0 else min(300, max(0, 4 - math.floor(math.log10(within))))
    order = np.argsort(differences_pp)
    groups = np.concatenate([[0], np.cumsum(np.diff(differences_pp[order]) > within)])
    means = np.bincount(groups, differences_pp[order]) / np.bincount(groups)
    return np.asarray(np.round(means[groups[np.argsort(order)]], decimals))
