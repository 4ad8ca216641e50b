"""Writing a trial's events to its run in MLflow. To write them twice is harmless: events carry their own times."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ablate.core.errors import StorageUnavailable
from ablate.core.events import OF_EPOCHS, Done, Epoch, Event, Notice, Outcome, Started
from ablate.core.identity import CODE
from ablate.core.study import Trial
from ablate.store import manifest, run_directory
from ablate.store.run_directory import CODE_FOLDER
from ablate.store.run_store import RunStore
from ablate.tracking import metric_names, notes, study_metrics, study_origin
from ablate.tracking.artifacts import CONFIG_FILE, PREDICTIONS_FILE, TRACEBACK_FILE, predictions
from ablate.tracking.client import is_conflict
from ablate.tracking.experiment import TERMINAL, Experiment, TrackedRun, ms, status_of
from ablate.tracking.metric_names import GROUPED_SINCE
from ablate.tracking.record import OUTCOME, REASON

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, RunTag

_TRIES = 5
_MAX_PARAMS, _MAX_METRICS = 100, 800  # of one log_batch, which takes 1000 things in all


class Writer:
    """Writes the trials of a study to its experiment. `delivered` holds the ids of those written to their end."""

    def __init__(self, experiment: Experiment, store: RunStore) -> None:
        self.experiment, self.client, self.store = experiment, experiment.client, store
        self.open: dict[str, Trial] = {}  # those that this driver began and that have no outcome yet
        self.delivered: set[str] = set()
        self._progress = study_metrics.Progress(self.client, experiment.parent_id)

    def lacking(self, completed: Sequence[Trial]) -> list[Trial]:
        """Return the completed trials whose outcome MLflow does not have."""
        lacking = []
        for trial in completed:
            outcome = self.store.local.outcome(trial)
            tracked = self.experiment.tracked.get(trial.trial_id)
            if outcome and not (tracked and tracked.has(outcome)):
                lacking.append(trial)
        return lacking

    def left_running(self) -> list[Trial]:
        """Return the trials that ended although their run in MLflow is RUNNING.

        A run that is RUNNING although nobody works at its trial is set KILLED.
        """
        known = {trial.trial_id: trial for trial in self.experiment.study.trials}
        ended = []
        for trial_id, tracked in self.experiment.tracked.items():
            if tracked.status != "RUNNING" or self._is_leased(trial_id):
                continue
            if trial_id not in known:
                known |= manifest.known(self.experiment.study.name, self.store.runs)
            trial = known.get(trial_id)
            if trial is not None and self.store.local.outcome(trial):
                ended.append(trial)
            else:
                self._terminate(tracked, "KILLED")
        return ended

    def begin(self, items: Sequence[tuple[Trial, Sequence[Event]]]) -> list[tuple[Trial, list[Event]]]:
        """Have a run for each trial, and return the events that are to be written to it.

        One call for many trials makes fewer requests than a call for each.
        """
        to_write = [(trial, self._whole(trial, events)) for trial, events in items]
        wanted = []
        for trial, events in to_write:
            if events and (not self._began(trial) or isinstance(events[0], Started)):
                started = events[0] if isinstance(events[0], Started) else None
                wanted.append((trial, ms(events[0].time), started))
        self.experiment.ensure(wanted)
        return to_write

    def write(self, trial: Trial, events: Sequence[Event]) -> None:
        """Write a trial's next events, oldest first, to the run that it has."""
        if not events:
            return
        tracked = self.experiment.tracked[trial.trial_id]
        outcome = run_directory.outcome_of(events[-1])
        if outcome is not None and tracked.has(outcome):
            self._complete(trial)
            return
        if isinstance(outcome, Done) and not outcome.predicted:
            outcome = self._with_predictions(trial, outcome)
        self.open[trial.trial_id] = trial
        if tracked.status != "RUNNING":
            self._reopen(tracked)
        params = {} if tracked.complete else self.experiment.record_of(trial).to_params()
        tags = self._outcome_tags(trial, outcome) if outcome else {}
        self._log(tracked, self._metrics(trial, events, tracked.version), params, tags)
        tracked.outcome = tags.get(OUTCOME, tracked.outcome)
        if not tracked.complete:
            self._put(tracked, CONFIG_FILE, dict(trial.config))
            tracked.complete = True
        if outcome is not None:
            if isinstance(outcome, Done):
                self._put(tracked, PREDICTIONS_FILE, predictions(outcome.predicted, outcome.labels))
            elif outcome.traceback:
                self.client.log_text(tracked.run_id, outcome.traceback, TRACEBACK_FILE)
            self._terminate(tracked, status_of(outcome), ms(outcome.time))
            self._complete(trial)

    def _with_predictions(self, trial: Trial, done: Done) -> Done:
        """Return the outcome with its predictions, which an object store's mirror brings when they are needed."""
        history = self.store.history(trial)
        return history[-1] if history and isinstance(history[-1], Done) else done

    def give_up(self, trial: Trial) -> None:
        """Leave out a trial that MLflow refuses; its run, if there is one, is set KILLED."""
        self.open.pop(trial.trial_id, None)
        tracked = self.experiment.tracked.get(trial.trial_id)
        if tracked is not None and tracked.status == "RUNNING":
            self._terminate(tracked, "KILLED")

    def end(self) -> None:
        """Leave no run of this driver RUNNING: write the outcomes that are on disk, and set the other runs KILLED."""
        for trial_id, trial in list(self.open.items()):
            if self.store.local.outcome(trial):
                self._write_all(trial, self.store.local.history(trial))
            elif trial_id in self.experiment.tracked:
                self._terminate(self.experiment.tracked[trial_id], "KILLED")
        for trial in self.left_running():  # when this driver started, a killed driver's worker may still have run it
            self._write_all(trial, [])
        ended = {trial_id for trial_id, tracked in self.experiment.tracked.items() if tracked.status in TERMINAL}
        whole = all(trial.trial_id in ended for trial in self.experiment.study.trials)
        self._keep_code()
        study_origin.keep(self.client, self.experiment.parent_id, self.experiment.study, self.store.runs)
        counts = self.experiment.counts()
        self._progress.log(counts)
        self.experiment.describe(counts)
        self.client.set_terminated(self.experiment.parent_id, "FINISHED" if whole else "KILLED")

    def show_progress(self) -> None:
        """Log how many trials have which outcome, once in a while."""
        if self._progress.is_due:
            self._progress.log(self.experiment.counts())

    def _keep_code(self) -> None:
        """Log the code of users' own parts to the parent run, each version once."""
        groups = (group for trial in self.experiment.study.trials for group in trial.config.values())
        fingerprints = {group[CODE] for group in groups if isinstance(group, Mapping) and CODE in group}
        if not fingerprints:
            return
        parent, runs = self.experiment.parent_id, self.store.runs
        logged = {file.path for file in self.client.list_artifacts(parent, CODE_FOLDER)}
        for fingerprint in sorted(fingerprints):
            path = f"{CODE_FOLDER}/{fingerprint}"
            if path not in logged and (runs / path).is_dir():
                self.client.log_artifacts(parent, str(runs / path), path)

    def _write_all(self, trial: Trial, events: Sequence[Event]) -> None:
        for _, to_write in self.begin([(trial, events)]):
            self.write(trial, to_write)

    def _is_leased(self, trial_id: str) -> bool:
        try:
            return self.store.is_leased(trial_id)
        except StorageUnavailable:  # who knows
            return True

    def _began(self, trial: Trial) -> bool:
        return trial.trial_id in self.open and trial.trial_id in self.experiment.tracked

    def _whole(self, trial: Trial, events: Sequence[Event]) -> list[Event]:
        """Return the events from the trial's start on, unless they are written: a stream may begin in the middle."""
        known: list[Event] = [event for event in events if not isinstance(event, Notice)]
        if not (known and (self._began(trial) or isinstance(known[0], Started))):
            history = self.store.local.history(trial)
            known = [event for event in history if not isinstance(event, Notice)] or known
        starts = [position for position, event in enumerate(known) if isinstance(event, Started)]
        tracked = self.experiment.tracked.get(trial.trial_id)
        if starts and ms(known[starts[-1]].time) != (tracked.start_ms if tracked else ms(known[0].time)):
            return known[starts[-1] :]  # the events before belong to an attempt that was given up
        return known

    def _outcome_tags(self, trial: Trial, outcome: Outcome) -> dict[str, str]:
        record = self.experiment.record_of(trial)
        if isinstance(outcome, Done):
            record = replace(record, outcome="done")
        else:
            record = replace(record, outcome=outcome.kind, reason=outcome.reason)
        if trial.tuning:  # the epochs that were spent on it
            history = self.store.local.history(trial)
            epochs = max((event.epoch for event in history if isinstance(event, Epoch)), default=0)
            record = replace(record, epochs=epochs)
        return {**record.outcome_tags(), notes.NOTE: notes.of_trial(trial, outcome)}

    def _metrics(self, trial: Trial, events: Sequence[Event], version: int) -> list[tuple[str, float, int, int]]:
        """Return the points of the events; those that MLflow shows first come first."""
        points = []
        for event in events:
            if isinstance(event, Epoch):
                points += [(name, value, ms(event.time), event.epoch) for name, value in event.metrics.items()]
            elif isinstance(event, Done):
                step = 0 if version >= GROUPED_SINCE else trial.config["recipe"]["epochs"]  # at 0 MLflow draws bars
                final = [pair for pair in event.metrics.items() if pair[0] not in OF_EPOCHS]
                points += [(name, value, ms(event.time), step) for name, value in final]
        points.sort(key=lambda point: metric_names.position(point[0]))
        return [(metric_names.in_mlflow(name, version), value, at, step) for name, value, at, step in points]

    def _log(
        self,
        tracked: TrackedRun,
        metrics: Sequence[tuple[str, float, int, int]],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Log everything in one call where it fits: each call costs MLflow several queries.

        Args:
            tracked: the run.
            metrics: each point as (name, value, time in milliseconds, epoch).
            params: by name.
            tags: by name.
        """
        from mlflow.entities import Metric, Param, RunTag

        pairs = list(params.items())
        calls = max(1, -(-len(metrics) // _MAX_METRICS), -(-len(pairs) // _MAX_PARAMS))
        for n in range(calls if metrics or pairs or tags else 0):
            self._batch(
                tracked.run_id,
                metrics=[Metric(*point) for point in metrics[n * _MAX_METRICS : (n + 1) * _MAX_METRICS]],
                params=[Param(*pair) for pair in pairs[n * _MAX_PARAMS : (n + 1) * _MAX_PARAMS]],
                tags=[RunTag(*pair) for pair in tags.items()] if n == 0 else [],
            )

    def _batch(self, run_id: str, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        """Log a batch, and again where another driver wrote the same just now: rows that are there are left alone."""
        for left in reversed(range(_TRIES)):
            try:
                self.client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
                return
            except Exception as error:
                if not left or not is_conflict(error):
                    raise

    def _put(self, tracked: TrackedRun, name: str, content: Mapping[str, object]) -> None:
        """Log a JSON artifact; where the store keeps artifacts in a local folder, write a file there."""
        if not tracked.artifact_uri.startswith("file:///"):
            self.client.log_dict(tracked.run_id, dict(content), name)
            return
        path = Path(url2pathname(urlsplit(tracked.artifact_uri).path)) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{name}.{os.getpid()}")
        temporary.write_text(json.dumps(content))
        temporary.replace(path)

    def _reopen(self, tracked: TrackedRun) -> None:
        """Set a run RUNNING again, in which a trial that was interrupted or lost goes on."""
        self.client.update_run(tracked.run_id, status="RUNNING")
        if tracked.outcome:
            for tag in (OUTCOME, REASON):
                self.experiment.untag(tracked.run_id, tag)
        tracked.status, tracked.end_ms, tracked.outcome = "RUNNING", None, None

    def _terminate(self, tracked: TrackedRun, status: str, end_ms: int | None = None) -> None:
        self.client.set_terminated(tracked.run_id, status, end_ms)
        tracked.status, tracked.end_ms = status, end_ms

    def _complete(self, trial: Trial) -> None:
        self.open.pop(trial.trial_id, None)
        self.delivered.add(trial.trial_id)
