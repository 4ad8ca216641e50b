"""Hypotheses that a study states before its first trial, in words of a fixed form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ablate.core.errors import UsageError
from ablate.core.levels import Level, show

FORMS = (
    "'A better than B [by X] [at FACTOR=LEVEL,...]', 'A equivalent to B [within X] [at ...]', or "
    "'margin of A over B larger at FACTOR=LEVEL,... than at ... [by X]'; A and B are levels of one factor, X in points"
)

_NUMBER = r"(?P<by>\d+(?:\.\d+)?)"
_PATTERNS: tuple[tuple[Literal["better", "equivalent", "larger"], re.Pattern[str]], ...] = (
    ("better", re.compile(rf"(?P<first>\S+) better than (?P<second>\S+)(?: by {_NUMBER})?(?: at (?P<at>\S+))?")),
    (
        "equivalent",
        re.compile(rf"(?P<first>\S+) equivalent to (?P<second>\S+)(?: within {_NUMBER})?(?: at (?P<at>\S+))?"),
    ),
    (
        "larger",
        re.compile(
            r"margin of (?P<first>\S+) over (?P<second>\S+) larger at (?P<at>\S+) than at (?P<against>\S+)"
            rf"(?: by {_NUMBER})?"
        ),
    ),
)


@dataclass(frozen=True)
class Hypothesis:
    """A margin, first level minus second, and what is said of it.

    kind: "better": it is above `by`. "equivalent": it is within `by` of 0. "larger": at the levels `at` it is above
        that at the levels `against` by more than `by`.
    by: in points, or in the unit of a metric without points; None where none is stated.
    at, against: the cells that it is about, by the levels of some factors; all cells where `at` is empty.
    """

    text: str
    kind: Literal["better", "equivalent", "larger"]
    factor: str
    first: Level
    second: Level
    by: float | None = None
    at: Mapping[str, Level] = field(default_factory=dict)
    against: Mapping[str, Level] = field(default_factory=dict)


def parse(text: str, factors: Mapping[str, Sequence[Level]]) -> Hypothesis:
    """Return the hypothesis that a text states.

    >>> parse("bn better than srelu by 0.5 at bits=32", {"norm": ["bn", "srelu"], "bits": [1, 32]}).at
    {'bits': 32}

    Args:
        text: in one of the FORMS.
        factors: of the study, with their levels.

    Raises:
        UsageError: it has another form, or names what the study lacks.
    """
    words = " ".join(text.split()) if isinstance(text, str) else str(text)
    for kind, pattern in _PATTERNS:
        if match := pattern.fullmatch(words):
            named = match.groupdict()
            factor, first, second = _levels(words, named["first"], named["second"], factors)
            at, against = (_cells(words, named.get(key), factors, factor) for key in ("at", "against"))
            by = None if named["by"] is None else float(named["by"])
            return Hypothesis(words, kind, factor, first, second, by, at, against)
    raise UsageError(f"hypotheses: {words!r}: allowed: {FORMS}")


def _levels(text: str, first: str, second: str, factors: Mapping[str, Sequence[Level]]) -> tuple[str, Level, Level]:
    """Return the factor of two levels, each named as LEVEL or FACTOR=LEVEL, and the levels."""
    fits = []
    for factor, levels in factors.items():
        by_name = {show(level): level for level in levels} | {f"{factor}={show(level)}": level for level in levels}
        if first in by_name and second in by_name and by_name[first] != by_name[second]:
            fits.append((factor, by_name[first], by_name[second]))
    if len(fits) != 1:
        allowed = "; ".join(f"{factor}={','.join(map(show, levels))}" for factor, levels in factors.items())
        how = "are levels of several factors" if fits else "are no two levels of one factor"
        raise UsageError(f"hypotheses: {text!r}: {first} and {second} {how}; allowed: {allowed}")
    return fits[0]


def _cells(text: str, typed: str | None, factors: Mapping[str, Sequence[Level]], compared: str) -> dict[str, Level]:
    """Return the levels that FACTOR=LEVEL,... names."""
    cells: dict[str, Level] = {}
    for part in typed.split(",") if typed else ():
        factor, _, name = part.partition("=")
        by_name = {show(level): level for level in factors.get(factor, ())}
        if factor == compared or name not in by_name:
            others = "; ".join(f"{key}={','.join(map(show, of))}" for key, of in factors.items() if key != compared)
            raise UsageError(f"hypotheses: {text!r}: at {part}: allowed: {others or 'no other factor'}")
        cells[factor] = by_name[name]
    return cells
