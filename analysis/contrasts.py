"""From one row per trial to contrasts: which cells differ in one factor alone, and their margins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ablate.design import Mistake, show
from analysis.margin import Margin, differences_pp, margin
from analysis.sources.runs import BOOKKEEPING, Runs


@dataclass(frozen=True)
class Contrast:
    """Two levels of one factor; the margin is the first minus the second."""

    factor: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.factor}: {show(self.first)} minus {show(self.second)}"


@dataclass(frozen=True)
class MarginRow:
    """A contrast in one cell: its other factors' levels, and the margin where both arms have a seed.

    by_seed: each seed's margin in percentage points, in the order of the runs.
    diverged: how many trials of the first and of the second arm did.
    """

    levels: dict[str, Any]
    margin: Margin | None
    first_acc: float | None
    second_acc: float | None
    first_runs: Sequence[str]
    second_runs: Sequence[str]
    notes: Sequence[str]
    by_seed: Mapping[int, float] = field(default_factory=dict)
    diverged: tuple[int, int] = (0, 0)


def choose_contrast(runs: Runs, factor: str | None, levels: Sequence[Any] | None) -> Contrast | None:
    """The contrast asked for, else the study's preferred one, else the first two levels of the first factor.

    None when no factor was swept and nothing was asked for: then there is no contrast.

    Raises:
        Mistake: the study has no such factor or levels, naming those it has.
    """
    varying = [key for key in factors(runs) if len(levels_of(runs.frame, key)) > 1]
    if factor is None:
        varied = [key for key in varying if key in runs.factors]
        if not varied:
            return None
        name, pair = runs.preferred
        is_there = name in varying and set(pair) <= set(levels_of(runs.frame, name))
        factor = name if is_there else varied[0]
        levels = levels or (pair if is_there else None)
    if factor not in varying:
        allowed = f"; allowed: {', '.join(varying)}" if varying else ", where nothing varies"
        raise Mistake(f"contrast.factor={factor}: not varied in study {runs.study}{allowed}")
    there = levels_of(runs.frame, factor)
    levels = there[:2] if levels is None else list(levels)
    unknown = [level for level in levels if level not in there]
    if len(levels) != 2 or levels[0] == levels[1] or unknown:
        shown = ",".join(show(level) for level in levels)
        raise Mistake(f"contrast.levels=[{shown}]: allowed: two of {', '.join(map(show, there))}")
    return Contrast(factor, *levels)


def left_out(runs: Runs, contrast: Contrast) -> str:
    """What the contrast's factor has beside its two levels, and how to ask for it; empty when nothing."""
    others = [
        level for level in levels_of(runs.frame, contrast.factor) if level not in (contrast.first, contrast.second)
    ]
    if not others:
        return ""
    told = ", ".join(f"{contrast.factor}={show(level)}" for level in others)
    asked = f"contrast.factor={contrast.factor} contrast.levels=[{show(contrast.first)},{show(others[0])}]"
    return f"Not compared here: {told}; {asked} does."


def factors(runs: Runs) -> list[str]:
    """The keys that tell cells apart: those varied on purpose, then any other with several values.

    A key that only follows a group's choice (norm.affine follows norm) tells nothing more and is left out,
    and so is a derived one that follows the factors (norm.temperature follows the bits).
    """
    frame = runs.frame
    groups = [key for key in frame if key not in BOOKKEEPING and any(other.startswith(f"{key}.") for other in frame)]
    typed = [key for key in runs.factors if key in frame]
    varied = list(typed)
    for key in frame:
        if key in BOOKKEEPING or key in varied or len(levels_of(frame, key, absent=True)) < 2:
            continue
        if key in runs.derived and _follows(frame, key, typed):
            continue
        owners = [group for group in groups if group != key and len(levels_of(frame, group)) > 1]
        if not any(_follows(frame, key, [owner]) and key.startswith(f"{owner}.") for owner in owners):
            varied.append(key)
    return varied


def margins(runs: Runs, contrast: Contrast) -> list[MarginRow]:
    """The contrast in every cell of the other factors, paired by seed.

    All other factors match exactly. A key that only one arm has (norm.temperature under srelu) cannot:
    each of its levels is a row, against the same trials of the other arm. A derived key need not match, unless
    an arm has several of its levels in one cell; where the arms differ in one, a note says so.
    """
    keys = [key for key in factors(runs) if key != contrast.factor]
    frame = runs.frame
    arms = [frame[_is(frame[contrast.factor], level)] for level in (contrast.first, contrast.second)]
    own = [key for key in keys if key.startswith(f"{contrast.factor}.") and any(arm[key].isna().all() for arm in arms)]
    shared = [key for key in keys if key not in own]
    unmatched = [key for key in runs.derived if key in frame and key not in keys]
    unmatched = [key for key in unmatched if not key.startswith(f"{contrast.factor}.")]
    for _, cell in cells(pd.concat(arms), shared):
        parts = [_within(arm, cell) for arm in arms]
        if all(map(len, parts)):
            shared += [key for key in unmatched if any(len(levels_of(part, key, absent=True)) > 1 for part in parts)]
            unmatched = [key for key in unmatched if key not in shared]
    rows: list[MarginRow] = []
    for levels, cell in cells(pd.concat(arms), shared):
        first_cells, second_cells = ([*cells(_within(arm, cell), own)] or [({}, arm.iloc[:0])] for arm in arms)
        for first_levels, first in first_cells:
            for second_levels, second in second_cells:
                extra = {key: _either(first_levels.get(key), second_levels.get(key)) for key in own}
                rows.append(_margin_row({**levels, **extra}, first, second, contrast, unmatched))
    return _in_order(rows, frame)


def split_constants(rows: Sequence[MarginRow]) -> tuple[list[MarginRow], dict[str, Any]]:
    """The rows without the factors that stand at one level in all of them, and those factors' levels."""
    keys = rows[0].levels if rows else {}
    constant = {key: rows[0].levels[key] for key in keys if len({repr(row.levels[key]) for row in rows}) == 1}
    kept = [replace(row, levels={k: v for k, v in row.levels.items() if k not in constant}) for row in rows]
    return kept, constant


def _in_order(rows: list[MarginRow], frame: pd.DataFrame) -> list[MarginRow]:
    """By the first factor's levels, then the next one's; numbers by size."""
    keys = list(rows[0].levels) if rows else []
    levels = pd.DataFrame([row.levels for row in rows], columns=keys, dtype=object)
    return [rows[at] for at in levels.sort_values(keys, key=lambda c: places(frame, c)).index] if keys else rows


def _margin_row(
    levels: dict[str, Any], first: pd.DataFrame, second: pd.DataFrame, contrast: Contrast, unmatched: Sequence[str]
) -> MarginRow:
    notes = []
    for level, arm in ((contrast.first, first), (contrast.second, second)):
        if arm.empty:
            notes.append(f"{contrast.factor}={show(level)}: not run")
        ended_badly = arm.loc[arm["outcome"] != "done", "outcome"].value_counts()
        notes += [f"{contrast.factor}={show(level)}: {count} {kind}" for kind, count in ended_badly.items()]
    for key in unmatched:
        told = [", ".join(map(show, levels_of(arm, key, absent=True))) for arm in (first, second)]
        if told[0] != told[1] and len(first) and len(second):
            notes.append(f"{key} {told[0]} against {told[1]}")
    done = _done(first), _done(second)
    pairs = done[0].merge(done[1], on="seed", suffixes=("_first", "_second")).sort_values("seed")
    for level, of in zip((contrast.first, contrast.second), done, strict=True):
        alone = len(of) - len(pairs)
        if alone and len(first) and len(second):
            notes.append(f"{contrast.factor}={show(level)}: {alone} done without a partner of the same seed")
    diverged = (int((first["outcome"] == "diverged").sum()), int((second["outcome"] == "diverged").sum()))
    if pairs.empty:
        return MarginRow(levels, None, _mean(done[0]), _mean(done[1]), (), (), notes, diverged=diverged)
    accs = pairs["acc_first"].tolist(), pairs["acc_second"].tolist()
    return MarginRow(
        levels,
        margin(*accs),
        float(pairs["acc_first"].mean()),
        float(pairs["acc_second"].mean()),
        pairs["run_id_first"].tolist(),
        pairs["run_id_second"].tolist(),
        notes,
        dict(zip(pairs["seed"].tolist(), differences_pp(*accs).tolist(), strict=True)),
        diverged,
    )


def _done(arm: pd.DataFrame) -> pd.DataFrame:
    return arm.loc[(arm["outcome"] == "done") & arm["acc"].notna(), ["seed", "acc", "run_id"]]


def _mean(done: pd.DataFrame) -> float | None:
    return float(done["acc"].mean()) if len(done) else None


def levels_of(frame: pd.DataFrame, key: str, *, absent: bool = False) -> list[Any]:
    """A key's distinct values: numbers by size, then the rest in order of appearance."""
    if key not in frame:
        return []
    values = list(dict.fromkeys(frame[key].astype(object).where(frame[key].notna(), None)))
    there = [value for value in values if value is not None or absent]
    return sorted(there, key=lambda v: (not isinstance(v, int | float), v if isinstance(v, int | float) else 0))


def places(frame: pd.DataFrame, column: pd.Series) -> pd.Series:
    """Each value's place among the key's levels."""
    order = {repr(level): place for place, level in enumerate(levels_of(frame, str(column.name)))}
    return column.astype(object).map(lambda level: order.get(repr(level), -1))


def _follows(frame: pd.DataFrame, key: str, owners: Sequence[str]) -> bool:
    """Whether the owners' levels together leave the key no choice."""
    return bool(owners) and bool((frame.groupby(list(owners), dropna=False)[key].nunique(dropna=False) <= 1).all())


def cells(frame: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each combination of the keys' levels that is there, with its rows."""
    if frame.empty:
        return
    if not keys:
        yield {}, frame
        return
    texts = frame[list(keys)].astype(object)
    for _, cell in frame.groupby([texts[key].map(repr) for key in keys], sort=False):
        yield {key: cell[key].astype(object).iloc[0] for key in keys}, cell


def _within(arm: pd.DataFrame, cell: pd.DataFrame) -> pd.DataFrame:
    return arm[arm.index.isin(cell.index)]


def _is(column: pd.Series, level: Any) -> pd.Series:
    return column.astype(object).map(lambda value: value == level)


def _either(first: Any, second: Any) -> Any:
    return second if first is None or pd.isna(first) else first
