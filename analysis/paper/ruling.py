"""What a study says to one claim, and the words in which it gives its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ablate.stats.arrays import Values
from ablate.stats.paired import t_interval
from analysis import formats
from analysis.effects.interaction import Difference
from analysis.paper.decisions import Decision, Word


@dataclass(frozen=True)
class Ruling:
    """What a study says to one claim.

    reason: why, with numbers. command: what would test it. about: the part of the claim that the word is about; empty
    for all of it. tests: every test, a row each. arms: accuracies to read beside them.
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


def strongest(differences: Sequence[Difference], seen: Decision, among: Sequence[str]) -> dict[int, str]:
    """Place -> what is found there, in words: of each group `among` them, the difference with the smallest p value."""
    places: dict[str, int] = {}
    for place, group in enumerate(among):
        ranks = [1.0 if p is None else p for p in seen.p_values]
        if group not in places or ranks[place] < ranks[places[group]]:
            places[group] = place
    return {place: _sentence(differences[place], seen.p_values[place]) for place in places.values()}


def method(seen: Decision, sides: str, of: str = "differences of margins") -> str:
    """The test behind a decision."""
    tests = sum(p is not None for p in seen.p_values)
    if not tests:
        return "A test needs two seeds or more, and a spread between them."
    holm = f", Holm over {tests} tests" if tests > 1 else ""
    return f"One-sample t over seeds on {of}, {sides}{holm}."


def evidence(spread: str, n: int, p: float | None) -> str:
    """What stands in brackets behind an estimate.

    >>> evidence("0.61 to 0.80", 3, 0.012)
    '95% interval 0.61 to 0.80, n = 3, p = 0.012'
    >>> evidence("–", 3, None), evidence("–", 1, None)
    ('n = 3, all the same: no test', 'n = 1: no test')
    """
    if p is None:
        return f"n = {n}: no test" if n < 2 else f"n = {n}, all the same: no test"
    return f"95% interval {spread}, n = {n}, {formats.p_is(p)}"


def interval(values_pp: Values) -> str:
    """The 95% interval of the mean of (n,) values, or a dash."""
    found = t_interval(values_pp)
    return formats.interval(*found) if found else formats.ABSENT


def table(differences: Sequence[Difference], p_values: Sequence[float | None]) -> pd.DataFrame:
    """A row for each difference."""
    return pd.DataFrame(
        {
            "arm": one.arm,
            "factor": one.moderator,
            "levels": f"{formats.shown(one.level)} against {formats.shown(one.reference)}",
            "difference (pp)": formats.signed(float(np.mean(one.by_seed))) if len(one.by_seed) else formats.ABSENT,
            "95% interval": interval(one.by_seed),
            "n": len(one.by_seed),
            "cells": one.cells,
            "p": formats.p_value(p),
        }
        for one, p in zip(differences, p_values, strict=True)
    )


def _sentence(one: Difference, p: float | None) -> str:
    level, reference = f"{one.moderator} {formats.shown(one.level)}", formats.shown(one.reference)
    n = len(one.by_seed)
    if not n:
        return f"No seed of {one.arm} has a margin at both {level} and {reference}."
    mean = round(float(np.mean(one.by_seed)), 2)
    spread = interval(one.by_seed).replace("-", "−")
    side = "above" if mean >= 0 else "below"
    return (
        f"The margin of {one.arm} at {level} is {abs(mean):.2f} points {side} that at {reference} "
        f"({evidence(spread, n, p)})."
    )
