"""Numbers and levels as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ablate.core.levels import Level, show

ABSENT = "–"


def shown(level: Level) -> str:
    """Return a level as text for people: without a trailing .0, and a dash for a key that the cell does not have.

    >>> [shown(level) for level in (2.0, 0.5, True, "bn", None)]
    ['2', '0.5', 'true', 'bn', '–']
    """
    if _is_absent(level):
        return ABSENT
    if isinstance(level, bool):
        return show(level)
    if isinstance(level, float) and level.is_integer():
        return str(int(level))
    return " ".join(str(level).split())


def levels_in_words(levels: Mapping[str, Level]) -> str:
    """Return a cell's levels in words, without the keys that it does not have.

    >>> levels_in_words({"bits": 1, "norm": "bn", "norm.temperature": None})
    'bits 1, norm bn'
    """
    parts = [f"{key} {shown(level)}" for key, level in levels.items() if not _is_absent(level)]
    return ", ".join(parts) or "all trials"


def interval(low_pp: float | None, high_pp: float | None, decimals: int = 2) -> str:
    """Return both ends with their signs; a dash if there is no interval.

    >>> interval(-0.5, 1.25), interval(None, None)
    ('-0.50 to +1.25', '–')
    """
    if low_pp is None or high_pp is None:
        return ABSENT
    return f"{signed(low_pp, decimals)} to {signed(high_pp, decimals)}"


def mirrored(low_pp: float | None, high_pp: float | None) -> tuple[float | None, float | None]:
    """Return the interval of the value with the opposite sign.

    >>> mirrored(-0.5, 1.25), mirrored(None, None)
    ((-1.25, 0.5), (None, None))
    """
    return (None if high_pp is None else -high_pp), (None if low_pp is None else -low_pp)


def p_value(p: float | None) -> str:
    """Return a p value with three decimals; a dash if there is none.

    >>> [p_value(p) for p in (0.0412, 0.0001, None)]
    ['0.041', '<0.001', '–']
    """
    return ABSENT if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def signed(value_pp: float, decimals: int = 2) -> str:
    """Return a value with its sign; zero is never negative."""
    return f"{round(value_pp, decimals) + 0.0:+.{decimals}f}"


def p_is(p: float | None) -> str:
    """Return a p value as it stands in a sentence.

    >>> p_is(0.0001), p_is(0.25)
    ('p < 0.001', 'p = 0.250')
    """
    text = p_value(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _is_absent(level: Level) -> bool:
    return level is None or (isinstance(level, float) and math.isnan(level))
