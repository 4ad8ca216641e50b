"""Runs that `ablate.run` did not make, in MLflow or in a CSV -> one row per run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.core.errors import UsageError
from ablate.core.levels import show
from ablate.tracking.record import level
from analysis.sources.runs import BOOKKEEPING, Runs, measured
from analysis.sources.studies import experiment_of, pages

MOST_NAMES = 15
MOST = 1e12
"""No metric is as large: it would be a mistake, or not a number."""

RESERVED = {
    *BOOKKEEPING,
    *("value", "n", "planned", "notes", "verdict", "in_words", "factor", "first", "second", "cell", "arm", "levels"),
}
"""Names that the report's own columns have."""

_STATUS = {"FAILED": "error", "KILLED": "interrupted", "RUNNING": "running", "SCHEDULED": "running"}


@dataclass(frozen=True)
class Asked:
    """What tells the runs apart and what to compare of them, as typed."""

    metric: str
    factors: Sequence[str]
    seed: str = "seed"
    lower_is_better: bool = False


def from_csv(path: Path, asked: Asked) -> Runs:
    """One row per run. Columns `outcome` (done, diverged, ...), `run_id` and `code_version` are used where they are.

    Raises:
        UsageError: the file cannot be read, lacks a column that was named, or has a row that is no run.
    """
    _check_asked(asked)
    table = _table(path)
    if table.empty:
        raise UsageError(f"path={path}: it has no rows; allowed: one row per run")
    columns = [str(column) for column in table]
    _check_names(asked, columns, columns, f"path={path}: no column", "columns")
    names = [f"row {place}" for place in range(2, len(table) + 2)]  # as an editor counts them
    frame = table[list(asked.factors)].assign(
        seed=table[asked.seed],
        outcome=table["outcome"].fillna("missing").astype(str) if "outcome" in table else "done",
        value=pd.to_numeric(table[asked.metric], errors="coerce"),
        run_id=table["run_id"].astype(str) if "run_id" in table else names,
        code_version=table["code_version"].astype(str) if "code_version" in table else "unknown",
    )
    for place, row in enumerate(frame.to_dict("records")):
        where = f"path={path}: {names[place]} ({_cell(row, asked)})"
        empty = [key for key in (*asked.factors, "seed") if pd.isna(row[key])]
        if empty:
            raise UsageError(
                f"{where}: {', '.join(empty)} is empty; allowed: a level of each factor and a seed in each row"
            )
        if row["outcome"] == "done" and not abs(row["value"]) < MOST:
            got = show(table[asked.metric].astype(object).iloc[place])
            raise UsageError(
                f"{where}: {asked.metric}={got}: allowed: a number; or a column outcome that says diverged"
            )
    if not (frame["outcome"] == "done").any():
        held = _some(sorted(set(frame["outcome"])))
        raise UsageError(f"path={path}: column outcome: no row says done; it has {held}; allowed: done, diverged, ...")
    known = {*asked.factors, asked.seed, asked.metric, "outcome", "run_id", "code_version"}
    return _runs(path.stem, frame, asked, _unlike(table.drop(columns=[*known & {*table}])))


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
        header = str(table.columns[0])
        other = next((mark for mark in ";\t" if mark in header), None) if len(table.columns) == 1 else None
        table = pd.read_csv(path, sep=other) if other else table
    except (OSError, ValueError) as error:
        raise UsageError(f"path={path}: cannot be read: {str(error).splitlines()[0]}") from error
    return table.rename(columns=lambda name: str(name).strip())


def _check_asked(asked: Asked) -> None:
    told = f"factors=[{','.join(asked.factors)}]"
    for key in asked.factors:
        if key in RESERVED:
            raise UsageError(
                f"{told}: {key} is a word of the report itself; allowed: a column or param of another name"
            )
        if key in (asked.metric, asked.seed) or list(asked.factors).count(key) > 1:
            raise UsageError(f"{told}: {key} is named twice; allowed: metric, seed and each factor apart")
    if asked.metric == asked.seed:
        raise UsageError(f"metric={asked.metric}: it is the seed too; allowed: another one, or seed= another one")


def from_mlflow(client: Any, study: str, asked: Asked) -> Runs:
    """The runs of an experiment; params are their levels.

    Finished with the metric is done; finished with one that is no finite number is diverged.

    Raises:
        UsageError: no run has such a metric, factor or seed, naming those there are.
    """
    _check_asked(asked)
    found = pages(client.search_runs, [experiment_of(client, study)], order_by=["attributes.start_time ASC"])
    metrics, params = _keys(run.data.metrics for run in found), _keys(run.data.params for run in found)
    if not found:
        raise UsageError(f"study={study}: it has no runs")
    _check_names(asked, metrics, params, f"study={study}: no run has", "params")
    designed = [run for run in found if {*asked.factors} <= run.data.params.keys()]
    seedless = [run for run in designed if asked.seed not in run.data.params]
    if seedless:
        run = seedless[0].info
        raise UsageError(
            f"study={study}: run {run.run_name} ({run.run_id}) has no param {asked.seed}; {_allowed(params)}"
        )
    frame = pd.DataFrame([_row(run, asked) for run in designed])
    notes = [f"Left out: runs without {', '.join(asked.factors)}: {len(found) - len(designed)}."]
    others = pd.DataFrame([{k: v for k, v in run.data.params.items() if k in params} for run in designed])
    others = others.drop(columns=[key for key in (*asked.factors, asked.seed) if key in others])
    return _runs(study, frame, asked, [*notes * (len(found) > len(designed)), *_unlike(others)])


def what_there_is(client: Any, study: str) -> str:
    """The metrics and params of an experiment's runs, for somebody who has named none."""
    found = pages(client.search_runs, [experiment_of(client, study)])
    metrics, params = _keys(run.data.metrics for run in found), _keys(run.data.params for run in found)
    return f"metric= one of {_some(metrics)}; factors=[...] of {_some(params)}"


def _row(run: Any, asked: Asked) -> dict[str, Any]:
    value, status = run.data.metrics.get(asked.metric), run.info.status
    finished = "no metric" if value is None else "done" if math.isfinite(value) else "diverged"
    return {key: level(run.data.params[key]) for key in asked.factors} | {
        "seed": level(run.data.params[asked.seed]),
        "outcome": finished if status == "FINISHED" else _STATUS.get(status, "error"),
        "value": math.nan if value is None else value,
        "run_id": run.info.run_id,
        "code_version": run.data.tags.get("mlflow.source.git.commit", "unknown")[:7],
    }


def _runs(study: str, frame: pd.DataFrame, asked: Asked, notes: Sequence[str]) -> Runs:
    frame = _without_repeats(frame, asked)
    measure, acc = measured(
        asked.metric, frame["value"].where(frame["outcome"] == "done"), lower_is_better=asked.lower_is_better
    )
    numbered = frame["seed"].map(lambda seed: isinstance(seed, int | float)).all()
    frame = frame.assign(
        acc=acc,
        seed=frame["seed"] if numbered else frame["seed"].astype(str),
        trial_id=frame["run_id"],
        reason="",
        machine="",
    ).drop(columns="value")
    return Runs(study, frame, list(asked.factors), measure=measure, kind="others", notes=notes)


def _without_repeats(frame: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """A failed run whose repeat is done makes way for it; two that are done are one too many."""
    keys = [*asked.factors, "seed"]
    texts = frame[keys].astype(object).map(repr).agg(" ".join, axis=1)
    kept = []
    for _, its in frame.groupby(texts, sort=False):
        done = its[its["outcome"] == "done"]
        if len(done) > 1:
            first, second = done["run_id"].iloc[:2]
            cell = _cell(its.iloc[0].to_dict(), asked)
            raise UsageError(f"{first} and {second} are both {cell}; allowed: factors=[...] that tell them apart")
        kept.append((done if len(done) else its.iloc[-1:]).index[0])
    return frame.loc[sorted(kept)].reset_index(drop=True)


def _check_names(asked: Asked, metrics: Sequence[str], params: Sequence[str], none: str, kind: str) -> None:
    if asked.metric not in metrics:
        raise UsageError(f"{none} metric={asked.metric}; allowed: {_some(metrics)}")
    for key in asked.factors:
        if key not in params:
            raise UsageError(f"{none} {key}, of factors=[{','.join(asked.factors)}]; {_allowed(params)}")
    if asked.seed not in params:
        raise UsageError(f"{none} seed={asked.seed}; allowed: one of the {kind} {_some(params)}")


def _unlike(others: pd.DataFrame) -> list[str]:
    """What else the runs differ in, as a warning."""
    names = [str(key) for key in others if others[key].astype(object).map(repr).nunique() > 1]
    told = f"Runs differ in more than the factors: {_some(names)}. They are paired all the same, by factors and seed."
    return [told] * bool(names)


def _cell(row: dict[Any, Any], asked: Asked) -> str:
    return " ".join(f"{key}={show(row[key])}" for key in (*asked.factors, "seed") if not pd.isna(row[key]))


def _keys(of: Iterable[Any]) -> list[str]:
    return sorted({key for one in of for key in one})


def _allowed(names: Sequence[str]) -> str:
    return f"allowed: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "") if names else "none"
