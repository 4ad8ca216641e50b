"""What tells the cells of a study apart, and the levels there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.sources.runs import BOOKKEEPING, Runs


def factors(runs: Runs) -> list[str]:
    """The keys that tell cells apart: those varied on purpose, then any other with several values.

    A key that only follows a group's choice (norm.affine follows norm) tells nothing more and is left out,
    and so is a derived one that follows the factors (norm.temperature follows the bits), and a nuisance factor.
    """
    frame = runs.frame
    groups = [key for key in frame if key not in BOOKKEEPING and any(other.startswith(f"{key}.") for other in frame)]
    typed = [key for key in runs.factors if key in frame]
    varied = list(typed)
    for key in frame:
        if key in (*BOOKKEEPING, *runs.nuisance, *varied) or len(levels_of(frame, key, absent=True)) < 2:
            continue
        if key in runs.derived and _follows(frame, key, typed):
            continue
        owners = [group for group in groups if group != key and len(levels_of(frame, group)) > 1]
        if not any(_follows(frame, key, [owner]) and key.startswith(f"{owner}.") for owner in owners):
            varied.append(key)
    return varied


def levels_of(frame: pd.DataFrame, key: str, *, absent: bool = False) -> list[Any]:
    """A key's distinct values: numbers by size, then the rest in order of appearance."""
    if key not in frame:
        return []
    values = list(dict.fromkeys(frame[key].astype(object).where(frame[key].notna(), None)))
    there = [value for value in values if value is not None or absent]
    return sorted(there, key=lambda v: (not isinstance(v, int | float), v if isinstance(v, int | float) else 0))


def level_positions(frame: pd.DataFrame, column: pd.Series) -> pd.Series:
    """Each value's place among the key's levels."""
    order = {repr(level): place for place, level in enumerate(levels_of(frame, str(column.name)))}
    return column.astype(object).map(lambda level: order.get(repr(level), -1))


def cells(frame: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each combination of the keys' levels that is there, with its rows."""
    if frame.empty:
        return
    if not keys:
        yield {}, frame
        return
    columns = [frame[key].astype(object).tolist() for key in keys]
    found: dict[tuple[str, ...], list[int]] = {}
    for place, levels in enumerate(zip(*columns, strict=True)):
        found.setdefault(tuple(map(repr, levels)), []).append(place)
    for rows in found.values():
        yield {key: column[rows[0]] for key, column in zip(keys, columns, strict=True)}, frame.iloc[rows]


def _follows(frame: pd.DataFrame, key: str, owners: Sequence[str]) -> bool:
    """Whether the owners' levels together leave the key no choice."""
    return bool(owners) and bool((frame.groupby(list(owners), dropna=False)[key].nunique(dropna=False) <= 1).all())
