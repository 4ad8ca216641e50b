"""The highest of a sequence of normal scores, one per look: its p value, and the score that a level of error allows.

`ablate.stats.sequential` says what rows, looks and scores are.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablate.stats.arrays import Floats

SHAPE = 0.75
"""Any value from 0.5 to 1.5 needs the same number of seeds for the same power, to within 2% (docs/log.md)."""

DRAWS = 4_000
"""Simulated rows for each score."""

SCORES = np.append(-3, np.arange(-1, 7.01, 0.25))
"""The scores at which the share of `_shares` is simulated; between them it is interpolated."""


def check_looks(first: int, last: int) -> None:
    """Raise ValueError unless there may be looks with `first` up to `last` seeds."""
    if not 2 <= first <= last:
        raise ValueError(f"first={first}, last={last}: allowed: 2 <= first <= last")


def shape(n: NDArray[np.int_]) -> Floats:
    """Return (...) the factor by which scores are divided at looks with n seeds, (...)."""
    return 1 + SHAPE / (n - 1)


def p_value(score: Floats, first: int, last: int, two_sided: bool) -> Floats:
    """Return (...) the probability, if there is no difference, that any look from `first` to `last` scores as high.

    It is the sum of the looks' probabilities, times the share of the sum that remains when a row that scores as high at
    several looks counts once. That share is simulated; three of its standard errors are added.
    """
    from scipy import special

    alone = special.ndtr(-score[..., None] * shape(np.arange(first, last + 1))).sum(axis=-1)
    p = (1 + two_sided) * alone * np.interp(score, *_shares(first, last, two_sided))
    return np.where(np.isneginf(score), 1.0, np.minimum(p, 1.0))


@lru_cache
def critical_score(confidence: float, first: int, last: int) -> float:
    """Return the score whose two-sided p value is 1 - confidence.

    At a look with n seeds, the score times `shape(n)` is a normal quantile.
    """
    from scipy import optimize

    def excess(score: float) -> float:
        return float(p_value(np.array(score), first, last, True)) - (1 - confidence)

    return float(optimize.brentq(excess, 0, 40, xtol=1e-12))


@lru_cache
def _shares(first: int, last: int, two_sided: bool) -> tuple[Floats, Floats]:
    """Return scores, and for each the mean of 1 / (looks that score as high) over rows of `_rows_with_high_look`.

    Beyond the last simulated score the mean rises to 1, which is an upper bound.

    Source: Owen, Maximov and Chertkov (2019), Importance sampling the union of rare events, equation 3.
    """
    from scipy import special

    check_looks(first, last)
    n = np.arange(first, last + 1)
    shares = []
    for score in SCORES:
        level = special.ndtr(-score * shape(n))
        t = _rows_with_high_look(level, n, np.random.default_rng(0))
        high = (np.abs(t) if two_sided else t) >= -special.stdtrit(n - 1, level)
        share = 1 / np.maximum(high.sum(axis=-1), 1)
        shares.append(min(share.mean() + 3 * share.std() / DRAWS**0.5, 1.0))
    return np.append(SCORES, SCORES[-1] + 2), np.append(shares, 1.0)


def _rows_with_high_look(level: Floats, n: NDArray[np.int_], rng: np.random.Generator) -> Floats:
    """Return (DRAWS, looks) t statistics of rows without a margin, each in the upper tail at one look.

    The look is drawn in proportion to the tails' probabilities, `level`, and the t statistic there from its tail. That
    statistic fixes the angle between the values up to that look and their mean. Their length, and what remains of
    their direction, are independent of it.
    """
    from scipy import special

    values = rng.standard_normal((DRAWS, n[-1]))
    look = rng.choice(len(n), DRAWS, p=level / level.sum())
    t_there = -special.stdtrit(n[look] - 1, level[look] * (1 - rng.random(DRAWS)))[:, None]
    seeds = n[look, None]
    before = np.arange(n[-1]) < seeds
    length = np.sqrt(np.sum(values**2, axis=-1, keepdims=True, where=before))
    off = np.where(before, values - np.mean(values, axis=-1, keepdims=True, where=before), 0)
    off /= np.sqrt(np.sum(off**2, axis=-1, keepdims=True))
    along = t_there / np.sqrt(seeds - 1)
    turned = length * (along / np.sqrt(seeds) + off) / np.sqrt(along**2 + 1)
    values = np.where(before, turned, values)
    total, squares = np.cumsum(values, axis=-1)[:, n - 1], np.cumsum(values**2, axis=-1)[:, n - 1]
    spread = np.maximum(squares - total**2 / n, np.finfo(float).tiny)
    return total / np.sqrt(n * spread / (n - 1))
