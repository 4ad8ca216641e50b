"""Claims on a study whose seeds were added until margins were decided: how often they are wrong, before and after.

    python benchmarks/adaptive_errors.py

Studies of 2 x 2 or 2 x 3 cells under `seeds=auto`, 3 to 20 seeds. All cells have the same margin: 0, 0.3 or 0.5 points,
of a spread of 0.4 points or of 0.2 to 0.8, so that the margin depends on nothing. Wrong is a study in which a margin is
said to depend on a factor. "Before": each seed's mean over the cells that have it, and Student's t, as if the number of
seeds had been fixed. "After": the seeds that all cells have, and the sequential test that holds under looking. Both
with Holm over the contrasts of one factor.

"Found" is how often a difference of 1 point between the levels of the first factor is. The exit status is 1 if an error
rate after is above 6% (plus three Monte-Carlo standard errors). A run takes a minute on one core.
"""

from __future__ import annotations

import sys
from itertools import combinations, product

import numpy as np
from noises import Noise, normal, t3
from rate_tables import each, print_table
from scipy import stats
from sequential_errors import unequal_arms

from ablate.stats.arrays import Floats
from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.paired import EQUIVALENCE_PP
from ablate.stats.sequential import difference_p, play

STUDIES, LAST = 6_000, 20
GRIDS, MARGINS_PP = ((2, 2), (2, 3)), (0.0, 0.3, 0.5)
SPREADS = {"0.4": (0.4, 0.4), "0.2 to 0.8": (0.2, 0.8)}
NOISES: dict[str, Noise] = {"normal": normal, "t(3)": t3, "unequal arms, t(3)": unequal_arms}
DIFFERENCE_PP = 1.0
MOST_ERRORS = 0.06 + 3 * (0.06 * 0.94 / STUDIES) ** 0.5


def main() -> None:
    rng = np.random.default_rng(0)
    rows, missed = [], []
    for grid, margin, (spread, sds), (name, noise) in product(GRIDS, MARGINS_PP, SPREADS.items(), NOISES.items()):
        cells = grid[0] * grid[1]
        values = np.linspace(*sds, cells)[:, None] * noise(rng, (STUDIES, cells, LAST)) + margin
        wrong = [float((p < ALPHA).any(axis=-1).mean()) for p in _p_values(values, grid)]
        apart = values + DIFFERENCE_PP * (np.arange(cells) < grid[1])[:, None]
        power = [float((p[:, 0] < ALPHA).mean()) for p in _p_values(apart, grid)]
        pairs = [f"{each(before)} → {each(after)}" for before, after in (wrong, power)]
        rows.append([f"{grid[0]} x {grid[1]}", f"{margin:g}", spread, name, *pairs])
        if wrong[1] > MOST_ERRORS:
            missed.append(f"{grid}, margin {margin:g}, sd {spread}, {name}: wrong in {each(wrong[1])}%")
    print_table(["cells", "margin", "sd (pp)", "noise", "wrong", "found"], rows)
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    sys.exit(bool(missed))


def _p_values(values: Floats, grid: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return (studies, contrasts) adjusted p values of each factor's pairs of levels: before, and after."""
    seeds = play(values, EQUIVALENCE_PP)[2]
    has = np.arange(LAST) < seeds[..., None]
    own = np.where(has, values, np.nan).reshape(len(values), *grid, LAST)
    common = np.where(has.all(axis=1, keepdims=True), values, np.nan).reshape(len(values), *grid, LAST)
    before = [_t_test(np.nanmean(difference, axis=1)) for difference in _differences(own)]
    after = [difference_p(difference.mean(axis=1), LAST) for difference in _differences(common)]
    return holms(np.stack(before, axis=-1)), holms(np.stack(after, axis=-1))


def _differences(values: Floats) -> list[Floats]:
    """Return (studies, blocks, seeds) differences between every two levels of each factor."""
    by_factor = (values, values.swapaxes(1, 2))
    return [
        of_factor[:, high] - of_factor[:, low]
        for of_factor in by_factor
        for low, high in combinations(range(of_factor.shape[1]), 2)
    ]


def _t_test(values: Floats) -> Floats:
    return np.asarray(stats.ttest_1samp(values, 0, axis=-1, nan_policy="omit").pvalue)


if __name__ == "__main__":
    main()
