"""Our own studies in MLflow, as one row per trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ablate.core import garbage, invocation, provenance
from ablate.core.errors import UsageError
from ablate.core.identity import ADDED_LATER, CODE, OUTSIDE_IDENTITY
from ablate.core.levels import Level, show
from ablate.core.study import PREFERRED
from ablate.tracking import encoding, metric_names
from ablate.tracking.artifacts import REPORT_FOLDER
from ablate.tracking.record import (
    Kind,
    StudyRecord,
    TrialRecord,
    of_kind,
    requested_at,
    requested_by,
)
from analysis.sources import origins
from analysis.sources.measure import Unit, measured
from analysis.sources.origins import Origin
from analysis.sources.outcomes import DIVERGED, DONE
from analysis.sources.runs import COSTS, Choice, Runs

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

TEST_ACC = "test_acc"

Recorded = tuple["Run", TrialRecord]
"""A trial's run in MLflow, and what its tags and params record."""


def read(
    client: MlflowClient,
    study: str | None = None,
    metric: str | None = None,
    *,
    unit: Unit | None = None,
    lower_is_better: bool = False,
) -> Runs:
    """Return the trials of a study in MLflow; of the study that was requested last when `study` is None.

    `acc` is the test accuracy, or another metric of theirs.

    Raises:
        UsageError: there is no such study, it has no trials, or no trial has the metric. The message names what there
            is.
    """
    metric = metric_names.of_event(metric) if metric else None  # people copy names from MLflow's pages
    study, parent = _parent(client, study)
    record = StudyRecord.from_tags(parent.data.tags)
    trials = [_recorded(run) for run in _trials(client, parent.info.experiment_id, "trial")]
    frame = _frame(study, trials, record, metric)
    choices = [Choice(**chosen) for chosen in record.chosen]
    frame, not_chosen = _as_chosen(frame, choices, int(record.request.get("tune", {}).get("searches", 1)))
    frame, drawn_otherwise = _as_drawn(frame, record.drawn)
    frame, dropped = _as_requested(frame, record.request.get("left_out", {}))
    if frame.empty:
        raise UsageError(f"study={study}: none of the trials of its last line is here yet")
    frame, coded_otherwise = _as_coded(frame, record.request.get("code", {}))
    left_out = {
        "of what tuning chose when the study was requested otherwise": not_chosen,
        "whose nuisance values were drawn otherwise": drawn_otherwise,
        f"with earlier code of {', '.join(record.request.get('code', {}))}": coded_otherwise,
        _dropped_levels(record.request): dropped,
    }
    runs = Runs(
        study,
        frame,
        list(record.factors),
        preferred=(record.contrast[0], record.contrast[1]) if record.contrast else PREFERRED,
        derived=list(record.derived),
        nuisance=tuple(record.request.get("nuisance", ())),
        metadata=record.request,
        tried=_tried(client, parent.info.experiment_id, record.tried),
        choices=choices,
        parent_run_id=parent.info.run_id,
        notes=[f"Left out: {count} trials {which}." for which, count in left_out.items() if count],
        origin=Origin(record.requests, {run.info.run_id: origins.of_trial(trial) for run, trial in trials}),
    )
    if metric in (None, TEST_ACC):
        return runs
    if unit is None and metric.endswith("_acc"):
        unit = Unit.fraction  # as trials record every accuracy
    measure, acc, note = measured(metric, frame["acc"], unit=unit, lower_is_better=lower_is_better)
    frame, notes = frame.assign(acc=acc), [*runs.notes, *filter(None, [note])]
    # "others": the papers speak of test accuracy
    return replace(runs, frame=frame, measure=measure, notes=notes, kind="others")


def _dropped_levels(request: Mapping[str, Any]) -> str:
    """Return which trials are left out since the study's last line has fewer levels than earlier ones."""
    dropped = request.get("left_out", {"levels": {}, "looked": False})
    levels = ", ".join(f"{factor}={level}" for factor, names in dropped["levels"].items() for level in names)
    when = ". They were dropped after a look: verdicts are adjusted for what is left alone" * dropped["looked"]
    return f"of {levels}, which the study's last line does not ask for{when}"


def _as_coded(frame: pd.DataFrame, code: Mapping[str, Sequence[str]]) -> tuple[pd.DataFrame, int]:
    """Return the rows whose own parts have the code of their last request, and the number of rows left out."""
    keep = pd.Series(True, index=frame.index)
    for group in (key.removesuffix("._target_") for key in map(str, frame) if key.endswith("._target_") and code):
        key, code_key = f"{group}._target_", f"{group}.{CODE}"
        codes = frame[code_key].fillna("") if code_key in frame else pd.Series("", index=frame.index)
        for target, fingerprints in code.items():
            keep &= (frame[key] != target) | codes.isin(fingerprints)
    return frame[keep].reset_index(drop=True), int((~keep).sum())


def _as_requested(frame: pd.DataFrame, left_out: Mapping[str, Any]) -> tuple[pd.DataFrame, int]:
    """Return the rows without the levels that the last request does not have, and the number of rows left out."""
    keep = pd.Series(True, index=frame.index)
    for factor, levels in left_out.get("levels", {}).items():
        if factor in frame:
            keep &= ~frame[factor].astype(object).where(frame[factor].notna(), None).map(show).isin(levels)
    return frame[keep].reset_index(drop=True), int((~keep).sum())


def _parent(client: MlflowClient, study: str | None) -> tuple[str, Run]:
    """Return the study's name and its parent run; by default of the user's own study that was requested last."""
    parents = _parents(client)
    if not parents:
        raise UsageError(f"no study here yet; run one first: {invocation.command('run')} -m norm=bn,srelu bits=1,32")
    if study is None:
        own = [name for name, run in parents.items() if requested_by(run.data.tags) == provenance.name()]
        study = max(own or parents, key=lambda name: requested_at(parents[name].data.tags))
    if study not in parents:
        names = [experiment.name for experiment in pages(client.search_experiments)]
        others = sorted(name for name in names if name not in (*parents, "Default"))
        hint = f"; with metric= and factors= also {', '.join(others)}" if others else ""
        raise UsageError(f"study={study}: no such study; allowed: {', '.join(sorted(parents))}{hint}")
    return study, parents[study]


def _frame(study: str, trials: Sequence[Recorded], record: StudyRecord, metric: str | None) -> pd.DataFrame:
    """Return a row for each trial, in the order of the design."""
    metrics = sorted({name for run, _ in trials for name in metric_names.of_events(run.data.metrics)})
    if metric is not None and trials and metric not in metrics:
        raise UsageError(f"metric={metric}: no trial of study {study} has it; allowed: {', '.join(metrics)}")
    rows = [_row(trial, metric or TEST_ACC) for trial in _in_design_order(trials, record.factors)]
    if not rows:
        raise UsageError(f"study={study}: it has no trials yet")
    frame = pd.DataFrame(rows)
    frame = frame.drop(columns=[key for key in COSTS if frame[key].isna().all()])
    for key, value in ADDED_LATER.items():
        if key in frame:  # trials from before the key had this value in effect
            frame[key] = frame[key].astype(object).where(frame[key].notna(), value)
    return frame


def _as_chosen(frame: pd.DataFrame, choices: Sequence[Choice], searches: int) -> tuple[pd.DataFrame, int]:
    """Return the rows without those of values that tuning chose once and no longer does, and the number left out."""
    keep = pd.Series(True, index=frame.index)
    for choice in choices:
        in_cell = _at(frame, choice.cell) & (frame["seed"] % searches == choice.search)
        keep &= ~in_cell | (_at(frame, choice.values) & bool(choice.values))
    return frame[keep].reset_index(drop=True), int((~keep).sum())


def _as_drawn(frame: pd.DataFrame, drawn: Mapping[int, Mapping[str, Level]]) -> tuple[pd.DataFrame, int]:
    """Return the rows at the nuisance values that their seed has now, and the number of rows left out."""
    if not drawn:
        return frame, 0
    keep = pd.Series(False, index=frame.index)
    for seed, values in drawn.items():
        keep |= (frame["seed"] == seed) & _at(frame, values)
    return frame[keep].reset_index(drop=True), int((~keep).sum())


def _at(frame: pd.DataFrame, values: Mapping[str, Level]) -> pd.Series[bool]:
    """Return whether each row has these values. A key that no row has counts as None."""
    matches = pd.Series(True, index=frame.index)
    for key, value in values.items():
        if key in frame:
            levels = frame[key].astype(object).where(frame[key].notna(), None).tolist()
        else:
            levels = [None] * len(frame)
        matches &= pd.Series([level is None if value is None else level == value for level in levels], frame.index)
    return matches


def _tried(client: MlflowClient, experiment_id: str, trial_ids: Sequence[str]) -> pd.DataFrame | None:
    """Return the configurations that the last request's tuning tried, in the order in which they began."""
    if not trial_ids:
        return None
    wanted = set(trial_ids)
    rows: list[dict[str, Any]] = []
    for run, record in map(_recorded, _trials(client, experiment_id, "tuning")):
        if record.trial_id in wanted:
            metrics = metric_names.of_events(run.data.metrics)
            measures = {key: metrics.get(key, math.nan) for key in ("valid_acc", "valid_loss", "wall_s")}
            rows.append(_row((run, record), TEST_ACC) | {"number": len(rows), "epochs": record.epochs or 0} | measures)
    return pd.DataFrame(rows) if rows else None


def keep_copy(client: MlflowClient, run_id: str, folder: Path, name: str = REPORT_FOLDER) -> str | None:
    """Log the report to the study's parent run, under a name; return the reason where MLflow does not let this user."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        client.log_artifacts(run_id, str(folder), name)
    except (MlflowException, RequestException, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is None and isinstance(error, MlflowException):
            status = error.get_http_status_code()
        if status in (401, 403):
            return "the study is another person's"
        return str(error).partition("\n")[0][:200]
    return None


def is_ours(client: MlflowClient, study: str | None) -> bool:
    """Return whether `ablate.run` made a study, rather than something else that uses the same MLflow."""
    return study is None or study in _parents(client) or client.get_experiment_by_name(study) is None


def experiment_of(client: MlflowClient, study: str) -> str:
    """Return the id of the experiment of that name."""
    return str(client.get_experiment_by_name(study).experiment_id)


def _parents(client: MlflowClient) -> dict[str, Run]:
    """Return the parent run of each study by the study's name."""
    experiments = {experiment.experiment_id: experiment.name for experiment in pages(client.search_experiments)}
    runs = pages(client.search_runs, list(experiments), of_kind("study")) if experiments else []
    return {experiments[run.info.experiment_id]: run for run in runs}


def _trials(client: MlflowClient, experiment_id: str, kind: Kind) -> list[Run]:
    oldest_first = ["attributes.start_time ASC"]
    return pages(client.search_runs, [experiment_id], of_kind(kind), order_by=oldest_first)


def _recorded(run: Run) -> Recorded:
    return run, TrialRecord.from_tags(run.data.tags, run.data.params)


def _in_design_order(trials: Sequence[Recorded], factors: Mapping[str, Sequence[Level]]) -> list[Recorded]:
    """Return the trials in the order of the design, whatever the order in which they ran."""
    positions = {
        factor: {show(level): position for position, level in enumerate(levels)} for factor, levels in factors.items()
    }

    def position_of(trial: Recorded) -> tuple[int, ...]:
        params = trial[1].params
        at = (
            position.get(show(params[factor]), len(position)) if factor in params else len(position)
            for factor, position in positions.items()
        )
        seed = params.get("seed", 0)
        return (*at, int(seed or 0))

    return sorted(trials, key=position_of)


def pages(search: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
    """Return all results of one of MLflow's searches, which come in pages."""
    results: list[Any] = []
    token = None
    with garbage.not_collecting():  # SQLAlchemy makes millions of objects for 10,000 runs
        while True:
            page = search(*arguments, **options, max_results=1000, page_token=token)
            results += page
            token = page.token
            if not token:
                return results


def _row(trial: Recorded, metric: str) -> dict[str, Any]:
    run, record = trial
    metrics = metric_names.of_events(run.data.metrics)
    acc = encoding.metric(metrics.get(metric, math.nan))
    outcome = record.outcome or ("running" if run.info.status == "RUNNING" else "interrupted")
    machine = {"host": record.host, "device": record.device, "threads": record.threads}
    return {key: level for key, level in record.params.items() if key not in OUTSIDE_IDENTITY} | {
        "outcome": DIVERGED if outcome == DONE and math.isinf(acc) else outcome,
        "reason": record.reason,
        "trial_id": record.trial_id,
        "run_id": run.info.run_id,
        "code_version": record.code_version or "unknown",
        "machine": ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None),
        "acc": math.nan if math.isinf(acc) else acc,
        "items": metrics.get("test_items", math.nan) if metric == TEST_ACC else math.nan,
        "acc_multicrop": metrics.get("test_acc_multicrop", math.nan),
        **{key: metrics.get(key, math.nan) for key in COSTS},
        "artifacts": run.info.artifact_uri,
    }
