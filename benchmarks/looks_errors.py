"""Studies that are followed up with more seeds until they show a margin: how often that is wrong, before and after.

    python benchmarks/looks_errors.py

A study of 1 or 12 cells has 2 to 7 seeds at first, and 1 or 2 more after each look that shows nothing, up to 20. The
true margin is 0 in all cells, or exactly the smallest difference of interest. An error is a study in which any cell is
ever called better, or equivalent. "Before" each look is Student's t with Holm over the cells. "After", the first is,
and later ones are what `ablate.stats.seed_rule` makes of a study that was looked at.

"Found" is how often a true margin of one standard deviation is called better in the end. The exit status is 1 if an
error rate after is above 6% (plus three Monte-Carlo standard errors). A run takes about two minutes on one core.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
from many_cells import unequal_arms
from noises import Noise, normal, t3
from numpy.typing import NDArray
from rate_tables import each, print_table

from ablate.stats import sequential
from ablate.stats.arrays import Floats
from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.paired import EQUIVALENCE_PP, equivalence_tests, t_tests
from ablate.stats.seed_rule import SeedRule

STUDIES = 6_000
CELLS, FIRST, STEPS, MOST = (1, 12), (2, 3, 4, 7), (1, 2), 20
SD_PP = 0.5
NOISES: dict[str, Noise] = {"normal": normal, "t(3)": t3, "unequal arms": unequal_arms}
MOST_ERRORS = 0.06 + 3 * (0.06 * 0.94 / STUDIES) ** 0.5

Shown = NDArray[np.bool_]


def main() -> None:
    rng = np.random.default_rng(0)
    rows, missed = [], []
    for cells, first, step, (name, noise) in product(CELLS, FIRST, STEPS, NOISES.items()):
        values = SD_PP * noise(rng, (STUDIES, cells, MOST))
        looks = [*range(first, MOST + 1, step)]
        errors = [_ever(values, looks, after=after, equivalent=False).any(axis=-1).mean() for after in (False, True)]
        errors += [
            _ever(values + EQUIVALENCE_PP, looks, after=after, equivalent=True).any(axis=-1).mean()
            for after in (False, True)
        ]
        power = [_ever(values + SD_PP, looks, after=after, equivalent=False).mean() for after in (False, True)]
        pairs = zip([*errors, *power][::2], [*errors, *power][1::2], strict=True)
        rows.append([f"{cells}", f"{first}", f"{step}", name, *(f"{each(a)} → {each(b)}" for a, b in pairs)])
        if max(errors[1], errors[3]) > MOST_ERRORS:
            missed.append(f"{cells} cells, {first} seeds and {step} more, {name}: wrong in {each(max(errors[1::2]))}%")
    print_table(["cells", "first", "more", "noise", "better", "equivalent", "found"], rows)
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    sys.exit(bool(missed))


def _ever(values: Floats, looks: list[int], *, after: bool, equivalent: bool) -> Shown:
    """Return (studies, cells) whether a look ever shows a difference, or equivalence."""
    shown = np.zeros(values.shape[:-1], bool)
    last, factor = SeedRule(looks=(2, MOST)).plan(MOST)
    later = sequential.p_by_look(values, last, EQUIVALENCE_PP if equivalent else None) if after else np.empty(0)
    for index, n in enumerate(looks):
        if after and index:
            p_values = np.minimum(factor * later[..., n - sequential.FIRST], 1)
        else:
            seen = values[..., :n]
            p_values = equivalence_tests(seen, EQUIVALENCE_PP) if equivalent else t_tests(seen)
        shown |= holms(p_values) < ALPHA
    return shown


if __name__ == "__main__":
    main()
