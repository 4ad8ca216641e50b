"""Are the differences between seeds skewed, as where a run in twenty falls far below the others?

Student's intervals, and all tests here that rest on his t, survive heavy tails and unequal arms, but not strong skew in
few seeds: `benchmarks/margin_errors.py`. The test is one of symmetry, so that heavy tails alone raise no alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ablate.stats.arrays import Floats

FEWEST_CELLS = 6
"""With fewer cells of a few seeds each, skew cannot be told from heavy tails."""


def asymmetry_p(cells: Sequence[Mapping[int, float]]) -> float | None:
    """Return the two-sided p value of the differences being symmetric about their cell's mean. None for too few.

    The statistic is the sum over cells of cubed deviations, in units of the cell's standard deviation, over the root of
    the sum of its squares: under symmetry either sign of a cell's sum is as likely. Of 12 cells with exponential noise
    it is below 5% in 12, 35 and 89% of studies of 3, 5 and 10 seeds; with symmetric noise, t(3) included, in 2 to 6%.

    What a seed does to all cells alike is taken off first: cells that go up and down together are no evidence each.

    Args:
        cells: for each cell its differences by seed. Cells of fewer than 3, or without a spread, count not.

    Source: tests by flips of signs, Fisher (1935), with the normal distribution in place of all flips.
    """
    from scipy import stats

    usable = [cell for cell in cells if len(cell) > 2 and np.ptp(list(cell.values())) > 0]
    if len(usable) < FEWEST_CELLS:
        return None
    seeds = sorted({seed for cell in usable for seed in cell})
    values = np.array([[cell.get(seed, np.nan) for seed in seeds] for cell in usable])
    values = values - np.nanmean(values, axis=1, keepdims=True)
    values = values - np.nanmean(values, axis=0)
    cubes = [_cubes(row[~np.isnan(row)]) for row in values]
    z = np.sum(cubes) / np.sqrt(np.sum(np.square(cubes)))
    return float(2 * stats.norm.sf(abs(z)))


def _cubes(values: Floats) -> float:
    return float(np.sum(((values - values.mean()) / values.std(ddof=1)) ** 3))
