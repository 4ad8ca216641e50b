"""Numbers and levels as people read them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ablate.core.levels import show

ABSENT = "–"


def shown(level: Any) -> str:
    """A level for people: no trailing .0, and a dash for a key that the cell does not have.

    >>> [shown(level) for level in (2.0, 0.5, True, "bn", None)]
    ['2', '0.5', 'true', 'bn', '–']
    """
    if level is None or (isinstance(level, float) and pd.isna(level)):
        return ABSENT
    if isinstance(level, bool):
        return show(level)
    if isinstance(level, float) and level.is_integer():
        return str(int(level))
    return " ".join(str(level).split())


def interval(low_pp: float | None, high_pp: float | None) -> str:
    """Both ends with their sign; a dash where there is none.

    >>> interval(-0.5, 1.25), interval(None, None)
    ('-0.50 to +1.25', '–')
    """
    if low_pp is None or high_pp is None:
        return ABSENT
    return f"{signed(low_pp)} to {signed(high_pp)}"


def p_value(p: float | None) -> str:
    """Three decimals.

    >>> [p_value(p) for p in (0.0412, 0.0001, None)]
    ['0.041', '<0.001', '–']
    """
    return ABSENT if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def signed(value_pp: float) -> str:
    """Two decimals with a sign, and no negative zero."""
    return f"{round(value_pp, 2) + 0.0:+.2f}"


def p_is(p: float | None) -> str:
    """A p value in a sentence.

    >>> p_is(0.0001), p_is(0.25)
    ('p < 0.001', 'p = 0.250')
    """
    shown = p_value(p)
    return f"p < {shown[1:]}" if shown.startswith("<") else f"p = {shown}"
