"""The verdict of each cell of a report, adjusted for the number of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ablate.stats.margin import Margin
from ablate.stats.multiple_testing import ALPHA, holm
from ablate.stats.power import more_seeds

Word = Literal["first better", "second better", "equivalent", "undecided", "no margin"]


@dataclass(frozen=True)
class Verdict:
    """What the seeds of one cell show.

    small: the better arm is better by less than the smallest difference of interest.
    p_difference, p_equivalence: adjusted by Holm over the cells of the report; None without a test.
    alone: the cell's own interval excludes 0, and only the adjustment keeps it undecided.
    more_seeds: how many more seeds would decide; None if no number is known.
    why: any other reason for which it is undecided.
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
    """Return a verdict for each cell of a report, at a family-wise level of 5% for each of two questions.

    The first question is whether there is a difference: a two-sided paired t test. The second is whether there is none
    of interest: two one-sided t tests. Each is adjusted by Holm over all cells. Trials that diverged never speak for
    their arm: where the first arm's did, the cell shows neither that the first arm is better nor that the arms are
    equivalent. The same holds for the second arm.

    Args:
        margins: one per cell; None where no seed is done in both arms.
        equivalence_pp: the smallest difference of interest, in percentage points.
        failed: for each cell, how many trials of the first and of the second arm diverged.
        lower_is_better: whether a smaller measure is the better one.

    Source: Schuirmann (1987); Holm (1979).
    """
    diverged = failed or [(0, 0)] * len(margins)
    p_differences = holm([margin.p_difference if margin else None for margin in margins])
    p_equivalences = holm([margin.p_equivalence if margin else None for margin in margins])
    differences, equivalences = _not_significant(p_differences), _not_significant(p_equivalences)
    judged = []
    for margin, p_difference, p_equivalence, in_cell in zip(
        margins, p_differences, p_equivalences, diverged, strict=True
    ):
        verdict = _verdict(margin, p_difference, p_equivalence, in_cell, lower_is_better=lower_is_better)
        if margin and verdict.word == "undecided" and not verdict.why:
            more = more_seeds(
                margin.mean_pp,
                _spread(margin),
                margin.n,
                equivalence_pp,
                differences=differences,
                equivalences=equivalences,
            )
            alone = margin.p_difference is not None and margin.p_difference < ALPHA
            verdict = replace(verdict, alone=alone, more_seeds=more)
        judged.append(verdict)
    return judged


def in_words(verdict: Verdict, first: str, second: str, within: str) -> str:
    """Return the verdict as a table shows it.

    Args:
        verdict: the verdict of a cell.
        first: the name of the first arm.
        second: the name of the second arm.
        within: the smallest difference of interest, in words.

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
    """Return how many more seeds would decide, in words.

    >>> seeds_in_words(1), seeds_in_words(187), seeds_in_words(None)
    ('about 1 more seed', 'about 190 more seeds', 'more than 1000 more seeds')
    """
    if more is None:
        return "more than 1000 more seeds"
    rounded = more if more <= 20 else round(more, -1 if more < 200 else -2)
    return f"about {rounded} more seed{'s' * (rounded != 1)}"


def _verdict(
    margin: Margin | None,
    p_difference: float | None,
    p_equivalence: float | None,
    diverged: tuple[int, int],
    *,
    lower_is_better: bool,
) -> Verdict:
    """Return the verdict of one cell, without how many more seeds would decide."""
    if margin is None:
        return Verdict("no margin")
    if p_difference is None or p_equivalence is None:
        return Verdict("undecided", why=_untested(margin))
    first_better = (margin.mean_pp > 0) != lower_is_better
    word: Word = "undecided"
    if p_difference < ALPHA:
        word = "first better" if first_better else "second better"
    elif p_equivalence < ALPHA:
        word = "equivalent"
    why = _diverged(word, diverged)
    if word == "undecided" and margin.most_seeds is not None:
        why = f"{margin.n} seeds do not decide"
    if why:
        return Verdict("undecided", p_difference=p_difference, p_equivalence=p_equivalence, why=why)
    small = word.endswith("better") and p_equivalence < ALPHA and not any(diverged)
    return Verdict(word, small, p_difference, p_equivalence)


def _not_significant(p_values: Sequence[float | None]) -> int:
    """Return how many tests are not significant."""
    return sum(p is not None and p >= ALPHA for p in p_values)


def _untested(margin: Margin) -> str:
    if margin.n == 1:
        return "one seed, no interval"
    return f"all {margin.n} seeds differ by the same, and no predictions are stored to take the spread from"


def _diverged(word: Word, diverged: tuple[int, int]) -> str:
    """Return why a verdict may not stand: trials diverged that would speak against it. Empty where it may."""
    against = {"first better": diverged[:1], "second better": diverged[1:], "equivalent": diverged}.get(word, ())
    return "trials diverged" if any(against) else ""


def _spread(margin: Margin) -> float:
    """Return the standard deviation over seeds that the tests rest on, in percentage points."""
    if margin.identical and margin.test_set:
        return float(margin.test_set.se_pp * margin.n**0.5)
    return margin.sd_pp or 0.0
