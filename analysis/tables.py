"""From one row per trial to cells, contrasts and the tables that a report shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Any

import pandas as pd

from ablate.design import Mistake, show
from analysis.load import BOOKKEEPING, Runs
from analysis.margin import Margin, margin

ABSENT = "–"


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
    """A contrast in one cell: its other factors' levels, and the margin where both arms have a seed."""

    levels: dict[str, Any]
    margin: Margin | None
    first_acc: float | None
    second_acc: float | None
    first_runs: Sequence[str]
    second_runs: Sequence[str]
    notes: Sequence[str]


def choose_contrast(runs: Runs, factor: str | None, levels: Sequence[Any] | None) -> Contrast | None:
    """The contrast asked for, else the preferred one, else the first two levels of the first factor.

    None when nothing varies and nothing was asked for: then there is no contrast.

    Raises:
        Mistake: the study has no such factor or levels, naming those it has.
    """
    varying = [key for key in factors(runs) if len(_levels(runs.frame, key)) > 1]
    if factor is None:
        if not varying:
            return None
        name, pair = runs.preferred
        factor = name if set(pair) <= set(_levels(runs.frame, name)) else varying[0]
        levels = levels or (pair if factor == name else None)
    if factor not in varying:
        allowed = f"; allowed: {', '.join(varying)}" if varying else ", where nothing varies"
        raise Mistake(f"contrast.factor={factor}: not varied in study {runs.study}{allowed}")
    there = _levels(runs.frame, factor)
    levels = there[:2] if levels is None else list(levels)
    unknown = [level for level in levels if level not in there]
    if len(levels) != 2 or levels[0] == levels[1] or unknown:
        shown = ",".join(show(level) for level in levels)
        raise Mistake(f"contrast.levels=[{shown}]: allowed: two of {', '.join(map(show, there))}")
    return Contrast(factor, *levels)


def factors(runs: Runs) -> list[str]:
    """The keys that tell cells apart: those varied on purpose, then any other with several values.

    A key that only follows a group's choice (norm.affine follows norm) tells nothing more and is left out.
    """
    frame = runs.frame
    groups = [key for key in frame if key not in BOOKKEEPING and any(other.startswith(f"{key}.") for other in frame)]
    varied = [key for key in runs.factors if key in frame]
    for key in frame:
        if key in BOOKKEEPING or key in varied or len(_levels(frame, key, absent=True)) < 2:
            continue
        owners = [group for group in groups if group != key and len(_levels(frame, group)) > 1]
        if not any(_follows(frame, key, owner) and key.startswith(f"{owner}.") for owner in owners):
            varied.append(key)
    return varied


def margins(runs: Runs, contrast: Contrast) -> list[MarginRow]:
    """The contrast in every cell of the other factors, paired by seed.

    All other factors match exactly. A key that only one arm has (norm.temperature under srelu) cannot:
    each of its levels is a row, against the same trials of the other arm.
    """
    keys = [key for key in factors(runs) if key != contrast.factor]
    frame = runs.frame
    arms = [frame[_is(frame[contrast.factor], level)] for level in (contrast.first, contrast.second)]
    own = [key for key in keys if key.startswith(f"{contrast.factor}.") and any(arm[key].isna().all() for arm in arms)]
    shared = [key for key in keys if key not in own]
    rows: list[MarginRow] = []
    for levels, cell in _cells(pd.concat(arms), shared):
        first_cells, second_cells = ([*_cells(_within(arm, cell), own)] or [({}, arm.iloc[:0])] for arm in arms)
        for first_levels, first in first_cells:
            for second_levels, second in second_cells:
                extra = {key: _either(first_levels.get(key), second_levels.get(key)) for key in own}
                rows.append(_margin_row({**levels, **extra}, first, second, contrast))
    return _in_order(rows, frame)


def split_constants(rows: Sequence[MarginRow]) -> tuple[list[MarginRow], dict[str, Any]]:
    """The rows without the factors that stand at one level in all of them, and those factors' levels."""
    keys = rows[0].levels if rows else {}
    constant = {key: rows[0].levels[key] for key in keys if len({repr(row.levels[key]) for row in rows}) == 1}
    kept = [replace(row, levels={k: v for k, v in row.levels.items() if k not in constant}) for row in rows]
    return kept, constant


def footnotes(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with a letter in place of each note, and the notes that the letters stand for."""
    notes = [note for note in dict.fromkeys(table.get("notes", ())) if note]
    if not notes:
        return table.drop(columns="notes", errors="ignore"), []
    letters = {note: ascii_lowercase[index % 26] for index, note in enumerate(notes)}
    marked = table.assign(notes=table["notes"].map(lambda note: letters.get(note, "")))
    return marked.rename(columns={"notes": ""}), [f"{letters[note]}: {note}" for note in notes]


def accuracies(runs: Runs) -> pd.DataFrame:
    """Accuracy of every cell: a row each, with columns for the factors, n, failed, mean and sd in percent."""
    keys = factors(runs)
    rows = []
    frame = runs.frame.sort_values(keys, key=lambda column: _places(runs.frame, column)) if keys else runs.frame
    for levels, cell in _cells(frame, keys):
        acc_pct = 100 * cell.loc[cell["outcome"] == "done", "acc"].dropna()
        rows.append(
            {key: shown(levels[key]) for key in keys}
            | {
                "n": len(acc_pct),
                "not done": int((cell["outcome"] != "done").sum()),
                "test accuracy (%)": f"{acc_pct.mean():.2f}" if len(acc_pct) else ABSENT,
                "sd": f"{acc_pct.std():.2f}" if len(acc_pct) > 1 else ABSENT,
            }
        )
    return pd.DataFrame(rows)


def cell_names(runs: Runs) -> pd.Series:
    """Each trial's cell as one would type it, in the frame's order."""
    keys = factors(runs)
    names = [
        " ".join(f"{key}={shown(level)}" for key, level in zip(keys, row, strict=True) if not pd.isna(level))
        for row in runs.frame[keys].astype(object).itertuples(index=False)
    ]
    return pd.Series([name or "all trials" for name in names], index=runs.frame.index)


def margins_for_people(rows: Sequence[MarginRow], contrast: Contrast) -> pd.DataFrame:
    """The margins to two decimals, in percentage points."""
    first, second = show(contrast.first), show(contrast.second)
    return pd.DataFrame(
        {key: shown(level) for key, level in row.levels.items()}
        | {
            f"{first} (%)": _percent(row.first_acc),
            f"{second} (%)": _percent(row.second_acc),
            "margin (pp)": f"{row.margin.mean_pp:+.2f}" if row.margin else ABSENT,
            "95% interval": _interval(row.margin),
            "n": row.margin.n if row.margin else 0,
            "notes": "; ".join(row.notes),
        }
        for row in rows
    )


def margins_in_full(rows: Sequence[MarginRow], contrast: Contrast) -> pd.DataFrame:
    """The margins at full precision with the ids of the runs that they rest on."""
    return pd.DataFrame(
        row.levels
        | {
            "factor": contrast.factor,
            "first": contrast.first,
            "second": contrast.second,
            "first_acc": row.first_acc,
            "second_acc": row.second_acc,
            "margin_pp": row.margin.mean_pp if row.margin else None,
            "low_pp": row.margin.low_pp if row.margin else None,
            "high_pp": row.margin.high_pp if row.margin else None,
            "sd_pp": row.margin.sd_pp if row.margin else None,
            "n": row.margin.n if row.margin else 0,
            "notes": "; ".join(row.notes),
            "first_runs": " ".join(row.first_runs),
            "second_runs": " ".join(row.second_runs),
        }
        for row in rows
    )


def _in_order(rows: list[MarginRow], frame: pd.DataFrame) -> list[MarginRow]:
    """By the first factor's levels, then the next one's; numbers by size."""
    keys = list(rows[0].levels) if rows else []
    levels = pd.DataFrame([row.levels for row in rows], columns=keys, dtype=object)
    return [rows[at] for at in levels.sort_values(keys, key=lambda c: _places(frame, c)).index] if keys else rows


def _margin_row(levels: dict[str, Any], first: pd.DataFrame, second: pd.DataFrame, contrast: Contrast) -> MarginRow:
    notes = []
    for level, arm in ((contrast.first, first), (contrast.second, second)):
        if arm.empty:
            notes.append(f"{show(level)} not run")
        ended_badly = arm.loc[arm["outcome"] != "done", "outcome"].value_counts()
        notes += [f"{show(level)}: {count} {kind}" for kind, count in ended_badly.items()]
    if "epochs" in first and set(first["epochs"]) != set(second["epochs"]) and len(first) and len(second):
        told = [", ".join(str(epochs) for epochs in sorted(set(arm["epochs"]))) for arm in (first, second)]
        notes.append(f"epochs differ: {told[0]} against {told[1]}")
    pairs = _done(first).merge(_done(second), on="seed", suffixes=("_first", "_second")).sort_values("seed")
    alone = len(_done(first)) + len(_done(second)) - 2 * len(pairs)
    if alone and not first.empty and not second.empty:
        notes.append(f"{alone} done without a partner of the same seed")
    if pairs.empty:
        return MarginRow(levels, None, _mean(_done(first)), _mean(_done(second)), (), (), notes)
    found = margin(pairs["acc_first"].tolist(), pairs["acc_second"].tolist())
    return MarginRow(
        levels,
        found,
        float(pairs["acc_first"].mean()),
        float(pairs["acc_second"].mean()),
        pairs["run_id_first"].tolist(),
        pairs["run_id_second"].tolist(),
        notes,
    )


def _done(arm: pd.DataFrame) -> pd.DataFrame:
    return arm.loc[(arm["outcome"] == "done") & arm["acc"].notna(), ["seed", "acc", "run_id"]]


def _mean(done: pd.DataFrame) -> float | None:
    return float(done["acc"].mean()) if len(done) else None


def _levels(frame: pd.DataFrame, key: str, *, absent: bool = False) -> list[Any]:
    """A key's distinct values: numbers by size, then the rest in order of appearance."""
    if key not in frame:
        return []
    values = list(dict.fromkeys(frame[key].astype(object).where(frame[key].notna(), None)))
    there = [value for value in values if value is not None or absent]
    return sorted(there, key=lambda v: (not isinstance(v, int | float), v if isinstance(v, int | float) else 0))


def _places(frame: pd.DataFrame, column: pd.Series) -> pd.Series:
    """Each value's place among the key's levels."""
    order = {repr(level): place for place, level in enumerate(_levels(frame, str(column.name)))}
    return column.astype(object).map(lambda level: order.get(repr(level), -1))


def _follows(frame: pd.DataFrame, key: str, owner: str) -> bool:
    return bool((frame.groupby(owner, dropna=False)[key].nunique(dropna=False) <= 1).all())


def _cells(frame: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
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


def shown(level: Any) -> str:
    """A level for people: no trailing .0, and a dash for a key that the cell does not have."""
    if level is None or (isinstance(level, float) and pd.isna(level)):
        return ABSENT
    if isinstance(level, float) and level.is_integer():
        return str(int(level))
    return str(level)


def _percent(acc: float | None) -> str:
    return f"{100 * acc:.2f}" if acc is not None else ABSENT


def _interval(found: Margin | None) -> str:
    if found is None or found.low_pp is None or found.high_pp is None:
        return ABSENT
    return f"{found.low_pp:+.2f} to {found.high_pp:+.2f}"
