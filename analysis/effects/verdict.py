"""What the cells of a report show, in one word each, whatever their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ablate.stats.multiple_testing import holm
from ablate.stats.paired import ALPHA, Margin
from ablate.stats.power import more_seeds

Word = Literal["first better", "second better", "equivalent", "undecided", "no margin"]


@dataclass(frozen=True)
class Verdict:
    """What one cell shows.

    small: the better arm is better by less than the smallest difference of interest. p_difference, p_equivalence:
    adjusted by Holm over the cells of the report; None without a test. alone: its own interval leaves out 0, and
    only the adjustment keeps it undecided. more_seeds: how many more would decide; None if no number is known.
    why: what else keeps it undecided.
    """

    word: Word
    small: bool = False
    p_difference: float | None = None
    p_equivalence: float | None = None
    alone: bool = False
    more_seeds: int | None = None
    why: str = ""


def verdicts(
    margins: Sequence[Margin | None],
    equivalence_pp: float,
    *,
    failed: Sequence[tuple[int, int]] | None = None,
    lower_is_better: bool = False,
) -> list[Verdict]:
    """A verdict for each cell of a report, at a family-wise level of 5% for each of its two questions.

    Is there a difference: two-sided paired t test. Is there none of interest: two one-sided t tests. Each is adjusted
    by Holm over all cells. Trials that diverged never speak for their arm: where the first arm's did, the cell shows
    neither that it is better nor that the arms are equivalent, and so for the second's.

    Args:
        margins: one a cell; None where no seed is done in both arms.
        equivalence_pp: the smallest difference of interest.
        failed: for each cell, how many trials of the first and of the second arm diverged.
        lower_is_better: whether a smaller measure is the better one.

    Source: Schuirmann (1987); Holm (1979).
    """
    fell = failed or [(0, 0)] * len(margins)
    differ = holm([one.p_difference if one else None for one in margins])
    equal = holm([one.p_equivalence if one else None for one in margins])
    open_differences = sum(p is not None and p >= ALPHA for p in differ)
    open_equivalences = sum(p is not None and p >= ALPHA for p in equal)
    found = []
    for one, p_difference, p_equivalence, cell_fell in zip(margins, differ, equal, fell, strict=True):
        if one is None:
            found.append(Verdict("no margin"))
            continue
        p_values = p_difference, p_equivalence
        if p_difference is None or p_equivalence is None:
            found.append(Verdict("undecided", why=_untested(one)))
            continue
        first_better = (one.mean_pp > 0) != lower_is_better
        word: Word = "undecided"
        if p_difference < ALPHA:
            word = "first better" if first_better else "second better"
        elif p_equivalence < ALPHA:
            word = "equivalent"
        why = _diverged(word, cell_fell)
        if why:
            found.append(Verdict("undecided", False, *p_values, why=why))
        elif word == "undecided" and one.most_seeds is not None:
            found.append(Verdict(word, False, *p_values, why=f"{one.n} seeds do not decide"))
        elif word == "undecided":
            alone = one.p_difference is not None and one.p_difference < ALPHA
            more = more_seeds(
                *(one.mean_pp, _spread(one), one.n, equivalence_pp),
                differences=open_differences,
                equivalences=open_equivalences,
            )
            found.append(Verdict(word, False, *p_values, alone, more))
        else:
            small = word != "equivalent" and p_equivalence < ALPHA and not any(cell_fell)
            found.append(Verdict(word, small, *p_values))
    return found


def in_words(verdict: Verdict, first: str, second: str, within: str) -> str:
    """The verdict as it stands in a table.

    >>> in_words(Verdict("first better", small=True), "bn", "srelu", "0.5 points")
    'bn better, by less than 0.5 points'
    >>> in_words(Verdict("undecided", more_seeds=4), "bn", "srelu", "0.5 points")
    'undecided: about 4 more seeds would decide'
    """
    if verdict.word == "no margin":
        return "no margin"
    if verdict.word == "equivalent":
        return f"equivalent within {within}"
    if verdict.word != "undecided":
        better = first if verdict.word == "first better" else second
        return f"{better} better" + (f", by less than {within}" if verdict.small else "")
    if verdict.why:
        return f"undecided: {verdict.why}"
    among = " among all cells" if verdict.alone else ""
    return f"undecided{among}: {seeds_in_words(verdict.more_seeds)} would decide"


def seeds_in_words(more: int | None) -> str:
    """How many more would decide.

    >>> seeds_in_words(1), seeds_in_words(187), seeds_in_words(None)
    ('about 1 more seed', 'about 190 more seeds', 'more than 1000 more seeds')
    """
    if more is None:
        return "more than 1000 more seeds"
    rounded = more if more <= 20 else round(more, -1 if more < 200 else -2)
    return f"about {rounded} more seed{'s' * (rounded != 1)}"


def _untested(one: Margin) -> str:
    if one.n == 1:
        return "one seed, no interval"
    return f"all {one.n} seeds differ by the same, and no predictions are stored to take the spread from"


def _diverged(word: Word, fell: tuple[int, int]) -> str:
    """Why a word may not stand: trials diverged that would speak against it."""
    against = {"first better": fell[:1], "second better": fell[1:], "equivalent": fell}.get(word, ())
    return "trials diverged" if any(against) else ""


def _spread(one: Margin) -> float:
    """The standard deviation over seeds that the tests rest on."""
    if one.identical and one.test_set:
        return float(one.test_set.se_pp * one.n**0.5)
    return one.sd_pp or 0.0
