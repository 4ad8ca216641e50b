"""The verdict of each cell of a report, adjusted for the number of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ablate.stats.failures import share_is_larger
from ablate.stats.margin import Margin
from ablate.stats.multiple_testing import ALPHA, holm
from ablate.stats.population import items_alone_pp
from ablate.stats.power import MoreSeeds, more_seeds_range

Word = Literal["first better", "second better", "equivalent", "undecided", "not testable", "no margin"]


@dataclass(frozen=True)
class Failures:
    """How many trials of the first and of the second arm of a cell failed, and how many are done or failed."""

    failed: tuple[int, int] = (0, 0)
    ended: tuple[int, int] = (0, 0)

    @property
    def any(self) -> bool:
        return any(self.failed)

    def more_in(self, arm: int) -> bool:
        """Return whether the arm, 0 or 1, is shown to fail more often than the other."""
        other = 1 - arm
        if not all(self.ended):
            return False
        return share_is_larger(self.failed[arm], self.ended[arm], self.failed[other], self.ended[other]) < ALPHA


@dataclass(frozen=True)
class Verdict:
    """What the seeds of one cell show.

    small: the better arm is better by less than the smallest difference of interest.
    p_difference, p_equivalence: adjusted by Holm over the cells of the report; None without a test.
    alone: the cell's own interval excludes 0, and only the adjustment keeps it undecided.
    both_trained: trials failed, so that the word is about the seeds for which both arms trained.
    more_seeds: how many more seeds would decide; None if no number is known.
    why: any other reason for which it is undecided, or the reason why it is not testable.
    """

    word: Word
    small: bool = False
    p_difference: float | None = None
    p_equivalence: float | None = None
    alone: bool = False
    both_trained: bool = False
    more_seeds: MoreSeeds | None = None
    why: str = ""


def verdicts(
    margins: Sequence[Margin | None],
    equivalence_pp: float,
    *,
    failures: Sequence[Failures] | None = None,
    lower_is_better: bool = False,
) -> list[Verdict]:
    """Return a verdict for each cell of a report, at a family-wise level of 5% for each of two questions.

    The first question is whether there is a difference, the second whether there is none of interest: see
    `ablate.stats.margin`. Each is adjusted by Holm over all cells.

    Failed trials make it a comparison in two parts. The margin is then about the seeds for which both arms trained, and
    the verdict says so. The share of trials that failed stands beside it. A cell is undecided where fewer than half of
    its seeds trained in both arms, and where the arm that is better, or either of two that are equivalent, is shown to
    fail more often.

    Args:
        margins: one per cell; None where no seed is done in both arms.
        equivalence_pp: the smallest difference of interest, in percentage points.
        failures: one per cell; None where no trial failed.
        lower_is_better: whether a smaller measure is the better one.

    Source: Schuirmann (1987); Holm (1979); comparisons in two parts, Lachenbruch (2001).
    """
    failures = failures or [Failures()] * len(margins)
    p_differences = holm([margin.p_difference if margin else None for margin in margins])
    p_equivalences = holm([margin.p_equivalence if margin else None for margin in margins])
    differences, equivalences = _not_significant(p_differences), _not_significant(p_equivalences)
    judged = []
    for margin, p_difference, p_equivalence, in_cell in zip(
        margins, p_differences, p_equivalences, failures, strict=True
    ):
        verdict = _verdict(margin, p_difference, p_equivalence, in_cell, lower_is_better=lower_is_better)
        if margin and verdict.word == "undecided" and not verdict.why:
            items_se_pp = items_alone_pp(margin.test_set) if margin.test_set else 0.0
            more = more_seeds_range(
                margin.mean_pp,
                _spread(margin),
                margin.n,
                equivalence_pp,
                items_se_pp=items_se_pp,
                differences=differences,
                equivalences=equivalences,
                prior_df=margin.prior_df,
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
    >>> in_words(Verdict("first better", both_trained=True), "bn", "srelu", "0.5 points")
    'bn better where both trained'
    >>> in_words(Verdict("undecided", more_seeds=MoreSeeds(2, 48)), "bn", "srelu", "0.5 points")
    'undecided: some 2 to 50 more seeds would decide'
    """
    if verdict.word == "no margin":
        return "no margin"
    where = " where both trained" if verdict.both_trained else ""
    if verdict.word == "equivalent":
        return f"equivalent within {within}{where}"
    if verdict.word == "not testable":
        return f"not testable: {verdict.why}"
    if verdict.word != "undecided":
        better = first if verdict.word == "first better" else second
        return f"{better} better{where}" + (f", by less than {within}" if verdict.small else "")
    if verdict.why:
        return f"undecided: {verdict.why.format(first=first, second=second)}"
    among = " among all cells" if verdict.alone else ""
    return f"undecided{among}: {seeds_in_words(verdict.more_seeds)}"


def seeds_in_words(more: MoreSeeds | None) -> str:
    """Return how many more seeds would decide, in words.

    >>> seeds_in_words(MoreSeeds(1, 1)), seeds_in_words(MoreSeeds(3, 187)), seeds_in_words(MoreSeeds(9, None))
    ('1 more seed would decide', 'some 3 to 190 more seeds would decide', 'some 9 to over 1000 more seeds would decide')
    >>> seeds_in_words(MoreSeeds(None, None)), seeds_in_words(MoreSeeds(None, None, never=True))
    ('more than 1000 more seeds would decide', 'more seeds would not decide, a larger test set might')
    """
    if more is None:
        return "no test"
    if more.never:
        return "more seeds would not decide, a larger test set might"
    if more.fewest is None:
        return "more than 1000 more seeds would decide"
    fewest, most = _rounded(more.fewest), "over 1000" if more.most is None else _rounded(more.most)
    if fewest == most:
        return f"{fewest} more seed{'s' * (fewest != '1')} would decide"
    return f"some {fewest} to {most} more seeds would decide"


def _rounded(seeds: int) -> str:
    return str(seeds if seeds <= 20 else round(seeds, -1 if seeds < 200 else -2))


def _verdict(
    margin: Margin | None,
    p_difference: float | None,
    p_equivalence: float | None,
    failures: Failures,
    *,
    lower_is_better: bool,
) -> Verdict:
    """Return the verdict of one cell, without how many more seeds would decide."""
    if margin is None:
        return Verdict("no margin")
    if p_difference is None or p_equivalence is None:
        return Verdict("not testable", why=_untested(margin))
    first_better = (margin.mean_pp > 0) != lower_is_better
    word: Word = "undecided"
    if p_difference < ALPHA:
        word = "first better" if first_better else "second better"
    elif p_equivalence < ALPHA:
        word = "equivalent"
    why = _spoken_against(word, margin, failures)
    if word == "undecided" and not margin.fixed:
        on_these = margin.p_seeds is not None and margin.p_seeds < ALPHA
        why = "decided on these test images, not for others" if on_these else f"{margin.n} seeds do not decide"
    if why:
        return Verdict("undecided", p_difference=p_difference, p_equivalence=p_equivalence, why=why)
    small = word.endswith("better") and p_equivalence < ALPHA
    return Verdict(word, small, p_difference, p_equivalence, both_trained=failures.any and word != "undecided")


def _not_significant(p_values: Sequence[float | None]) -> int:
    """Return how many tests are not significant."""
    return sum(p is not None and p >= ALPHA for p in p_values)


def _untested(margin: Margin) -> str:
    if margin.n == 1:
        return "one seed, no interval"
    return f"all {margin.n} seeds differ by the same, and no predictions are stored to take the spread from"


def _spoken_against(word: Word, margin: Margin, failures: Failures) -> str:
    """Return why failed trials leave it undecided, with {first} and {second} for the arms; empty if they do not."""
    if word == "undecided" or not failures.any:
        return ""
    seeds = max(failures.ended)
    if 2 * margin.n < seeds:
        return f"only {margin.n} of {seeds} seeds trained in both arms"
    speaks = {"first better": (0,), "second better": (1,), "equivalent": (0, 1)}[word]
    for arm, name in ((0, "{first}"), (1, "{second}")):
        if arm in speaks and failures.more_in(arm):
            what = "equivalent" if word == "equivalent" else f"{name} better"
            return f"{what} where both trained, but {name} fails more often"
    return ""


def _spread(margin: Margin) -> float:
    """Return the standard deviation over seeds that the tests rest on, in percentage points."""
    if margin.moderated_sd_pp is not None:
        return margin.moderated_sd_pp
    if margin.identical and margin.test_set:
        return float(margin.test_set.se_pp * margin.n**0.5)
    return margin.sd_pp or 0.0
