"""When a claim counts as confirmed or denied: pure functions from differences, a value a seed, to a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ablate.stats.arrays import Values
from ablate.stats.multiple_testing import holm
from ablate.stats.paired import ALPHA, EQUIVALENCE_PP, t_interval, t_test

Word = Literal["confirmed", "denied", "in part", "undecided", "not tested"]


@dataclass(frozen=True)
class Decision:
    """A word, and the p value of each test, adjusted by Holm; None where there was no test."""

    word: Word
    p_values: Sequence[float | None]

    @property
    def significant(self) -> list[bool]:
        """Which of the tests are."""
        return [p is not None and p < ALPHA for p in self.p_values]


@dataclass(frozen=True)
class Advantage:
    """A word; by cell, the p values of "there is a margin" and of "it is negligible", and what they show."""

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
    """Denied if the first arm is significantly better in every cell; confirmed if in any its margin is negligible.

    Two-sided paired t against 0 in each cell, one-sided t against `negligible_pp` in each cell; Holm over the cells.
    A cell shows neither where trials diverged that would speak against it: of the first arm, that it is better; of
    the second, that its margin is small.

    Args:
        cells_pp: for each cell (n,) margins, one a seed, in percentage points; n differs between cells.
        diverged: for each cell, how many trials of the first and of the second arm did.
        negligible_pp: a margin, or a difference of margins, below that counts as none.
    """
    fell = diverged or [(0, 0)] * len(cells_pp)
    p_margin = holm([t_test(cell) for cell in cells_pp])
    p_small = holm([t_test(cell, negligible_pp, "less") for cell in cells_pp])
    better = [
        p is not None and p < ALPHA and bool(np.mean(cell) > 0) and not first
        for p, cell, (first, _) in zip(p_margin, cells_pp, fell, strict=True)
    ]
    small = [p is not None and p < ALPHA and not second for p, (_, second) in zip(p_small, fell, strict=True)]
    word: Word = "denied" if better and all(better) else "confirmed" if any(small) else "undecided"
    return Advantage(word, p_margin, p_small, better, small)


def depends(
    differences_pp: Sequence[Values], *, complete: bool = True, negligible_pp: float = EQUIVALENCE_PP
) -> Decision:
    """Confirmed if any difference of margins is shown; denied if each is shown to be negligible.

    Two-sided one-sample t, Holm over the differences; for none, two one-sided tests each (the 90% interval lies
    within `negligible_pp` of 0), all of which must hold, so that none is adjusted.

    Args:
        differences_pp: (n,) margins at one level of a moderator minus those at another, one a seed.
        complete: no trial diverged; what the others show may not deny.
        negligible_pp: a difference below that counts as none.

    Source: TOST, Schuirmann (1987); all of it, Berger (1982).
    """
    p_values = holm([t_test(difference) for difference in differences_pp])
    bounds = [t_interval(difference, 1 - 2 * ALPHA) for difference in differences_pp]
    none = [found is not None and found[0] > -negligible_pp and found[1] < negligible_pp for found in bounds]
    return _decision(p_values, none, complete)


def greater(
    differences_pp: Sequence[Values],
    further: Sequence[float | None] = (),
    *,
    complete: bool = True,
    negligible_pp: float = EQUIVALENCE_PP,
) -> Decision:
    """Confirmed if any difference of margins is shown to be above 0; denied if each is shown to be negligible.

    One-sided one-sample t, Holm over them and the `further` tests of the same claim, whose p values come last; for
    below, the one-sided upper 95% bound of each. Arguments otherwise as in `depends`.
    """
    p_values = holm([*(t_test(difference, alternative="greater") for difference in differences_pp), *further])
    bounds = [t_interval(difference, 1 - 2 * ALPHA) for difference in differences_pp]
    return _decision(p_values, [found is not None and found[1] < negligible_pp for found in bounds], complete)


def falls(
    own_pp: Sequence[Values],
    margins_pp: Sequence[Values],
    further: Sequence[float | None] = (),
    *,
    complete: bool = True,
    negligible_pp: float = EQUIVALENCE_PP,
) -> Decision:
    """Confirmed if at any place an arm is shown to fall below itself elsewhere, and below the other arm too.

    Either alone says little: an arm that falls less than the other is the better choice, and one that is worse
    everywhere is not worse because of the place. One-sided one-sample t on each; both must hold, so that the larger p
    value counts; Holm over the places and the `further` tests of the same claim, whose p values come last. Denied
    if at each place one of the two is shown not to reach `negligible_pp`, by its 95% interval.

    Args:
        own_pp: for each place (n,) accuracies there minus the arm's own elsewhere, one a seed, in percentage points.
        margins_pp: for each place (n,) accuracies there minus the other arm's.
        further: p values.
        complete: no trial diverged; what the others show may not deny.
        negligible_pp: a difference below that counts as none.

    Source: both of two, Berger (1982).
    """
    pairs = [
        (t_test(own, alternative="less"), t_test(margin, alternative="less"))
        for own, margin in zip(own_pp, margins_pp, strict=True)
    ]
    both = [None if one is None or other is None else max(one, other) for one, other in pairs]
    bounds = [(t_interval(own), t_interval(margin)) for own, margin in zip(own_pp, margins_pp, strict=True)]
    none = [any(one is not None and one[0] > -negligible_pp for one in pair) for pair in bounds]
    return _decision(holm([*both, *further]), none, complete)


def holm_of(log_ratios: Sequence[Values]) -> list[float | None]:
    """Two-sided one-sample t of each of (n,) log ratios against 0, with Holm over them."""
    return holm([t_test(one) for one in log_ratios])


def sign_of(log_ratios: Values, p: float | None) -> Word:
    """Confirmed if the mean log ratio is shown to be below 0, by its adjusted p value; denied if above."""
    if p is None or p >= ALPHA:
        return "undecided"
    return "confirmed" if np.mean(log_ratios) < 0 else "denied"


def fewer(log_ratios: Values) -> Word:
    """Of counts, which need no test: confirmed if below 0 in every cell, denied if in none.

    Args:
        log_ratios: (cells,) logs of a count over the other's.
    """
    below = [value < -1e-9 for value in log_ratios]
    return "confirmed" if all(below) else "undecided" if any(below) else "denied"


def _decision(p_values: Sequence[float | None], none: Sequence[bool], complete: bool) -> Decision:
    if any(p is not None and p < ALPHA for p in p_values):
        return Decision("confirmed", p_values)
    return Decision("denied" if none and all(none) and complete else "undecided", p_values)
