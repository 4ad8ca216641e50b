"""The numbers that the papers printed, one row per number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from ablate.core.errors import UsageError
from analysis.sources import origins
from analysis.sources.runs import Runs

PUBLISHED = Path(__file__).parents[1] / "published.csv"
PUBLISHED_FACTORS = ("source", "dataset", "augment", "depth", "width", "bits", "norm", "crops")


def printed(path: Path = PUBLISHED) -> pd.DataFrame:
    """Return the papers' numbers as the file has them, with the crops of each test image that its note states.

    `runs` is how many runs a number is the mean of: 1 where the file has no such column, or does not state it.

    Raises:
        UsageError: the file is not there, lacks a column, or has a value that is not a number.
    """
    needed = ["id", "epochs", "metric", "value", "note", *PUBLISHED_FACTORS[:-1]]
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"path={path}: cannot be read: {error}") from error
    missing = [column for column in needed if column not in rows]
    if missing:
        raise UsageError(f"path={path}: no column {', '.join(missing)}; allowed: the columns of {PUBLISHED.name}")
    value = pd.to_numeric(rows["value"], errors="coerce")
    stated = rows[list(PUBLISHED_FACTORS[:-1])].notna().all(axis=1)
    if (value.isna() & stated).any():
        raise UsageError(f"path={path}: {rows.loc[value.isna() & stated, 'id'].iloc[0]}: its value is not a number")
    crops = rows["note"].str.extract(r"(\d+) crops", expand=False)
    runs = rows["runs"].fillna(1).astype(int) if "runs" in rows else 1
    return rows.assign(value=value, crops=crops.fillna("1"), runs=runs)


def read(path: Path = PUBLISHED) -> Runs:
    """Return the numbers that the papers printed, one row per number. Error rates are turned into accuracies.

    Rows that do not state every factor are left out, because no row can be matched with them.

    Raises:
        UsageError: as `printed` does.
    """
    stated = printed(path).dropna(subset=list(PUBLISHED_FACTORS))
    value = stated["value"] / 100
    frame = stated[["epochs", *PUBLISHED_FACTORS]].assign(
        acc=value.where(stated["metric"] == "top1_acc_pct", 1 - value),
        seed=0,
        outcome="done",
        reason="",
        trial_id=stated["id"],
        run_id=stated["id"],
        code_version=stated["source"],
    )
    frame = frame.astype(dict.fromkeys(("depth", "bits", "epochs", "crops"), int))
    preferred = ("norm", ("bn_fixed", "srelu"))
    frame = frame.reset_index(drop=True)
    runs = Runs("published", frame, PUBLISHED_FACTORS, preferred, derived=("epochs",), kind="printed")
    return replace(runs, origin=origins.of_file(path))
