"""Our own studies in MLflow -> one row per trial."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.core import provenance, urls
from ablate.core.errors import UsageError
from ablate.core.identity import ADDED_LATER, OUTSIDE_IDENTITY
from ablate.core.study import PREFERRED
from ablate.tracking import address
from analysis.sources.runs import COSTS, Choice, Runs, measured

TEST_ACC = "test_acc"


def read(client: Any, study: str | None = None, metric: str | None = None, *, lower_is_better: bool = False) -> Runs:
    """The trials of a study in MLflow; the one asked for last when `study` is None.

    `acc` is the test accuracy, or another metric of theirs.

    Raises:
        UsageError: there is no such study, naming those there are, or it has no trials.
    """
    parents = _parents(client)
    if not parents:
        raise UsageError("no study here yet; run one first: python -m ablate.run -m norm=bn,srelu bits=1,32")
    if study is None:
        own = {name for name, run in parents.items() if run.data.tags.get("mlflow.user") == provenance.name()}
        study = max(own or parents, key=lambda name: float(parents[name].data.tags["last_said"]))
    if study not in parents:
        others = sorted(one.name for one in pages(client.search_experiments) if one.name not in (*parents, "Default"))
        told = f"; with metric= and factors= also {', '.join(others)}" if others else ""
        raise UsageError(f"study={study}: no such study; allowed: {', '.join(sorted(parents))}{told}")
    parent = parents[study]
    trials = _trials(client, parent.info.experiment_id, "trial")
    metrics = sorted({name for run in trials for name in run.data.metrics})
    if metric is not None and trials and metric not in metrics:
        raise UsageError(f"metric={metric}: no trial of study {study} has it; allowed: {', '.join(metrics)}")
    rows = [_row(run, metric or TEST_ACC) for run in _as_typed(trials, parent.data.tags)]
    if not rows:
        raise UsageError(f"study={study}: it has no trials yet")
    named = {
        kind: [tag.removeprefix(f"{kind}.") for tag in parent.data.tags if tag.startswith(f"{kind}.")]
        for kind in ("factor", "derived")
    }
    frame = pd.DataFrame(rows)
    frame = frame.drop(columns=[key for key in COSTS if frame[key].isna().all()])
    for key, value in ADDED_LATER.items():
        if key in frame:  # what trials from before the key had in effect
            frame[key] = frame[key].astype(object).where(frame[key].notna(), value)
    said = json.loads(parent.data.tags.get("contrast", "null"))
    preferred = (said["factor"], tuple(said["levels"])) if said else PREFERRED
    terms = {
        tag.removeprefix("terms."): json.loads(text)
        for tag, text in parent.data.tags.items()
        if tag.startswith("terms.")
    }
    names = sorted((name for name in terms if name.startswith("chosen.")), key=lambda name: int(name.partition(".")[2]))
    choices = [Choice(**terms.pop(name)) for name in names]
    tried = [trial_id for name in list(terms) if name.startswith("tried.") for trial_id in terms.pop(name)]
    frame, left = _as_chosen(frame, choices)
    values = {seed: its for name in list(terms) if name.startswith("drawn.") for seed, its in terms.pop(name).items()}
    frame, drawn = _as_drawn(frame, {int(seed): its for seed, its in values.items()})
    runs = Runs(
        study,
        frame,
        named["factor"],
        preferred,
        named["derived"],
        tuple(terms.get("nuisance", ())),
        terms,
        _tried(client, parent.info.experiment_id, tried),
        choices,
        parent.info.run_id,
        notes=[
            *([f"Left out: {left} trials of what tuning chose when it was asked otherwise."] if left else []),
            *([f"Left out: {drawn} trials whose nuisance values were drawn otherwise."] if drawn else []),
        ],
    )
    if metric in (None, TEST_ACC):
        return runs
    measure, acc = measured(metric, frame["acc"], lower_is_better=lower_is_better)  # the papers speak of test accuracy
    return replace(runs, frame=frame.assign(acc=acc), measure=measure, parent_run_id=None, kind="others")


def _as_chosen(frame: pd.DataFrame, choices: Sequence[Choice]) -> tuple[pd.DataFrame, int]:
    """Without the trials of what tuning chose once and no longer does, and how many these are."""
    keep = pd.Series(True, index=frame.index)
    for one in choices:
        in_cell = _at(frame, one.cell)
        keep &= ~in_cell | (_at(frame, one.values) & bool(one.values))
    return frame[keep].reset_index(drop=True), int((~keep).sum())


def _as_drawn(frame: pd.DataFrame, drawn: Mapping[int, Mapping[str, Any]]) -> tuple[pd.DataFrame, int]:
    """Without the trials whose nuisance values are others than their seed's now, and how many these are."""
    if not drawn:
        return frame, 0
    keep = pd.Series(False, index=frame.index)
    for seed, values in drawn.items():
        keep |= (frame["seed"] == seed) & _at(frame, values)
    return frame[keep].reset_index(drop=True), int((~keep).sum())


def _at(frame: pd.DataFrame, values: Mapping[str, Any]) -> pd.Series:
    """Whether each row is at these values; a key that no row has stands at None."""
    at = pd.Series(True, index=frame.index)
    for key, value in values.items():
        column = (
            frame[key].astype(object).where(frame[key].notna(), None)
            if key in frame
            else pd.Series([None] * len(frame))
        )
        at &= column.map(lambda there, value=value: there is None if value is None else there == value).to_numpy(bool)
    return at


def _tried(client: Any, experiment_id: str, trial_ids: Sequence[str]) -> pd.DataFrame | None:
    """The configurations of the study's tuning, as it was asked for last, in the order in which they began."""
    if not trial_ids:
        return None
    asked = set(trial_ids)
    runs = [run for run in _trials(client, experiment_id, "tuning") if run.data.tags["trial_id"] in asked]
    rows = [
        _row(run, TEST_ACC)
        | {"number": number, "epochs": int(run.data.tags.get("epochs", 0))}
        | {key: run.data.metrics.get(key, float("nan")) for key in ("valid_acc", "valid_loss", "wall_s")}
        for number, run in enumerate(runs)
    ]
    return pd.DataFrame(rows) if rows else None


def client(uri: str) -> Any:
    """An MLflow client that makes no database where there is none.

    Raises:
        UsageError: there is nothing at the address.
    """
    address.check(uri)
    path = Path(uri.removeprefix(urls.SQLITE))
    if uri.startswith(urls.SQLITE) and not path.is_file():
        raise UsageError(
            f"track.uri={uri}: there is no {path}; run a study first, in this folder: "
            "python -m ablate.run -m norm=bn,srelu bits=1,32"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.ERROR)

    try:
        found = MlflowClient(urls.absolute(uri))
        found.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UsageError(f"track.uri={uri}: cannot be opened: {str(error).partition(chr(10))[0]}") from error
    return found


def keep_copy(client: Any, run_id: str, folder: Path) -> str | None:
    """Log the report to the study's parent run; return why not, where MLflow does not let this person."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        client.log_artifacts(run_id, str(folder), "report")
    except (MlflowException, RequestException) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is None and isinstance(error, MlflowException):
            status = error.get_http_status_code()
        if status in (401, 403):
            return "the study is another person's"
        return str(error).partition("\n")[0][:200]
    return None


def is_ours(client: Any, study: str | None) -> bool:
    """Whether a study was made by `ablate.run`, rather than being another experiment in the same MLflow."""
    return study is None or study in _parents(client) or client.get_experiment_by_name(study) is None


def experiment_of(client: Any, study: str) -> str:
    """The id of the experiment of that name."""
    return str(client.get_experiment_by_name(study).experiment_id)


def _parents(client: Any) -> dict[str, Any]:
    """Study name -> its parent run."""
    experiments = {one.experiment_id: one.name for one in pages(client.search_experiments)}
    runs = pages(client.search_runs, list(experiments), "tags.kind = 'study'") if experiments else []
    return {experiments[run.info.experiment_id]: run for run in runs}


def _trials(client: Any, experiment_id: str, kind: str) -> list[Any]:
    oldest_first = ["attributes.start_time ASC"]
    return pages(client.search_runs, [experiment_id], f"tags.kind = '{kind}'", order_by=oldest_first)


def _as_typed(trials: list[Any], tags: Mapping[str, str]) -> list[Any]:
    """The trials in the order of the design, whatever the order in which they ran."""
    typed = {
        tag.removeprefix("factor."): {level: place for place, level in enumerate(levels.split(", "))}
        for tag, levels in tags.items()
        if tag.startswith("factor.")
    }

    def place(run: Any) -> tuple[int, ...]:
        levels = (typed[factor].get(run.data.params.get(factor), len(typed[factor])) for factor in typed)
        return (*levels, int(run.data.params.get("seed", 0)))

    return sorted(trials, key=place)


def pages(search: Any, *arguments: Any, **options: Any) -> list[Any]:
    found, token = [], None
    while True:
        page = search(*arguments, **options, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _row(run: Any, metric: str) -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    params = {key: text for key, text in run.data.params.items() if key not in OUTSIDE_IDENTITY}
    return {key: level(text) for key, text in params.items()} | {
        "outcome": tags.get("outcome", "running" if run.info.status == "RUNNING" else "interrupted"),
        "reason": tags.get("reason", ""),
        "trial_id": tags["trial_id"],
        "run_id": run.info.run_id,
        "code_version": tags.get("code_version", "unknown"),
        "machine": ", ".join(f"{key} {tags[key]}" for key in ("host", "device", "threads") if key in tags),
        "acc": metrics.get(metric, float("nan")),
        "acc_multicrop": metrics.get("test_acc_multicrop", float("nan")),
        **{key: metrics.get(key, float("nan")) for key in COSTS},
        "artifacts": run.info.artifact_uri,
    }


def level(text: str) -> Any:
    """A param as the level that was typed: a number, true, false or null where it reads as one."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
