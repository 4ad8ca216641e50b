"""Noises of simulated seeds, each of mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ablate.stats.arrays import Floats

Shape = tuple[int, ...]
Noise = Callable[[np.random.Generator, Shape], Floats]


def normal(rng: np.random.Generator, shape: Shape) -> Floats:
    return rng.standard_normal(shape)


def t3(rng: np.random.Generator, shape: Shape) -> Floats:
    """Draw from t with 3 degrees of freedom, scaled to a standard deviation of 1."""
    return rng.standard_t(3, shape) / 3**0.5


def exponential(rng: np.random.Generator, shape: Shape) -> Floats:
    return 1 - rng.standard_exponential(shape)


def rare_drops(rng: np.random.Generator, shape: Shape) -> Floats:
    """Draw noise nearly all of which comes from a twentieth of the seeds, which end far below the others."""
    drops = (0.05 - (rng.random(shape) < 0.05)) / (0.05 * 0.95) ** 0.5
    return 0.3 * rng.standard_normal(shape) + (1 - 0.3**2) ** 0.5 * drops
