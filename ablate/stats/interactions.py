"""Contrasts between cells of every order, by seed, and tests of all of them together, the seed as the block.

A contrast of one factor is the mean over the cells at one level minus that at another. A contrast of several factors
takes two levels of each: it is the mean over one half of those cells minus that over the other half, where a cell's
half follows from whether an even or an odd number of its levels are the first of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

from ablate.stats.arrays import Floats
from ablate.stats.paired import equivalence_tests, t_tests
from ablate.stats.seed_rule import FIXED, SeedRule

MOST_CONTRASTS = 2000
"""Interactions of an order are left out if there would be more contrasts than this with them."""

Cell = tuple[int, ...]
"""The index of each factor's level in a cell; -1 where the factor is not set, which is compared with nothing."""

Blocks = dict[tuple[int | tuple[int, int], ...], Floats]
"""For each block of cells its contrast, (n,): a compared factor stands as its pair of levels, another as its level."""


@dataclass(frozen=True)
class CellContrast:
    """A contrast between cells.

    factors: the indices of the factors that it compares.
    pairs: for each of them the indices of its two levels, the one subtracted first.
    by_seed: (n,) its value for each seed, the mean over the blocks that the seed has; NaN for a seed that has none.
    blocks: the number of complete blocks of cells that any seed has, one for each combination of the other factors.
    """

    factors: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    by_seed: Floats
    blocks: int


@dataclass(frozen=True)
class CellContrasts:
    """All contrasts between the cells of a grid.

    order: the largest number of factors that a contrast compares, all smaller ones being there too.
    incomplete: the smallest sets of factors for which the grid has no complete block of cells.
    """

    contrasts: Sequence[CellContrast]
    order: int
    incomplete: Sequence[tuple[int, ...]]


def cell_contrasts(cells: Mapping[Cell, Floats], most: int = MOST_CONTRASTS) -> CellContrasts:
    """Return the contrasts of every order between the cells, for every pair of levels of each factor.

    Only complete blocks count: for a contrast of s factors the 2^s cells at their two levels that agree in all other
    factors. Which level of a pair comes first changes the sign of a contrast and nothing else.

    Args:
        cells: for each cell (n,) values, one per seed; NaN where the cell lacks the seed.
        most: orders are added as long as there are no more contrasts than this; the first is always there.
    """
    factors = len(next(iter(cells), ()))
    counts = [len({cell[factor] for cell in cells} - {-1}) for factor in range(factors)]
    varying = [factor for factor in range(factors) if counts[factor] > 1]
    by_set: dict[tuple[int, ...], Blocks] = {(): {cell: np.asarray(values, float) for cell, values in cells.items()}}
    contrasts: list[CellContrast] = []
    incomplete: list[tuple[int, ...]] = []
    order = 0
    for size in range(1, len(varying) + 1):
        sets = [
            chosen for chosen in combinations(varying, size) if all(by_set.get(fewer) for fewer in _without(chosen))
        ]
        possible = sum(prod(comb(counts[factor], 2) for factor in chosen) for chosen in sets)
        if not sets or (size > 1 and len(contrasts) + possible > most):
            break
        order = size
        of_size = {chosen: _differences(by_set[chosen[:-1]], chosen[-1]) for chosen in sets}
        incomplete += [chosen for chosen, blocks in of_size.items() if not blocks]
        contrasts += [contrast for chosen, blocks in of_size.items() for contrast in _averaged(chosen, blocks)]
        by_set = of_size
    return CellContrasts(contrasts, order, incomplete)


def adjusted_p(by_seed: Floats, orders: Sequence[int], seed_rule: SeedRule = FIXED) -> Floats:
    """Return the p values of contrasts being 0, adjusted for all of them together.

    Each is a two-sided one-sample t test over seeds, adjusted by Holm with weights: half of the level is for contrasts
    of the lowest order, half of the rest for those of the next one, and so on; all of the rest for the last. So the
    many interactions of high order do not hide what a single factor does. The smallest p value over flips of the signs
    of whole seeds (Westfall and Young, 1993; Winkler et al., 2014) finds no more: docs/log.md.

    Args:
        by_seed: (..., n, m) values of m contrasts; NaN where a seed has none.
        orders: (m,) how many factors each contrast compares.
        seed_rule: how the seeds stopped being added. Where their number was not fixed, the values are (n, m), and the
            tests over seeds are sequential ones.

    Returns:
        (..., m), NaN for a contrast without two seeds that differ.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, section 4.
    """
    samples = np.asarray(by_seed, dtype=float)
    p_values = _t_tests(samples) if seed_rule.is_fixed else _sequential_tests(samples, seed_rule)
    tested = ~np.isnan(p_values)
    weights = _weights(tested, np.asarray(orders, dtype=int))
    weighted = np.where(tested, p_values, 0.0) / weights
    order = np.argsort(np.where(tested, weighted, np.inf), axis=-1)
    in_order = np.take_along_axis(np.where(tested, weights, 0.0), order, axis=-1)
    left = np.cumsum(in_order[..., ::-1], axis=-1)[..., ::-1]
    steps = np.take_along_axis(weighted, order, axis=-1) * left
    adjusted = np.empty_like(weighted)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0), axis=-1)
    return np.where(tested, adjusted, np.nan)


def range_test(by_seed: Floats, within: float) -> float:
    """Return the p value of the cells' true values lying `within` of each other or more: small where all lie closer.

    Every two cells have to be equivalent, by two one-sided t tests over the seeds that both have. All of that must be
    so, so that the largest p value counts and none is adjusted.

    Args:
        by_seed: (n, cells) values, NaN where a cell lacks the seed.
        within: the smallest difference of interest.

    Returns:
        NaN for fewer than two cells, or where two cells do not share two seeds in which they differ unequally.

    >>> round(range_test(np.array([[1.0, 1.1], [1.3, 1.2], [1.1, 1.1], [1.2, 1.3]]), 0.5), 4)
    0.0011

    Source: Schuirmann (1987); all of it, Berger (1982).
    """
    samples = np.asarray(by_seed, dtype=float)
    if samples.shape[-1] < 2:
        return float("nan")
    largest = 0.0
    for cell in range(samples.shape[-1] - 1):
        differences = (samples[:, cell + 1 :] - samples[:, cell : cell + 1]).T
        known = ~np.isnan(differences)
        for pattern in np.unique(known, axis=0):
            alike = differences[(known == pattern).all(axis=1)][:, pattern]
            p = float(np.max(equivalence_tests(np.round(alike, 9), within)))
            if np.isnan(p):
                return p
            largest = max(largest, p)
    return largest


def _without(chosen: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the sets that lack one of the factors."""
    return list(combinations(chosen, len(chosen) - 1))


def _differences(blocks: Blocks, factor: int) -> Blocks:
    """Return the blocks' differences between every two levels of the factor, where a seed has both."""
    groups: dict[tuple[int | tuple[int, int], ...], dict[int, Floats]] = {}
    for key, values in blocks.items():
        level = key[factor]
        assert isinstance(level, int)
        if level >= 0:
            groups.setdefault((*key[:factor], *key[factor + 1 :]), {})[level] = values
    return {
        (*others[:factor], (low, high), *others[factor:]): difference
        for others, by_level in groups.items()
        for low, high in combinations(sorted(by_level), 2)
        if not np.isnan(difference := by_level[high] - by_level[low]).all()
    }


def _averaged(chosen: tuple[int, ...], blocks: Blocks) -> list[CellContrast]:
    """Return a contrast for each combination of pairs of levels: the mean over its blocks, seed by seed."""
    by_pairs: dict[tuple[tuple[int, int], ...], list[Floats]] = {}
    for key, values in blocks.items():
        pairs = tuple(pair for pair in (key[factor] for factor in chosen) if isinstance(pair, tuple))
        by_pairs.setdefault(pairs, []).append(values)
    contrasts = []
    for pairs, of_pairs in by_pairs.items():
        stacked = np.array(of_pairs)
        known = (~np.isnan(stacked)).sum(axis=0)
        means = np.nansum(stacked, axis=0) / np.where(known, known, np.nan) / 2 ** (len(chosen) - 1)
        contrasts.append(CellContrast(chosen, pairs, np.round(means, 9), len(of_pairs)))
    return contrasts


def _weights(tested: NDArray[np.bool_], orders: NDArray[np.int_]) -> Floats:
    """Return (..., m) weights that sum to 1 over the contrasts tested, by order as in `adjusted_p`."""
    weights = np.ones(tested.shape)
    rest = np.ones(tested.shape[:-1])
    for order in sorted(set(orders.tolist())):
        count = (tested & (orders == order)).sum(axis=-1)
        later = (tested & (orders > order)).any(axis=-1)
        share = np.where(count > 0, np.where(later, rest / 2, rest), 0.0)
        rest = rest - share
        weights = np.where(orders == order, (share / np.maximum(count, 1))[..., None], weights)
    return np.where(tested, weights, 1.0)


def _sequential_tests(samples: Floats, seed_rule: SeedRule) -> Floats:
    """Return (m,) p values of (n, m) values, without those that are NaN; NaN for fewer than two that differ."""
    tested = [seed_rule.test(values[~np.isnan(values)]) for values in samples.T]
    return np.array([np.nan if p is None else p for p in tested])


def _t_tests(samples: Floats) -> Floats:
    """Return (..., m) p values of two-sided one-sample t tests of (..., n, m) values, without those that are NaN."""
    from scipy import stats

    known = ~np.isnan(samples)
    if known.all():
        return t_tests(np.moveaxis(samples, -1, -2))
    counts = known.sum(axis=-2)
    means = np.where(known, samples, 0.0).sum(axis=-2) / np.maximum(counts, 1)
    deviations = np.where(known, samples - means[..., None, :], 0.0)
    df = np.maximum(counts - 1, 1)
    varies = (counts > 1) & (np.where(known, samples, -np.inf).max(-2) > np.where(known, samples, np.inf).min(-2))
    se = np.sqrt((deviations**2).sum(axis=-2) / df / np.maximum(counts, 1))
    t = np.abs(means) / np.where(varies, se, np.nan)
    return np.asarray(2 * stats.t.sf(t, df))
