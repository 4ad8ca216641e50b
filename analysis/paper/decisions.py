"""When a claim counts as confirmed or denied: pure functions from differences, one value per seed, to a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ablate.stats.arrays import Floats, Values
from ablate.stats.interactions import range_test
from ablate.stats.multiple_testing import ALPHA, at_least_p, holm
from ablate.stats.paired import EQUIVALENCE_PP, t_test
from ablate.stats.seed_rule import FIXED, SeedRule

LEAST_SHARE = 4
"""An advantage is not consistent if it is negligible in one of so many cells, or more."""

CHEAPER = 0.95
"""The smallest ratio of interest: a cost is less where it is this many times the other one, or fewer."""

Word = Literal["confirmed", "denied", "in part", "undecided", "not tested"]


@dataclass(frozen=True)
class Decision:
    """A word, and the p value of each test, adjusted by Holm; None where there was no test."""

    word: Word
    p_values: Sequence[float | None]
    seed_rule: SeedRule = FIXED

    @property
    def significant(self) -> list[bool]:
        """For each test, whether it is significant."""
        return [p is not None and p < ALPHA for p in self.p_values]


@dataclass(frozen=True)
class Advantage:
    """A word, the p values of both answers, and for each cell its own tests.

    p_every: that the first arm is better in every informative cell.
    p_share: that its margin is negligible in `needed` of them or more.
    p_better, p_small: of each cell, that the arm is better, and that its margin is negligible; adjusted by Holm over
        the informative cells. None for the other cells and without a test.
    better, small: whether the cell by itself shows that.
    """

    word: Word
    p_every: float
    p_share: float
    needed: int
    p_better: Sequence[float | None]
    p_small: Sequence[float | None]
    better: Sequence[bool]
    small: Sequence[bool]


def no_consistent_advantage(
    cells_pp: Sequence[Values],
    failed: Sequence[tuple[int, int]] | None = None,
    informative: Sequence[bool] | None = None,
    *,
    negligible_pp: float = EQUIVALENCE_PP,
    seed_rule: SeedRule = FIXED,
) -> Advantage:
    """Decide whether the first arm has no consistent advantage.

    The claim is confirmed if the first arm's margin is shown to be negligible in a quarter of the informative cells or
    more. Otherwise it is denied if the arm is shown to be better in every one of them. The tests in each cell are a
    one-sided paired t below `negligible_pp` and above 0. A quarter of the cells is tested as a partial conjunction; to
    be better in every cell, all of these must hold, so that none is adjusted. Diverged trials speak against what the
    others show: a cell in which trials of the first arm failed does not show that it is better, and one in which
    trials of the second arm failed does not show that the margin is small.

    Args:
        cells_pp: for each cell (n,) margins, one per seed, in percentage points; n differs between cells.
        failed: for each cell, how many trials of the first and of the second arm failed.
        informative: for each cell, whether it can show anything; None for all.
        negligible_pp: a margin below this counts as none, in percentage points.
        seed_rule: how the study came to its number of seeds.

    Source: all of them, Berger (1982); a number of them, Benjamini and Heller (2008).
    """
    failed = failed or [(0, 0)] * len(cells_pp)
    informative = [True] * len(cells_pp) if informative is None else informative
    of_better = [
        seed_rule.test(cell, alternative="greater") if counts else None
        for cell, counts in zip(cells_pp, informative, strict=True)
    ]
    of_small = [
        seed_rule.test(cell, negligible_pp, "less") if counts else None
        for cell, counts in zip(cells_pp, informative, strict=True)
    ]
    stands = [
        (None if first else p_better, None if second else p_small)
        for p_better, p_small, (first, second), counts in zip(of_better, of_small, failed, informative, strict=True)
        if counts
    ]
    needed = max(1, -(-len(stands) // LEAST_SHARE))
    p_every = at_least_p([p for p, _ in stands], len(stands)) if stands else 1.0
    p_share = at_least_p([p for _, p in stands], needed) if stands else 1.0
    p_better, p_small = holm(of_better), holm(of_small)
    return Advantage(
        "confirmed" if p_share < ALPHA else "denied" if p_every < ALPHA else "undecided",
        p_every,
        p_share,
        needed,
        p_better,
        p_small,
        [p is not None and p < ALPHA and not first for p, (first, _) in zip(p_better, failed, strict=True)],
        [p is not None and p < ALPHA and not second for p, (_, second) in zip(p_small, failed, strict=True)],
    )


def depends(
    p_values: Sequence[float | None],
    groups_pp: Sequence[Floats],
    *,
    complete: bool = True,
    negligible_pp: float = EQUIVALENCE_PP,
    seed_rule: SeedRule = FIXED,
) -> Decision:
    """Decide whether the margin depends on something.

    The claim is confirmed if any contrast between cells, of one factor or of several together, is shown not to be 0. It
    is denied if the largest margin of any cell is shown to be less than `negligible_pp` above the smallest: every two
    cells are equivalent, by two one-sided tests. All of these must hold, so that none is adjusted.

    Args:
        p_values: of the contrasts, adjusted; None without a test.
        groups_pp: for each group of cells (n, cells) margins in percentage points, one row per seed; NaN where a cell
            lacks the seed. Cells of different groups are not compared.
        complete: whether every cell has a margin and no trial failed. If not, the others may not deny the claim.
        negligible_pp: a difference below this counts as none, in percentage points.
        seed_rule: how the study came to its number of seeds. Where that was not fixed, the claim is not denied.

    Source: TOST, Schuirmann (1987); all of it, Berger (1982).
    """
    compared = [group for group in groups_pp if group.shape[-1] > 1]
    none = [seed_rule.is_fixed and range_test(group, negligible_pp) < ALPHA for group in compared]
    return _decision(p_values, none, complete, seed_rule)


def greater(
    differences_pp: Sequence[Values],
    further: Sequence[float | None] = (),
    *,
    complete: bool = True,
    negligible_pp: float = EQUIVALENCE_PP,
    seed_rule: SeedRule = FIXED,
) -> Decision:
    """Decide whether any difference of margins is above 0.

    The claim is confirmed if any difference is shown to be above 0, by a one-sided one-sample t with Holm over the
    differences and the `further` tests. It is denied if the one-sided upper 95% bound of each lies below
    `negligible_pp`.

    Args:
        differences_pp: for each, (n,) margins at one level of a moderator minus those at another, one per seed.
        further: p values of other tests of the same claim; in the decision they come last.
        complete: as in `depends`.
        negligible_pp: as in `depends`.
        seed_rule: how the study came to its number of seeds.
    """
    p_values = holm([*(seed_rule.test(difference, alternative="greater") for difference in differences_pp), *further])
    bounds = [seed_rule.interval(difference, 1 - 2 * ALPHA) for difference in differences_pp]
    return _decision(p_values, [ends is not None and ends[1] < negligible_pp for ends in bounds], complete, seed_rule)


def falls(
    own_pp: Sequence[Values],
    margins_pp: Sequence[Values],
    further: Sequence[float | None] = (),
    *,
    complete: bool = True,
    negligible_pp: float = EQUIVALENCE_PP,
    seed_rule: SeedRule = FIXED,
) -> Decision:
    """Decide whether an arm falls in any condition, such as a very small batch size.

    The claim is confirmed if in any condition the arm is shown to be below itself elsewhere and below the other arm
    too. Either alone says little: an arm that falls less than the other is the better choice, and one that is worse
    everywhere is not worse because of the condition. Each is a one-sided one-sample t. Both must hold, so that the
    larger p value counts, with Holm over the conditions and the `further` tests. The claim is denied if in each
    condition one of the two is shown not to reach `negligible_pp`, by its 95% interval.

    Args:
        own_pp: for each condition (n,) accuracies in it minus the arm's own elsewhere, one per seed, in percentage
            points.
        margins_pp: for each condition (n,) accuracies in it minus the other arm's.
        further: p values of other tests of the same claim; in the decision they come last.
        complete: as in `depends`.
        negligible_pp: as in `depends`.
        seed_rule: how the study came to its number of seeds.

    Source: both of two, Berger (1982).
    """
    pairs = [
        (seed_rule.test(own, alternative="less"), seed_rule.test(margin, alternative="less"))
        for own, margin in zip(own_pp, margins_pp, strict=True)
    ]
    both = [None if p_own is None or p_margin is None else max(p_own, p_margin) for p_own, p_margin in pairs]
    bounds = [
        (seed_rule.interval(own), seed_rule.interval(margin)) for own, margin in zip(own_pp, margins_pp, strict=True)
    ]
    none = [any(ends is not None and ends[0] > -negligible_pp for ends in pair) for pair in bounds]
    return _decision(holm([*both, *further]), none, complete, seed_rule)


def holm_of(log_ratios: Sequence[Values]) -> list[float | None]:
    """Return the p value of each line's (n,) log ratios, with Holm over them: a two-sided t against that of CHEAPER."""
    return holm([t_test(of_line, float(np.log(CHEAPER))) for of_line in log_ratios])


def sign_of(log_ratios: Values, p: float | None) -> Word:
    """Return "confirmed" if the adjusted p value shows the mean ratio to be below CHEAPER, "denied" if above."""
    if p is None or p >= ALPHA:
        return "undecided"
    return "confirmed" if np.mean(log_ratios) < np.log(CHEAPER) else "denied"


def fewer(log_ratios: Values) -> Word:
    """Return "confirmed" if CHEAPER holds of a count in every cell, "denied" if in none. Counts need no test.

    Args:
        log_ratios: (cells,) natural logarithms of an arm's count over the other arm's.
    """
    below = [value <= np.log(CHEAPER) + 1e-9 for value in log_ratios]
    return "confirmed" if all(below) else "undecided" if any(below) else "denied"


def _decision(
    p_values: Sequence[float | None], none: Sequence[bool], complete: bool, seed_rule: SeedRule = FIXED
) -> Decision:
    if any(p is not None and p < ALPHA for p in p_values):
        return Decision("confirmed", p_values, seed_rule)
    return Decision("denied" if none and all(none) and complete else "undecided", p_values, seed_rule)
