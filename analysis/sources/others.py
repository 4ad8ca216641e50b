"""Runs that `ablate.run` did not make, from MLflow or a CSV file, as one row per run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ablate.core.errors import UsageError
from ablate.core.levels import Level, show
from ablate.tracking import encoding
from analysis.sources import csv_table, origins
from analysis.sources.measure import Unit, measured
from analysis.sources.origins import Origin
from analysis.sources.outcomes import column_of, is_of_process, outcome
from analysis.sources.runs import BOOKKEEPING, Runs
from analysis.sources.studies import experiment_of, pages

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

MOST_NAMES = 15
"""Names that an error message lists."""

MOST = 1e12
"""A metric as large as this is taken for an error."""

RESERVED = {
    *BOOKKEEPING,
    *("value", "n", "planned", "notes", "verdict", "in_words", "factor", "first", "second", "cell", "arm", "levels"),
}
"""Names of the report's own columns, which a factor cannot have."""

_STATUS = {"FAILED": "error", "KILLED": "interrupted", "RUNNING": "running", "SCHEDULED": "running"}


@dataclass(frozen=True)
class RunsRequest:
    """What the user typed about other runs: the metric to compare, and the columns that tell the runs apart."""

    metric: str
    factors: Sequence[str]
    seed: str = "seed"
    lower_is_better: bool = False
    unit: Unit | None = None


def from_csv(path: Path, request: RunsRequest) -> Runs:
    """Return one row per run. Columns `outcome` (done, diverged, ...), `run_id` and `code_version` are optional.

    Raises:
        UsageError: the file cannot be read, lacks a column that the request names or has it twice, or has a row that
            is no run.
    """
    _check_request(request)
    table = csv_table.read(path)
    text, lines = table.text, [f"row {line}" for line in table.lines]
    if text.empty:
        raise UsageError(f"path={path}: it has no rows; allowed: one row per run")
    columns = [str(column) for column in text]
    _check_names(request, columns, columns, f"path={path}: no column", "columns")
    chosen = {*request.factors, request.seed, request.metric}
    outcomes = column_of({name: text[name].tolist() for name in columns if name not in chosen})
    used = {*chosen, "run_id", "code_version", *([outcomes] if outcomes else [])}
    for name in table.repeated:
        if name in used:
            raise UsageError(f"path={path}: column {name} is there twice; allowed: each name once")
    figures, notes, in_percent = csv_table.numbers(table, request.metric)
    if in_percent:
        request = _in_percent(request)
        notes.append(f"{request.metric} has percent signs (unit=percent).")
    typed = csv_table.values(text.assign(**{request.metric: figures}))
    frame = (
        typed[list(request.factors)]
        .apply(csv_table.levels)
        .assign(
            seed=typed[request.seed].mask(text[request.seed].map(csv_table.is_absent)),
            value=pd.to_numeric(typed[request.metric], errors="coerce"),
            run_id=typed["run_id"].astype(str) if "run_id" in typed else lines,
            code_version=typed["code_version"].astype(str) if "code_version" in typed else "unknown",
        )
    )
    wheres = [f"path={path}: {line} ({_cell(row, request)})" for line, row in zip(lines, _rows(frame), strict=True)]
    frame["outcome"] = _outcomes(text, outcomes, frame["value"], request.metric, wheres)
    for where, row, figure in zip(wheres, _rows(frame), text[request.metric], strict=True):
        _check_row(where, row, figure, request)
    if not (frame["outcome"] == "done").any():
        known = _some(sorted(set(frame["outcome"])))
        raise UsageError(
            f"path={path}: column {outcomes}: no row says done; it has {known}; allowed: done, diverged, ..."
        )
    if outcomes and is_of_process(outcomes):
        notes.append(f"Column {outcomes} says what became of each run.")
    others = typed.drop(columns=[name for name in typed if name in used])
    runs = _runs(path.stem, frame, request, [*notes, *_difference_warnings(others)])
    return replace(runs, origin=origins.of_file(path))


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")


def _in_percent(request: RunsRequest) -> RunsRequest:
    if request.unit not in (None, Unit.percent):
        raise UsageError(
            f"unit={request.unit.name}: the values of {request.metric} have percent signs; allowed: unit=percent"
        )
    return replace(request, unit=Unit.percent)


def _outcomes(
    text: pd.DataFrame, column: str | None, value: pd.Series[float], metric: str, wheres: Sequence[str]
) -> list[str]:
    """Return what became of each run. Of a process that ended, the number tells whether the run did."""
    if column is None:
        return ["done"] * len(text)
    results = []
    for where, word, number, figure in zip(wheres, text[column], value, text[metric], strict=True):
        try:
            result = outcome(word)
        except UsageError as error:
            raise UsageError(f"{where}: {column}={error}") from error
        if result == "done" and is_of_process(column):
            unknown = math.isnan(number) and csv_table.is_absent(figure)
            result = "diverged" if figure.casefold() == "nan" else "no metric" if unknown else result
            result = "diverged" if math.isinf(number) else result
        results.append(result)
    return results


def _check_row(where: str, row: Mapping[Any, Any], figure: str, request: RunsRequest) -> None:
    """Raise UsageError for a row of a CSV file that is no run."""
    empty = [key for key in (*request.factors, "seed") if pd.isna(row[key])]
    if empty:
        raise UsageError(
            f"{where}: {', '.join(empty)} is empty; allowed: a level of each factor and a seed in each row"
        )
    if row["outcome"] == "done" and not abs(row["value"]) < MOST:
        raise UsageError(
            f"{where}: {request.metric}={figure}: allowed: a number, as 0.91; or a column outcome that says diverged"
        )


def _check_request(request: RunsRequest) -> None:
    typed = f"factors=[{','.join(request.factors)}]"
    for key in request.factors:
        if key in RESERVED:
            raise UsageError(
                f"{typed}: {key} is a column of the report itself; allowed: a column or param of another name"
            )
        if key in (request.metric, request.seed) or list(request.factors).count(key) > 1:
            raise UsageError(f"{typed}: {key} is named twice; allowed: metric, seed and each factor apart")
    if request.metric == request.seed:
        raise UsageError(f"metric={request.metric}: it is the seed too; allowed: another one, or seed= another one")


def from_mlflow(client: MlflowClient, study: str, request: RunsRequest) -> Runs:
    """Return the runs of an experiment; their params are the levels.

    A finished run is done, or diverged where its metric is no finite number.

    Raises:
        UsageError: no run has such a metric, factor or seed. The message names those there are.
    """
    _check_request(request)
    runs = pages(client.search_runs, [experiment_of(client, study)], order_by=["attributes.start_time ASC"])
    metrics, params = _keys(run.data.metrics for run in runs), _keys(run.data.params for run in runs)
    if not runs:
        raise UsageError(f"study={study}: it has no runs")
    _check_names(request, metrics, params, f"study={study}: no run has", "params")
    designed = [run for run in runs if {*request.factors} <= run.data.params.keys()]
    seedless = [run for run in designed if request.seed not in run.data.params]
    if seedless:
        run = seedless[0].info
        raise UsageError(
            f"study={study}: run {run.run_name} ({run.run_id}) has no param {request.seed}; {_allowed(params)}"
        )
    frame = pd.DataFrame([_row(run, request) for run in designed])
    notes = []
    if len(runs) > len(designed):
        notes.append(f"Left out: runs without {', '.join(request.factors)}: {len(runs) - len(designed)}.")
    others = pd.DataFrame([{k: v for k, v in run.data.params.items() if k in params} for run in designed])
    others = others.drop(columns=[key for key in (*request.factors, request.seed) if key in others])
    read = _runs(study, frame, request, [*notes, *_difference_warnings(others)])
    return replace(read, origin=Origin(machines={run.info.run_id: origins.of_tags(run.data.tags) for run in designed}))


def what_there_is(client: MlflowClient, study: str) -> str:
    """Return the metrics and params of an experiment's runs as text, for a user who has named none."""
    runs = pages(client.search_runs, [experiment_of(client, study)])
    metrics, params = _keys(run.data.metrics for run in runs), _keys(run.data.params for run in runs)
    return f"metric= one of {_some(metrics)}; factors=[...] of {_some(params)}"


def _row(run: Run, request: RunsRequest) -> dict[str, Any]:
    value, status = run.data.metrics.get(request.metric), run.info.status
    value = None if value is None else encoding.metric(value)
    result = "no metric" if value is None else "done" if math.isfinite(value) else "diverged"
    return {key: _level(run.data.params[key]) for key in request.factors} | {
        "seed": _level(run.data.params[request.seed]),
        "outcome": result if status == "FINISHED" else _STATUS.get(status, "error"),
        "value": math.nan if value is None else value,
        "run_id": run.info.run_id,
        "code_version": run.data.tags.get("mlflow.source.git.commit", "unknown")[:7],
    }


def _level(text: str) -> Level:
    """Return a param as a level. A word for nothing, as null, is a level of theirs like others."""
    value = encoding.level(text)
    return text if value is None or value != value else value


def _runs(study: str, frame: pd.DataFrame, request: RunsRequest, notes: Sequence[str]) -> Runs:
    frame = _without_repeats(frame, request)
    measure, acc, note = measured(
        request.metric,
        frame["value"].where(frame["outcome"] == "done"),
        unit=request.unit,
        lower_is_better=request.lower_is_better,
    )
    numbered = frame["seed"].map(lambda seed: isinstance(seed, int | float)).all()
    frame = frame.assign(
        acc=acc,
        seed=frame["seed"] if numbered else frame["seed"].astype(str),
        trial_id=frame["run_id"],
        reason="",
        machine="",
    ).drop(columns="value")
    return Runs(
        study, frame, list(request.factors), measure=measure, kind="others", notes=[*notes, *filter(None, [note])]
    )


def _without_repeats(frame: pd.DataFrame, request: RunsRequest) -> pd.DataFrame:
    """Return one row for each cell and seed: the done one, or else the last.

    Raises:
        UsageError: two runs of one cell and seed are done.
    """
    keys = [*request.factors, "seed"]
    texts = frame[keys].astype(object).map(repr).agg(" ".join, axis=1)
    kept = []
    for _, rows in frame.groupby(texts, sort=False):
        done = rows[rows["outcome"] == "done"]
        if len(done) > 1:
            first, second = done["run_id"].iloc[:2]
            cell = _cell(rows.iloc[0].to_dict(), request)
            raise UsageError(f"{first} and {second} are both {cell}; allowed: factors=[...] that tell them apart")
        kept.append((done if len(done) else rows.iloc[-1:]).index[0])
    return frame.loc[sorted(kept)].reset_index(drop=True)


def _check_names(request: RunsRequest, metrics: Sequence[str], params: Sequence[str], lacks: str, kind: str) -> None:
    """Raise UsageError for a name that no run has.

    Args:
        request: what the user typed.
        metrics: the names of metrics that there are.
        params: the names of params, or columns, that there are.
        lacks: the beginning of the message.
        kind: what `params` are, in the plural.
    """
    if request.metric not in metrics:
        raise UsageError(f"{lacks} metric={request.metric}; allowed: {_some(metrics)}")
    for key in request.factors:
        if key not in params:
            raise UsageError(f"{lacks} {key}, of factors=[{','.join(request.factors)}]; {_allowed(params)}")
    if request.seed not in params:
        raise UsageError(f"{lacks} seed={request.seed}; allowed: one of the {kind} {_some(params)}")


def _difference_warnings(others: pd.DataFrame) -> list[str]:
    """Return a warning where the runs differ in the other columns too."""
    names = [str(key) for key in others if others[key].astype(object).map(repr).nunique() > 1]
    if not names:
        return []
    return [f"Runs differ in more than the factors: {_some(names)}. They are paired all the same, by factors and seed."]


def _cell(row: Mapping[Any, Any], request: RunsRequest) -> str:
    return " ".join(f"{key}={show(row[key])}" for key in (*request.factors, "seed") if not pd.isna(row[key]))


def _keys(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return sorted({key for mapping in mappings for key in mapping})


def _allowed(names: Sequence[str]) -> str:
    return f"allowed: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "") if names else "none"
