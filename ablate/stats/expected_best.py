"""What a search is expected to end with that tries only some of the configurations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ablate.stats.arrays import Floats


def expected_best(ordered: Floats, most: int) -> Floats:
    """Return the accuracy that tuning is expected to end with at budgets of 1, 2, ... `most` configurations.

    It is the mean over all subsets of that size of the configurations tried: they are taken as exchangeable. Each
    subset counts with the configuration that would be chosen from it.

    Args:
        ordered: (..., n) accuracies of the configurations, in the order in which they would be chosen. A configuration
            that came to nothing stands at the end, at the accuracy of what it leaves one with.
        most: the largest budget, at most n.

    Returns:
        (..., most) accuracies.

    >>> expected_best(np.array([0.9, 0.6, 0.3]), 3).round(2).tolist()
    [0.6, 0.8, 0.9]

    Source: Dodge et al. (2019), Show your work; without replacement as in Tang et al. (2020), Showing your work doesn't
    always work, and with the accuracy on the test set of what the validation set chose.
    """
    n = ordered.shape[-1]
    index, budget = np.arange(n), np.arange(1, most + 1)
    # a subset of k has index j as its first if all others come after it: with probability C(n-1-j, k-1) / C(n, k)
    left = (n - 1 - index)[:, None]
    with np.errstate(divide="ignore"):
        log = _log_choose(left, budget[None, :] - 1) - _log_choose(n, budget)[None, :]
    weights = np.where(left >= budget[None, :] - 1, np.exp(log), 0.0)
    return np.asarray(ordered @ weights)


def _log_choose(n: int | NDArray[np.int_], k: NDArray[np.int_]) -> Floats:
    """Return the natural logarithm of the binomial coefficient, n over k."""
    from scipy.special import gammaln

    return np.asarray(gammaln(np.asarray(n) + 1.0) - gammaln(np.asarray(k) + 1.0) - gammaln(np.maximum(n - k, 0) + 1.0))
