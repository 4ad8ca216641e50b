"""Which levels of which factors a report compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core.errors import UsageError
from ablate.core.levels import show
from ablate.core.study import PREFERRED
from analysis.effects.factors import factors, levels_of
from analysis.sources.runs import Runs


@dataclass(frozen=True)
class Contrast:
    """Two levels of one factor; the margin is the first minus the second."""

    factor: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.factor}: {show(self.first)} minus {show(self.second)}"


def choose_contrasts(runs: Runs, factor: Any = None, levels: Any = None) -> list[Contrast]:
    """The contrasts asked for, else the study's preferred one, else those of the first factor.

    All levels of a factor are compared with the first of them. Empty when no factor was swept and nothing was asked
    for: then there is no contrast.

    Args:
        runs: the study.
        factor: a factor or a list of factors; None for the study's own.
        levels: two levels or more of the factor, or a list of such lists, one a factor; None for all of them.

    Raises:
        UsageError: the study has no such factor or levels, naming those it has.
    """
    if not isinstance(levels, list | None):
        raise UsageError(f"contrast.levels={show(levels)}: allowed: a list in brackets: [a,b]")
    names = factor if isinstance(factor, list) else [factor]
    of_each = levels if isinstance(factor, list) and levels else [levels] * len(names)
    if len(of_each) != len(names) or any(not isinstance(one, list | None) for one in of_each):
        told = ",".join(_listed(one) for one in names)
        raise UsageError(
            f"contrast.levels={_listed(levels)}: allowed with contrast.factor=[{told}]: a list for each: [[a,b],[c,d]]"
        )
    found = [one for name, its in zip(names, of_each, strict=True) for one in _contrasts_of(runs, name, its)]
    return list(dict.fromkeys(found))


def _contrasts_of(runs: Runs, factor: str | None, levels: list[Any] | None) -> list[Contrast]:
    varying = [key for key in factors(runs) if len(levels_of(runs.frame, key)) > 1]
    if factor is None:
        varied = [key for key in varying if key in runs.factors]
        if not varied:
            return []
        name, preferred = runs.preferred
        is_there = name in varying and set(preferred) <= set(levels_of(runs.frame, name))
        factor = name if is_there else varied[0]
        if is_there and levels is None:
            levels = list(preferred) if runs.preferred != PREFERRED else _first(preferred, levels_of(runs.frame, name))
    if factor not in varying:
        allowed = f"; allowed: {', '.join(varying)}" if varying else ", where nothing varies"
        raise UsageError(f"contrast.factor={factor}: not varied in study {runs.study}{allowed}")
    there = levels_of(runs.frame, factor)
    levels = there if levels is None else levels
    unknown = [level for level in levels if not any(level == one and _same_kind(level, one) for one in there)]
    if len(levels) < 2 or len({repr(level) for level in levels}) < len(levels) or unknown:
        raise UsageError(f"contrast.levels={_listed(levels)}: allowed: two or more of {', '.join(map(show, there))}")
    return [Contrast(factor, levels[0], other) for other in levels[1:]]


def _first(preferred: Sequence[Any], levels: Sequence[Any]) -> list[Any]:
    return [*preferred, *(level for level in levels if level not in preferred)]


def _same_kind(one: Any, other: Any) -> bool:
    """Whether neither or both are booleans: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool)


def _listed(value: Any) -> str:
    return f"[{','.join(map(_listed, value))}]" if isinstance(value, list) else show(value)


def left_out(runs: Runs, contrasts: Sequence[Contrast]) -> str:
    """Levels of the contrasts' factors that none of them compares, and how to ask for it; empty when none."""
    told = []
    for factor in dict.fromkeys(one.factor for one in contrasts):
        compared = [level for one in contrasts if one.factor == factor for level in (one.first, one.second)]
        others = [level for level in levels_of(runs.frame, factor) if level not in compared]
        if others:
            names = ", ".join(f"{factor}={show(level)}" for level in others)
            asked = f"contrast.factor={factor} contrast.levels={_listed([*dict.fromkeys(compared), *others])}"
            told.append(f"Not compared here: {names}; {asked} does.")
    return " ".join(told)
