"""Which levels of which factors a report compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core.errors import UsageError
from ablate.core.levels import Level, as_level, show
from ablate.core.study import PREFERRED
from analysis.effects.factors import equal, factors, levels_of
from analysis.sources.runs import Runs


@dataclass(frozen=True)
class Contrast:
    """Two levels of one factor; the margin is the first minus the second."""

    factor: str
    first: Level
    second: Level

    def __str__(self) -> str:
        return f"{self.factor}: {show(self.first)} minus {show(self.second)}"


def choose_contrasts(runs: Runs, factor: Any = None, levels: Any = None) -> list[Contrast]:
    """Return the contrasts that the user requested, else the study's preferred one, else those of the first factor.

    All levels of a factor are compared with the first of them. The list is empty when no factor was swept and the user
    requested no contrast.

    Args:
        runs: the study.
        factor: a factor or a list of factors, as typed; None for the study's own.
        levels: two levels or more of the factor, or a list of such lists, one for each factor, as typed; None for all
            levels.

    Raises:
        UsageError: the study has no such factor or levels; the message names those that it has.
    """
    if not isinstance(levels, list | None):
        raise UsageError(f"contrast.levels={show(levels)}: allowed: a list in brackets: [a,b]")
    names = factor if isinstance(factor, list) else [factor]
    levels_by_factor = levels if isinstance(factor, list) and levels else [levels] * len(names)
    if len(levels_by_factor) != len(names) or any(not isinstance(typed, list | None) for typed in levels_by_factor):
        raise UsageError(
            f"contrast.levels={_bracketed(levels)}: "
            f"allowed with contrast.factor={_bracketed(names)}: a list for each: [[a,b],[c,d]]"
        )
    contrasts = [
        contrast
        for name, typed in zip(names, levels_by_factor, strict=True)
        for contrast in _contrasts_of(runs, name, typed)
    ]
    return list(dict.fromkeys(contrasts))


def _contrasts_of(runs: Runs, factor: str | None, levels: list[Any] | None) -> list[Contrast]:
    varying = [key for key in factors(runs) if len(levels_of(runs.frame, key)) > 1]
    if factor is None:
        varied = [key for key in varying if key in runs.factors]
        if not varied:
            return []
        name, preferred = runs.preferred
        has_preferred = name in varying and set(preferred) <= set(levels_of(runs.frame, name))
        factor = name if has_preferred else varied[0]
        if has_preferred and levels is None:
            chosen_by_study = runs.preferred != PREFERRED
            levels = list(preferred) if chosen_by_study else _first(preferred, levels_of(runs.frame, name))
    if factor not in varying:
        allowed = f"; allowed: {', '.join(varying)}" if varying else ", where nothing varies"
        raise UsageError(f"contrast.factor={factor}: not varied in study {runs.study}{allowed}")
    available = levels_of(runs.frame, factor)
    levels = available if levels is None else [as_level(level) for level in levels]
    unknown = [level for level in levels if not any(equal(level, known) for known in available)]
    if len(levels) < 2 or len({repr(level) for level in levels}) < len(levels) or unknown:
        allowed = ", ".join(map(show, available))
        raise UsageError(f"contrast.levels={_bracketed(levels)}: allowed: two or more of {allowed}")
    return [Contrast(factor, levels[0], other) for other in levels[1:]]


def _first(preferred: Sequence[Level], levels: Sequence[Level]) -> list[Level]:
    return [*preferred, *(level for level in levels if level not in preferred)]


def _bracketed(typed: Any) -> str:
    """Return levels, or lists of them, as a user would type them."""
    return f"[{','.join(map(_bracketed, typed))}]" if isinstance(typed, list) else show(typed)


def left_out(runs: Runs, contrasts: Sequence[Contrast]) -> str:
    """Return which levels no contrast compares, and what to type to compare them; empty when there are none.

    Only the levels of the contrasts' own factors count.
    """
    sentences = []
    for factor in dict.fromkeys(contrast.factor for contrast in contrasts):
        of_factor = [contrast for contrast in contrasts if contrast.factor == factor]
        compared = [level for contrast in of_factor for level in (contrast.first, contrast.second)]
        others = [level for level in levels_of(runs.frame, factor) if level not in compared]
        if others:
            names = ", ".join(f"{factor}={show(level)}" for level in others)
            levels = _bracketed([*dict.fromkeys(compared), *others])
            sentences.append(f"Not compared here: {names}; contrast.factor={factor} contrast.levels={levels} does.")
    return " ".join(sentences)
