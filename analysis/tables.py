"""The tables of a report: margins and accuracies, for people and at full precision."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import pandas as pd

from ablate.design import show
from analysis.contrasts import Contrast, MarginRow, cells, factors, levels_of, places
from analysis.margin import Margin
from analysis.sources.runs import Runs

ABSENT = "–"


def accuracies(runs: Runs) -> pd.DataFrame:
    """Accuracy of every cell: a row each, with columns for the factors, n, failed, mean and sd in percent."""
    keys = factors(runs)
    rows = []
    frame = runs.frame.sort_values(keys, key=lambda column: places(runs.frame, column)) if keys else runs.frame
    for levels, cell in cells(frame, keys):
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


def by_arm(runs: Runs, key: str) -> pd.DataFrame:
    """Accuracy of each norm at each level of the key, over all other factors: a row each."""
    rows = []
    for level in levels_of(runs.frame, key):
        for norm in levels_of(runs.frame, "norm"):
            trials = runs.frame[(runs.frame[key] == level) & (runs.frame["norm"] == norm)]
            acc_pct = 100 * trials.loc[trials["outcome"] == "done", "acc"].dropna()
            rows.append(
                {
                    key: shown(level),
                    "norm": norm,
                    "n": len(acc_pct),
                    "diverged": int((trials["outcome"] == "diverged").sum()),
                    "test accuracy (%)": f"{acc_pct.mean():.2f}" if len(acc_pct) else ABSENT,
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
            "margin (pp)": signed(row.margin.mean_pp) if row.margin else ABSENT,
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


def footnotes(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with a letter in place of each note, and the notes that the letters stand for."""
    notes = [note for note in dict.fromkeys(table.get("notes", ())) if note]
    if not notes:
        return table.drop(columns="notes", errors="ignore"), []
    letters = {note: ascii_lowercase[index % 26] for index, note in enumerate(notes)}
    marked = table.assign(notes=table["notes"].map(lambda note: letters.get(note, "")))
    return marked.rename(columns={"notes": ""}), [f"{letters[note]}: {note}" for note in notes]


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
    return str(level)


def _percent(acc: float | None) -> str:
    return f"{100 * acc:.2f}" if acc is not None else ABSENT


def _interval(found: Margin | None) -> str:
    if found is None or found.low_pp is None or found.high_pp is None:
        return ABSENT
    return interval(found.low_pp, found.high_pp)


def interval(low_pp: float, high_pp: float) -> str:
    """Both ends with their sign.

    >>> interval(-0.5, 1.25)
    '-0.50 to +1.25'
    """
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
