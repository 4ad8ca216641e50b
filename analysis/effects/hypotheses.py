"""Decides the hypotheses that a study stated before its first trial. They are adjusted among themselves alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ablate.core.errors import UsageError
from ablate.core.hypotheses import Hypothesis, parse
from ablate.core.levels import Level
from ablate.stats.arrays import Floats
from ablate.stats.finite_test_set import TestSet, error_of_test_set
from ablate.stats.margin import Margin, margin
from ablate.stats.multiple_testing import ALPHA, holm
from analysis.effects.contrasts import Contrast
from analysis.effects.matched import MarginRow, Right, margins
from analysis.effects.verdict import Failures
from analysis.sources.runs import Runs

Word = Literal["confirmed", "denied", "undecided", "not testable"]


@dataclass(frozen=True)
class TestedHypothesis:
    """A hypothesis, the margin that it is about, and what the seeds say.

    text: the hypothesis as the study registered it.
    margin: the mean over its cells, one value per seed; for "larger" the difference of two such means. None where no
        seed is done in all of its cells.
    cells: the number of cells. failed: the number of trials in them that failed.
    p_confirm, p_deny: one-sided, adjusted by Holm over all hypotheses; None without a test.
    why: the reason of a word that the p values do not give.
    """

    __test__ = False  # for pytest
    text: str
    word: Word
    margin: Margin | None
    cells: int
    failed: int
    p_confirm: float | None
    p_deny: float | None
    why: str = ""


def decided_hypotheses(
    runs: Runs, texts: Sequence[str], *, equivalence_pp: float, right: Right | None
) -> list[TestedHypothesis]:
    """Return what the study says to each hypothesis, at a family-wise level of 5%.

    "Better by X" is a one-sided test of the margin against X, "equivalent" two one-sided tests, and "larger" a test of
    the difference of two margins within each seed. Where predictions are known, the tests are about new test items too.

    Args:
        runs: the study.
        texts: the hypotheses, as the study registered them.
        equivalence_pp: the smallest difference of interest, for an equivalence that states none.
        right: which test items the trials got right, where that is known.
    """
    factors = {key: list(dict.fromkeys(runs.frame[key].dropna())) for key in runs.factors if key in runs.frame}
    samples = {text: _sample(runs, text, factors, right or {}) for text in texts}
    known = {text: sample for text, sample in samples.items() if sample}
    p_values = [sample.p_values(equivalence_pp) for sample in known.values()]
    confirm, deny = (holm([pair[side] for pair in p_values]) for side in (0, 1))
    judged = {
        text: sample.judged(*adjusted) for (text, sample), *adjusted in zip(known.items(), confirm, deny, strict=True)
    }
    absent = "no trial has its levels"
    return [
        judged.get(text) or TestedHypothesis(text, "not testable", None, 0, 0, None, None, absent) for text in texts
    ]


def _sample(runs: Runs, text: str, factors: Mapping[str, Sequence[Level]], right: Right) -> _Sample | None:
    """Return what a hypothesis is about; None as long as no trial has its levels."""
    try:
        return _Sample(runs, parse(text, factors), right)
    except UsageError:  # the study's plan parsed it with all of its levels
        return None


class _Sample:
    """The cells that a hypothesis is about, and one value per seed that is done in all of them."""

    def __init__(self, runs: Runs, hypothesis: Hypothesis, right: Right) -> None:
        self.hypothesis, self.runs = hypothesis, runs
        rows = margins(runs, Contrast(hypothesis.factor, hypothesis.first, hypothesis.second), right=right)
        self.at = [row for row in rows if _agrees(row, hypothesis.at)]
        self.against = [row for row in rows if _agrees(row, hypothesis.against)] if hypothesis.against else []
        self.rows = [*self.at, *self.against]
        self.seeds = _seeds_of_all(self.rows)
        values = _means(self.at, self.seeds)
        if self.against:
            values = values - _means(self.against, self.seeds)
        self.values_pp = np.round(values, 9)
        self.sign = -1 if runs.measure.lower_is_better else 1
        self.test_set = self._test_set(right)

    def margin(self, against_pp: float = 0.0, equivalence_pp: float = 0.0, sign: int = 1) -> Margin | None:
        """Return the margin times the sign, less `against_pp`; None without a seed."""
        if not self.seeds:
            return None
        other = [against_pp / 100] * len(self.seeds)
        return margin(
            (sign * self.values_pp / 100).tolist(),
            other,
            equivalence_pp=equivalence_pp,
            test_set=self.test_set,
            seed_rule=self.runs.seed_rule,
        )

    def p_values(self, equivalence_pp: float) -> tuple[float | None, float | None]:
        """Return the p values of the hypothesis and of its opposite, each one-sided."""
        by = self.hypothesis.by
        if self.hypothesis.kind != "equivalent":
            return self._above(by or 0.0), self._below(by or 0.0)
        within = by if by is not None else equivalence_pp
        near = self.margin(equivalence_pp=within, sign=self.sign)
        if near is None or near.p_equivalence is None:
            return None, None
        beyond = self._above(within) if near.mean_pp > 0 else self._below(-within)
        return near.p_equivalence, None if beyond is None else min(1.0, 2 * beyond)

    def judged(self, p_confirm: float | None, p_deny: float | None) -> TestedHypothesis:
        """Return the hypothesis with its word, given its adjusted p values."""
        failed = sum(sum(row.failed) for row in self.rows)
        word, why = self._word(p_confirm, p_deny)
        return TestedHypothesis(
            self.hypothesis.text, word, self.margin(), len(self.rows), failed, p_confirm, p_deny, why
        )

    def _word(self, p_confirm: float | None, p_deny: float | None) -> tuple[Word, str]:
        if p_confirm is None or p_deny is None:
            return "not testable", f"{len(self.seeds)} seed{'s' * (len(self.seeds) != 1)} done in all of its cells"
        without = sum(row.margin is None for row in self.rows)
        if without:
            return "undecided", f"{without} of its {len(self.rows)} cells have no margin"
        word: Word = "confirmed" if p_confirm < ALPHA else "denied" if p_deny < ALPHA else "undecided"
        failures = Failures(
            (sum(row.failed[0] for row in self.rows), sum(row.failed[1] for row in self.rows)),
            (sum(row.ended[0] for row in self.rows), sum(row.ended[1] for row in self.rows)),
        )
        arms = {"better": (0,), "equivalent": (0, 1), "larger": (0, 1)}[self.hypothesis.kind]
        if word == "confirmed" and failures.any and any(failures.more_in(arm) for arm in arms):
            return "undecided", "it holds where both trained, but an arm fails more often"
        return word, ""

    def _above(self, bound_pp: float) -> float | None:
        return self._side(self.margin(bound_pp, sign=self.sign), above=True)

    def _below(self, bound_pp: float) -> float | None:
        return self._side(self.margin(bound_pp, sign=self.sign), above=False)

    def _side(self, shifted: Margin | None, *, above: bool) -> float | None:
        """Return the one-sided p value; after repeated looks the two-sided one, which is too large, not too small."""
        if shifted is None or shifted.p_difference is None:
            return None
        agrees = (shifted.mean_pp > 0) == above
        if not shifted.fixed:
            return shifted.p_difference if agrees else 1.0
        return shifted.p_difference / 2 if agrees else 1 - shifted.p_difference / 2

    def _test_set(self, right: Right) -> TestSet | None:
        """Return the test set's share of the error; None unless all predictions are known, on the same items."""
        first, second = [], []
        for seed in self.seeds:
            arms = [_right_of(rows, seed, right) for rows in (self.at, self.against) if rows]
            if any(of_arm is None for of_arm in arms) or len({of_arm[0].shape for of_arm in arms if of_arm}) != 1:
                return None
            known = [of_arm for of_arm in arms if of_arm]
            first.append(known[0][0] - (known[1][0] if len(known) > 1 else 0))
            second.append(known[0][1] - (known[1][1] if len(known) > 1 else 0))
        return error_of_test_set(first, second) if first else None


def _right_of(rows: Sequence[MarginRow], seed: int, right: Right) -> tuple[Floats, Floats] | None:
    """Return for each arm (items,) the share of the cells in which the seed's trial got an item right."""
    arms = []
    for run_ids in ([row.first_runs for row in rows], [row.second_runs for row in rows]):
        of_seed = [ids[list(row.by_seed).index(seed)] for row, ids in zip(rows, run_ids, strict=True)]
        if not all(run_id in right for run_id in of_seed) or len({right[run_id].shape for run_id in of_seed}) != 1:
            return None
        arms.append(np.mean([right[run_id] for run_id in of_seed], axis=0))
    return (arms[0], arms[1]) if arms[0].shape == arms[1].shape else None


def _agrees(row: MarginRow, at: Mapping[str, Level]) -> bool:
    return all(repr(row.levels.get(factor)) == repr(level) for factor, level in at.items())


def _seeds_of_all(rows: Sequence[MarginRow]) -> list[int]:
    return sorted(set.intersection(*(set(row.by_seed) for row in rows))) if rows else []


def _means(rows: Sequence[MarginRow], seeds: Sequence[int]) -> Floats:
    return np.array([np.mean([row.by_seed[seed] for row in rows]) for seed in seeds])
