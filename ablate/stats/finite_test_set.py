"""How much a margin would vary over other test sets of the same size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ablate.stats.arrays import Floats


@dataclass(frozen=True)
class TestSet:
    """The uncertainty about a margin that comes from a finite test set.

    `se_pp` is the standard error of the margin's mean over seeds, in percentage points; `items` is the size of the
    test set. `residual_se_pp` is the part of it that the spread over seeds contains too: by chance a seed gets an item
    right that another does not. It is 0 where it is not known.
    """

    __test__ = False  # for pytest
    se_pp: float
    items: int
    residual_se_pp: float = 0.0


def error_of_test_set(
    first: Sequence[NDArray[np.bool_] | Floats], second: Sequence[NDArray[np.bool_] | Floats]
) -> TestSet:
    """Return how much the mean margin would vary over other test sets of the same size, the trained networks fixed.

    Each item's difference is averaged over the seeds. Two items are added, one that only the first arm gets right and
    one that only the second does, so that a small test set without any disagreement does not look certain.

    Args:
        first: for each seed, (items,) whether the first arm is right; of several cells, in which share of them.
        second: for each seed, (items,) the same for the second.

    >>> right, wrong = np.ones(98, bool), np.zeros(98, bool)
    >>> error = error_of_test_set([right], [right])
    >>> round(error.se_pp, 4), error.items  # 100 sqrt(2 / 100) / sqrt(100)
    (1.4142, 98)

    Source: for one seed, McNemar's setting, Bonett and Price (2012), Adjusted Wald intervals for a difference of
    binomial proportions based on paired data.
    """
    differences = np.stack(
        [np.asarray(right_first, float) - right_second for right_first, right_second in zip(first, second, strict=True)]
    )
    return replace(item_error(differences.mean(axis=0)), residual_se_pp=_residual_se_pp(differences))


def item_error(by_item: Floats) -> TestSet:
    """Return the same as `error_of_test_set`, given (items,) differences in [-1, 1], averaged over the seeds."""
    items = len(by_item)
    variance = (np.sum(by_item**2) + 2) / (items + 2) - (np.sum(by_item) / (items + 2)) ** 2
    return TestSet(float(100 * np.sqrt(variance / (items + 2))), items)


def _residual_se_pp(differences: Floats) -> float:
    """Return the standard error, in percentage points, of what neither seed nor item explains; 0 with one seed.

    Args:
        differences: (n, items) in {-1, 0, 1}.
    """
    n, items = differences.shape
    if n < 2 or items < 2:
        return 0.0
    residuals = differences - differences.mean(axis=1, keepdims=True) - differences.mean(axis=0) + differences.mean()
    mean_square = float(np.sum(residuals**2)) / ((n - 1) * (items - 1))
    return float(100 * np.sqrt(mean_square / (n * items)))
