"""Studies in MLflow: an experiment each, a parent run, a child run per trial. The one room that knows MLflow.

A thread of the driver is the only writer. It imports MLflow and opens the store while trials start, then
writes what the events say in batches. The run directories hold everything that it writes, so a trial that
MLflow lacks, for whatever reason, is delivered the next time its study is asked for.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate import store
from ablate.address import SQLITE, absolute
from ablate.design import Mistake, Study, Trial, show
from ablate.events import Done, Epoch, Event, Failed, Notice, Started

SECONDS_BETWEEN_BATCHES = 1.0
TERMINAL = ("FINISHED", "FAILED")

_MAX_PARAMS, _MAX_METRICS = 100, 1000  # of one log_batch


class Tracker:
    """Writes a study to MLflow from its events, in a thread of its own.

    Args:
        uri: MLflow's tracking address.
        study: what is written.
        runs: folder of the run directories.
        settled: trials whose outcome is on disk already; those that MLflow lacks are delivered first.
        tags: further tags of every run, such as the code version.
    """

    def __init__(
        self, uri: str, study: Study, *, runs: Path, settled: Sequence[Trial], tags: Mapping[str, str]
    ) -> None:
        self._queue: queue.SimpleQueue[tuple[Trial, Event] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(uri, study, runs, settled, tags), daemon=True)
        self._thread.start()

    def record(self, trial: Trial, event: Event) -> None:
        """Have the event written; returns at once. Raises what kept the thread from opening the store."""
        if self._error is not None and isinstance(self._error, Mistake):
            raise self._error
        self._queue.put((trial, event))

    def close(self) -> Exception | None:
        """Wait until everything is written; return what kept it from that, if anything did."""
        self._stop.set()
        self._queue.put(None)
        self._thread.join()
        return self._error

    def _work(self, uri: str, study: Study, runs: Path, settled: Sequence[Trial], tags: Mapping[str, str]) -> None:
        try:
            uri = absolute(uri)
            writer = _Writer(_open(uri), uri, study, tags)
            for trial in settled:
                if not writer.has_outcome_of(trial):
                    writer.write(trial, store.history(trial, runs))
            while True:
                batch = self._next_batch()
                for trial, events in _by_trial(item for item in batch if item is not None):
                    writer.write(trial, events)
                if None in batch:
                    writer.end()
                    return
        except Exception as error:
            self._error = error

    def _next_batch(self) -> list[tuple[Trial, Event] | None]:
        """Everything queued since the last batch; waits for the first item, then lets more come in."""
        batch = [self._queue.get()]
        self._stop.wait(SECONDS_BETWEEN_BATCHES)
        while not self._queue.empty():
            batch.append(self._queue.get())
        return batch


class _Writer:
    """The study's runs in one MLflow store."""

    def __init__(self, client: Any, uri: str, study: Study, tags: Mapping[str, str]) -> None:
        self.client = client
        self.tags = {"mlflow.user": getpass.getuser(), "mlflow.source.name": "ablate", **tags}
        self.study = study
        self.experiment_id = self._experiment(uri)
        self.parent_id = self._parent()
        self.ended = {run.data.tags["trial_id"] for run in self._trial_runs() if run.info.status in TERMINAL}
        self.open: dict[str, str] = {}  # trial_id -> run_id of the trials that are running now

    def has_outcome_of(self, trial: Trial) -> bool:
        return trial.trial_id in self.ended

    def write(self, trial: Trial, events: Sequence[Event]) -> None:
        """Write one trial's next events, oldest first, in one batch."""
        from mlflow.entities import Metric

        metrics: list[Metric] = []
        outcome: Done | Failed | None = None
        for event in events:
            if isinstance(event, Started):
                self._start(trial, event)
            elif isinstance(event, Epoch):
                stamp = round(event.time * 1000)
                metrics += [Metric(name, value, stamp, event.epoch) for name, value in event.metrics.items()]
            elif not isinstance(event, Notice):
                outcome = event
        if trial.trial_id not in self.open:  # it failed before it could start
            self._start(trial, None)
        run_id = self.open[trial.trial_id]
        if isinstance(outcome, Done):
            stamp, step = round(outcome.time * 1000), trial.config["recipe"]["epochs"]
            final = {name: value for name, value in outcome.metrics.items() if name.startswith("test")}
            metrics += [Metric(name, value, stamp, step) for name, value in final.items()]
        for start in range(0, len(metrics), _MAX_METRICS):
            self.client.log_batch(run_id, metrics=metrics[start : start + _MAX_METRICS])
        if outcome is not None:
            self._finish(trial, run_id, outcome)

    def end(self) -> None:
        """Close the parent run, and runs that this driver leaves without an outcome as killed."""
        for run_id in self.open.values():
            self.client.set_terminated(run_id, "KILLED")
        self.client.set_terminated(self.parent_id, "FINISHED")

    def _experiment(self, uri: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(self.study.name)
        if experiment is None:
            beside = Path(uri.removeprefix(SQLITE)).parent / "mlruns" / self.study.name
            location = beside.as_uri() if uri.startswith(SQLITE) else None
            kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view for training runs
            try:
                return self.client.create_experiment(self.study.name, location, kind)
            except MlflowException:  # another driver was faster
                return self.client.get_experiment_by_name(self.study.name).experiment_id
        if experiment.lifecycle_stage != "active":
            self.client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

    def _parent(self) -> str:
        """The study's one parent run, made the first time that the study is asked for."""
        from mlflow.entities import RunTag

        found = self.client.search_runs([self.experiment_id], "tags.kind = 'study'", max_results=1)
        if found:
            run_id = found[0].info.run_id
            self.client.update_run(run_id, status="RUNNING")
        else:
            run_id = self.client.create_run(self.experiment_id, run_name=self.study.name).info.run_id
        factors = {f"factor.{name}": ", ".join(map(show, levels)) for name, levels in self.study.factors.items()}
        note = "  \n".join(
            [f"{len(self.study.cells)} cells, {len(self.study.trials)} trials"]
            + [f"**{name}**: {', '.join(map(show, levels))}" for name, levels in self.study.factors.items()]
        )
        derived = {f"derived.{key}": "" for key in self.study.derived}
        said = {"kind": "study", "last_said": f"{time.time():.3f}", "mlflow.note.content": note}
        tags = {**said, **factors, **derived, **self.tags}
        if self.study.contrast:
            factor, levels = self.study.contrast
            tags["contrast"] = json.dumps({"factor": factor, "levels": list(levels)})
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        return run_id

    def _trial_runs(self, condition: str = "") -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], f"tags.kind = 'trial'{condition}", max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _start(self, trial: Trial, started: Started | None) -> None:
        """A run for this attempt at the trial: another driver's, or a fresh one in place of an earlier attempt's.

        Writing to another driver's run is harmless: the events carry their own times.
        """
        from mlflow.entities import Param

        start_time = round(started.time * 1000) if started else None
        for run in self._trial_runs(f" and tags.trial_id = '{trial.trial_id}'"):
            if run.info.start_time == start_time:
                self.open[trial.trial_id] = run.info.run_id
                return
            self.client.delete_run(run.info.run_id)
        tags = {
            "kind": "trial",
            "trial_id": trial.trial_id,
            "cell": str(trial.cell),
            "mlflow.parentRunId": self.parent_id,
            **self.tags,
        }
        if started is not None:
            tags |= {"host": started.host, "device": started.device, "threads": str(started.threads)}
        run = self.client.create_run(
            self.experiment_id,
            run_name=str(trial),
            start_time=start_time,
            tags=tags,
        )
        self.open[trial.trial_id] = run.info.run_id
        params = [Param(key, show(value)) for key, value in trial.params.items()]
        for start in range(0, len(params), _MAX_PARAMS):
            self.client.log_batch(run.info.run_id, params=params[start : start + _MAX_PARAMS])
        self.client.log_dict(run.info.run_id, dict(trial.config), "config.json")

    def _finish(self, trial: Trial, run_id: str, outcome: Done | Failed) -> None:
        from mlflow.entities import RunTag

        if isinstance(outcome, Done):
            predictions = {"predicted": outcome.predicted, "labels": outcome.labels}
            self.client.log_dict(run_id, predictions, "predictions.json")
            tags = {"outcome": "done"}
        else:
            tags = {"outcome": outcome.kind, "reason": outcome.reason}
            if outcome.traceback:
                self.client.log_text(run_id, outcome.traceback, "traceback.txt")
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        status = "FINISHED" if isinstance(outcome, Done) else "FAILED"
        self.client.set_terminated(run_id, status, round(outcome.time * 1000))
        del self.open[trial.trial_id]


def _by_trial(items: Iterable[tuple[Trial, Event]]) -> list[tuple[Trial, list[Event]]]:
    grouped: dict[str, tuple[Trial, list[Event]]] = {}
    for trial, event in items:
        grouped.setdefault(trial.trial_id, (trial, []))[1].append(event)
    return list(grouped.values())


def _open(uri: str) -> Any:
    """An MLflow client; a new SQLite database is made whole before it gets its name.

    A database that two processes open while it is new, or whose maker is killed, is broken for good.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.ERROR)

    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        with FileLock(f"{path}.lock"):
            if not path.exists() or not path.stat().st_size:
                new = path.with_name(f"{path.name}.new")
                new.unlink(missing_ok=True)
                MlflowClient(f"{SQLITE}{new}").search_experiments(max_results=1)
                new.replace(path)
    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise Mistake(f"track.uri={uri}: cannot be opened: {str(error).splitlines()[0]}") from error
    return client
