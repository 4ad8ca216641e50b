"""When a claim counts as confirmed or denied: pure functions from differences, one value per seed, to a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ablate.stats.arrays import Floats, Values
from ablate.stats.interactions import range_test
from ablate.stats.multiple_testing import ALPHA, holm
from ablate.stats.paired import EQUIVALENCE_PP, t_interval, t_test

Word = Literal["confirmed", "denied", "in part", "undecided", "not tested"]


@dataclass(frozen=True)
class Decision:
    """A word, and the p value of each test, adjusted by Holm; None where there was no test."""

    word: Word
    p_values: Sequence[float | None]

    @property
    def significant(self) -> list[bool]:
        """For each test, whether it is significant."""
        return [p is not None and p < ALPHA for p in self.p_values]


@dataclass(frozen=True)
class Advantage:
    """A word, and for each cell the tests that it rests on.

    p_margin, p_small: the p values of "there is a margin" and of "it is negligible", adjusted by Holm.
    better, small: whether the cell shows that the first arm is better, and that its margin is negligible.
    """

    word: Word
    p_margin: Sequence[float | None]
    p_small: Sequence[float | None]
    better: Sequence[bool]
    small: Sequence[bool]


def no_consistent_advantage(
    cells_pp: Sequence[Values],
    diverged: Sequence[tuple[int, int]] | None = None,
    *,
    negligible_pp: float = EQUIVALENCE_PP,
) -> Advantage:
    """Decide whether the first arm has no consistent advantage.

    The claim is denied if the first arm is significantly better in every cell. It is confirmed if in any cell its
    margin is shown to be negligible. The tests are a two-sided paired t against 0 and a one-sided t against
    `negligible_pp` in each cell, with Holm over the cells. Diverged trials speak against what the others show: a cell
    in which trials of the first arm diverged does not show that it is better, and one in which trials of the second
    arm diverged does not show that the margin is small.

    Args:
        cells_pp: for each cell (n,) margins, one per seed, in percentage points; n differs between cells.
        diverged: for each cell, how many trials of the first and of the second arm diverged.
        negligible_pp: a margin below this counts as none, in percentage points.
    """
    diverged = diverged or [(0, 0)] * len(cells_pp)
    p_margin = holm([t_test(cell) for cell in cells_pp])
    p_small = holm([t_test(cell, negligible_pp, "less") for cell in cells_pp])
    better = [
        p is not None and p < ALPHA and bool(np.mean(cell) > 0) and not first
        for p, cell, (first, _) in zip(p_margin, cells_pp, diverged, strict=True)
    ]
    small = [p is not None and p < ALPHA and not second for p, (_, second) in zip(p_small, diverged, strict=True)]
    word: Word = "denied" if better and all(better) else "confirmed" if any(small) else "undecided"
    return Advantage(word, p_margin, p_small, better, small)


def depends(
    p_values: Sequence[float | None],
    groups_pp: Sequence[Floats],
    *,
    complete: bool = True,
    negligible_pp: float = EQUIVALENCE_PP,
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

    Source: TOST, Schuirmann (1987); all of it, Berger (1982).
    """
    compared = [group for group in groups_pp if group.shape[-1] > 1]
    return _decision(p_values, [range_test(group, negligible_pp) < ALPHA for group in compared], complete)


def greater(
    differences_pp: Sequence[Values],
    further: Sequence[float | None] = (),
    *,
    complete: bool = True,
    negligible_pp: float = EQUIVALENCE_PP,
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
    """
    p_values = holm([*(t_test(difference, alternative="greater") for difference in differences_pp), *further])
    bounds = [t_interval(difference, 1 - 2 * ALPHA) for difference in differences_pp]
    return _decision(p_values, [ends is not None and ends[1] < negligible_pp for ends in bounds], complete)


def falls(
    own_pp: Sequence[Values],
    margins_pp: Sequence[Values],
    further: Sequence[float | None] = (),
    *,
    complete: bool = True,
    negligible_pp: float = EQUIVALENCE_PP,
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

    Source: both of two, Berger (1982).
    """
    pairs = [
        (t_test(own, alternative="less"), t_test(margin, alternative="less"))
        for own, margin in zip(own_pp, margins_pp, strict=True)
    ]
    both = [None if p_own is None or p_margin is None else max(p_own, p_margin) for p_own, p_margin in pairs]
    bounds = [(t_interval(own), t_interval(margin)) for own, margin in zip(own_pp, margins_pp, strict=True)]
    none = [any(ends is not None and ends[0] > -negligible_pp for ends in pair) for pair in bounds]
    return _decision(holm([*both, *further]), none, complete)


def holm_of(log_ratios: Sequence[Values]) -> list[float | None]:
    """Return the p value of a two-sided one-sample t against 0 for each line's (n,) log ratios, with Holm over them."""
    return holm([t_test(of_line) for of_line in log_ratios])


def sign_of(log_ratios: Values, p: float | None) -> Word:
    """Return "confirmed" if the adjusted p value shows the mean log ratio to be below 0, "denied" if above."""
    if p is None or p >= ALPHA:
        return "undecided"
    return "confirmed" if np.mean(log_ratios) < 0 else "denied"


def fewer(log_ratios: Values) -> Word:
    """Return "confirmed" if a count is fewer in every cell, "denied" if it is in none. Counts need no test.

    Args:
        log_ratios: (cells,) natural logarithms of an arm's count over the other arm's.
    """
    below = [value < -1e-9 for value in log_ratios]
    return "confirmed" if all(below) else "undecided" if any(below) else "denied"


def _decision(p_values: Sequence[float | None], none: Sequence[bool], complete: bool) -> Decision:
    if any(p is not None and p < ALPHA for p in p_values):
        return Decision("confirmed", p_values)
    return Decision("denied" if none and all(none) and complete else "undecided", p_values)
