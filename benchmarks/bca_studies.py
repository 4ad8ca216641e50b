"""The bootstrap's BCa interval for many simulated studies at once."""

from __future__ import annotations

import numpy as np
from scipy import stats

from ablate.stats.arrays import Floats
from ablate.stats.multiple_testing import CONFIDENCE

RESAMPLES = 2_000
TIED = 1e-9


def bca_covers(samples: Floats, rng: np.random.Generator) -> np.ndarray:
    """Return (studies,) whether the BCa interval of (studies, n) contains 0; one without spread has no interval."""
    means = resampled_means(samples, rng)
    low, high = bca_levels(samples, means)
    return (np.mean(means <= TIED, axis=-1) >= low) & (np.mean(means < -TIED, axis=-1) <= high)


def resampled_means(samples: Floats, rng: np.random.Generator) -> Floats:
    """Return (studies, RESAMPLES) means of resampled seeds; all studies are resampled by the same draws."""
    n = samples.shape[-1]
    return samples @ (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).T / n)


def bca_levels(samples: Floats, means: Floats) -> tuple[Floats, Floats]:
    """Return the (studies,) shares of the resampled means between which the BCa interval lies.

    Source: Efron (1987).
    """
    centre = samples.mean(-1, keepdims=True)
    below = (np.mean(means < centre - TIED, axis=-1) + np.mean(means <= centre + TIED, axis=-1)) / 2
    off = samples - centre
    with np.errstate(invalid="ignore"):
        acceleration = np.sum(off**3, axis=-1) / (6 * np.sum(off**2, axis=-1) ** 1.5)
    bias = stats.norm.ppf(below)
    shifted = [bias + stats.norm.ppf(level) for level in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)]
    low, high = (stats.norm.cdf(bias + z / (1 - acceleration * z)) for z in shifted)
    return low, high
