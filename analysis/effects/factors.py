"""The factors that distinguish the cells of a study, and their levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from ablate.core.levels import Level
from analysis.sources.runs import BOOKKEEPING, Runs


def factors(runs: Runs) -> list[str]:
    """Return the keys that distinguish cells: those varied on purpose, then any other with several values.

    Four kinds of key are left out, since they distinguish nothing more: one that only follows a group's choice (as
    norm.affine follows norm), a derived one that follows the factors (as norm.temperature follows the bits), a
    nuisance factor, and one that each of several searches chose for its seeds.
    """
    frame = runs.frame
    columns = [str(column) for column in frame.columns]
    groups = [
        key for key in columns if key not in BOOKKEEPING and any(other.startswith(f"{key}.") for other in columns)
    ]
    typed = [key for key in runs.factors if key in frame]
    varied = list(typed)
    for key in columns:
        if (
            key in (*BOOKKEEPING, *runs.nuisance, *runs.searched, *varied)
            or len(levels_of(frame, key, absent=True)) < 2
        ):
            continue
        if key in runs.derived and _follows(frame, key, typed):
            continue
        owners = [group for group in groups if group != key and len(levels_of(frame, group)) > 1]
        if not any(_follows(frame, key, [owner]) and key.startswith(f"{owner}.") for owner in owners):
            varied.append(key)
    return varied


def levels_of(frame: pd.DataFrame, key: str, *, absent: bool = False) -> list[Level]:
    """Return a key's distinct values: numbers by size, then the rest in order of appearance.

    None is among them only if `absent` is true and some row lacks the key.
    """
    if key not in frame:
        return []
    values = list(dict.fromkeys(frame[key].astype(object).where(frame[key].notna(), None)))
    levels = [value for value in values if value is not None or absent]
    return sorted(levels, key=lambda v: (not isinstance(v, int | float), v if isinstance(v, int | float) else 0))


def level_positions(frame: pd.DataFrame, column: pd.Series) -> pd.Series:
    """Return, for each value of the column, its index among the key's levels; -1 where it is none of them."""
    positions = {repr(level): index for index, level in enumerate(levels_of(frame, str(column.name)))}
    return column.astype(object).map(lambda level: positions.get(repr(level), -1))


def cells(frame: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[dict[str, Level], pd.DataFrame]]:
    """Yield each combination of the keys' levels that occurs, with its rows."""
    if frame.empty:
        return
    if not keys:
        yield {}, frame
        return
    columns = [frame[key].astype(object).tolist() for key in keys]
    rows_by_cell: dict[tuple[str, ...], list[int]] = {}
    for row, levels in enumerate(zip(*columns, strict=True)):
        rows_by_cell.setdefault(tuple(map(repr, levels)), []).append(row)
    for rows in rows_by_cell.values():
        yield {key: column[rows[0]] for key, column in zip(keys, columns, strict=True)}, frame.iloc[rows]


def equal(first: Level, second: Level) -> bool:
    """Return whether two levels are equal. A bool equals no number, although Python takes True for 1.

    >>> equal(1, 1.0), equal(True, 1), equal("8", 8)
    (True, False, False)
    """
    return isinstance(first, bool) == isinstance(second, bool) and bool(first == second)


def _follows(frame: pd.DataFrame, key: str, owners: Sequence[str]) -> bool:
    """Return whether the owners' levels together leave the key no choice."""
    return bool(owners) and bool((frame.groupby(list(owners), dropna=False)[key].nunique(dropna=False) <= 1).all())
