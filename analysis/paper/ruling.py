"""What a study says to one claim, and the words in which it gives its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ablate.stats.arrays import Values
from ablate.stats.seed_rule import FIXED, SeedRule
from analysis import formats
from analysis.effects.interaction import Difference
from analysis.paper.decisions import Decision, Word


@dataclass(frozen=True)
class Ruling:
    """What a study says to one claim.

    reason: why, with numbers.
    command: what to type to run a study that tests the claim; empty where this study does.
    about: the part of the claim that the word is about; empty for all of it.
    tests: every test, one per row.
    arms: accuracies to read beside them.
    """

    number: int
    claim: str
    word: Word
    reason: str
    command: str = ""
    about: str = ""
    tests: pd.DataFrame = field(default_factory=pd.DataFrame)
    arms: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def label(self) -> str:
        if self.word == "in part":
            return f"confirmed in part: {self.about}"
        return f"{self.about}: {self.word}" if self.about else self.word


def strongest(differences: Sequence[Difference], decision: Decision, groups: Sequence[str]) -> dict[int, str]:
    """Return, for each group, the index of the difference with the smallest p value, with that difference in words.

    Args:
        differences: the differences that were tested.
        decision: the decision on them.
        groups: the group of each difference.
    """
    ranks = [1.0 if p is None else p for p in decision.p_values]
    by_group: dict[str, int] = {}
    for index, group in enumerate(groups):
        if group not in by_group or ranks[index] < ranks[by_group[group]]:
            by_group[group] = index
    return {index: _sentence(differences[index], decision.p_values[index]) for index in by_group.values()}


def method(decision: Decision, sides: str, of: str = "differences of margins", shares: str = "") -> str:
    """Return a sentence that names the test behind a decision; `shares` says how the tests share the level."""
    tests = sum(p is not None for p in decision.p_values)
    if not tests:
        return "A test needs two seeds or more, and a spread between them."
    holm = f", Holm over {tests} tests{shares}" if tests > 1 else ""
    test = "One-sample t" if decision.seed_rule.is_fixed else f"Sequential test ({decision.seed_rule.in_words})"
    return f"{test} over seeds on {of}, {sides}{holm}."


def evidence(spread: str, n: int, p: float | None) -> str:
    """Return what stands in brackets behind an estimate.

    >>> evidence("0.61 to 0.80", 3, 0.012)
    '95% interval 0.61 to 0.80, n = 3, p = 0.012'
    >>> evidence("–", 3, None), evidence("–", 1, None)
    ('n = 3, all the same: no test', 'n = 1: no test')
    """
    if p is None:
        return f"n = {n}: no test" if n < 2 else f"n = {n}, all the same: no test"
    return f"95% interval {spread}, n = {n}, {formats.p_is(p)}"


def interval(values_pp: Values, seed_rule: SeedRule = FIXED) -> str:
    """Return the 95% interval of the mean of (n,) values in words, or a dash where there is none."""
    bounds = seed_rule.interval(values_pp)
    return formats.interval(*bounds) if bounds else formats.ABSENT


def table(differences: Sequence[Difference], p_values: Sequence[float | None]) -> pd.DataFrame:
    """Return a row for each difference."""
    return pd.DataFrame(
        {
            "arm": difference.arm,
            "factor": difference.moderator,
            "levels": difference.in_words,
            "difference (pp)": (
                formats.signed(float(np.mean(difference.by_seed))) if len(difference.by_seed) else formats.ABSENT
            ),
            "95% interval": interval(difference.by_seed, difference.seed_rule),
            "n": len(difference.by_seed),
            "cells": difference.cells,
            "p": formats.p_value(p),
        }
        for difference, p in zip(differences, p_values, strict=True)
    )


def _sentence(difference: Difference, p: float | None) -> str:
    pair, n = difference.pairs[0], len(difference.by_seed)
    level, reference = f"{pair.moderator} {formats.shown(pair.level)}", formats.shown(pair.reference)
    if not n:
        return f"No seed of {difference.arm} has a margin at both {level} and {reference}."
    mean = round(float(np.mean(difference.by_seed)), 2)
    spread = interval(difference.by_seed, difference.seed_rule).replace("-", "−")
    side = f"{abs(mean):.2f} points {'above' if mean >= 0 else 'below'}"
    numbers = evidence(spread, n, p)
    if len(difference.pairs) > 1:
        return (
            f"The margin of {difference.arm} depends on {difference.moderator} together: in one half of the cells "
            f"({difference.in_words}) it is {side} that in the other half ({numbers})."
        )
    return f"The margin of {difference.arm} at {level} is {side} that at {reference} ({numbers})."
