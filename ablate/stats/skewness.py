"""Are the differences between seeds skewed, as where a run in twenty falls far below the others?

Student's intervals, and all tests here that rest on his t, survive heavy tails and unequal arms, but not strong skew in
few seeds: `benchmarks/margin_errors.py`. The test is one of symmetry, so that heavy tails alone raise no alarm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ablate.stats.arrays import Floats, Values

FEWEST_CELLS = 6
"""With fewer cells of a few seeds each, skew cannot be told from heavy tails."""


def asymmetry_p(cells: Sequence[Values]) -> float | None:
    """Return the two-sided p value of the differences being symmetric about their cell's mean. None for too few.

    The statistic is the sum over cells of cubed deviations, in units of the cell's standard deviation, over the root of
    the sum of its squares: under symmetry either sign of a cell's sum is as likely. Of 12 cells with exponential noise
    it is below 5% in 14, 57 and 98% of studies of 3, 5 and 10 seeds; with symmetric noise, t(3) included, in 3 to 6%.

    Args:
        cells: for each cell its (n,) differences, one per seed. Cells of fewer than 3, or without a spread, count not.

    >>> drops = [[0.1, 0.2, -3.0, 0.3], [0.2, -2.0, 0.4, 0.1], [0.3, 0.2, 0.1, -4.0]]
    >>> round(asymmetry_p(2 * drops), 3), asymmetry_p(drops)
    (0.014, None)

    Source: tests by flips of signs, Fisher (1935), with the normal distribution in place of all flips.
    """
    from scipy import stats

    cubes = [_cubes(np.asarray(cell, dtype=float)) for cell in cells if len(cell) > 2 and np.ptp(cell) > 0]
    if len(cubes) < FEWEST_CELLS:
        return None
    z = np.sum(cubes) / np.sqrt(np.sum(np.square(cubes)))
    return float(2 * stats.norm.sf(abs(z)))


def _cubes(values: Floats) -> float:
    return float(np.sum(((values - values.mean()) / values.std(ddof=1)) ** 3))
