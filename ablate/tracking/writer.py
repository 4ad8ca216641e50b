"""What a trial says -> its run in MLflow. Writing the same again is harmless: the events carry their own times."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ablate.core.errors import StorageUnavailable
from ablate.core.events import OF_EPOCHS, Done, Epoch, Event, Notice, Outcome, Started
from ablate.core.levels import show
from ablate.core.study import Trial
from ablate.store import manifest, run_directory, run_store
from ablate.tracking.client import is_conflict
from ablate.tracking.experiment import TERMINAL, Experiment, Held, ms, status_of

_TRIES = 5
_MAX_PARAMS, _MAX_METRICS = 100, 800  # of one log_batch, which takes 1000 things in all


class Writer:
    """The trials of a study, written to its experiment. `delivered` holds the ids of those written to their end."""

    def __init__(self, experiment: Experiment, runs: Path, place: run_store.RunStore) -> None:
        self.experiment, self.client, self.runs, self.place = experiment, experiment.client, runs, place
        self.open: dict[str, Trial] = {}  # those that this driver began and that have no outcome yet
        self.delivered: set[str] = set()

    def lacking(self, settled: Sequence[Trial]) -> list[Trial]:
        """The settled trials whose outcome MLflow does not tell."""
        held = self.experiment.held
        outcomes = [(trial, run_directory.outcome(trial, self.runs)) for trial in settled]
        return [t for t, end in outcomes if end and not (t.trial_id in held and held[t.trial_id].tells(end))]

    def left_running(self) -> list[Trial]:
        """Trials whose run says RUNNING though they ended; of those that nobody works at, the run is set KILLED."""
        known = {trial.trial_id: trial for trial in self.experiment.study.trials}
        ended = []
        for trial_id, held in self.experiment.held.items():
            if held.status != "RUNNING" or self._is_claimed(trial_id):
                continue
            if trial_id not in known:
                known |= manifest.known(self.experiment.study.name, self.runs)
            trial = known.get(trial_id)
            if trial is not None and run_directory.outcome(trial, self.runs):
                ended.append(trial)
            else:
                self._terminate(held, "KILLED")
        return ended

    def begin(self, items: Sequence[tuple[Trial, Sequence[Event]]]) -> list[tuple[Trial, list[Event]]]:
        """Have a run for each trial, and return what there is to write to it; fewer calls for many at once."""
        told = [(trial, self._whole(trial, events)) for trial, events in items]
        wanted = []
        for trial, events in told:
            if events and (not self._began(trial) or isinstance(events[0], Started)):
                started = events[0] if isinstance(events[0], Started) else None
                wanted.append((trial, ms(events[0].time), started))
        self.experiment.ensure(wanted)
        return told

    def write(self, trial: Trial, events: Sequence[Event]) -> None:
        """Write one trial's next events, oldest first, to the run that it has."""
        if not events:
            return
        held = self.experiment.held[trial.trial_id]
        outcome = run_directory.outcome_of(events[-1])
        if outcome is not None and held.tells(outcome):
            self._settle(trial)
            return
        self.open[trial.trial_id] = trial
        if held.status != "RUNNING":
            self._reopen(held)
        metrics = self._metrics(trial, events)
        params = [] if held.complete else [(key, show(value)) for key, value in trial.params.items()]
        self._log(held, metrics, params, self._tags(trial, outcome) if outcome else {})
        held.marked = held.marked or outcome is not None
        if not held.complete:
            self._put(held, "config.json", dict(trial.config))
            held.complete = True
        if outcome is not None:
            if isinstance(outcome, Done):
                self._put(held, "predictions.json", {"predicted": outcome.predicted, "labels": outcome.labels})
            elif outcome.traceback:
                self.client.log_text(held.run_id, outcome.traceback, "traceback.txt")
            self._terminate(held, status_of(outcome), ms(outcome.time))
            self._settle(trial)

    def give_up(self, trial: Trial) -> None:
        """Leave a trial that MLflow does not take; its run, if there is one, is set KILLED."""
        self.open.pop(trial.trial_id, None)
        held = self.experiment.held.get(trial.trial_id)
        if held is not None and held.status == "RUNNING":
            self._terminate(held, "KILLED")

    def end(self) -> None:
        """Leave no run of ours RUNNING: tell the outcomes on disk, and close the others as killed."""
        for trial_id, trial in list(self.open.items()):
            if run_directory.outcome(trial, self.runs):
                for one, events in self.begin([(trial, run_directory.history(trial, self.runs))]):
                    self.write(one, events)
            elif trial_id in self.experiment.held:
                self._terminate(self.experiment.held[trial_id], "KILLED")
        for trial in self.left_running():  # at the start a killed driver's worker may still have been at it
            for one, events in self.begin([(trial, [])]):
                self.write(one, events)
        ended = {trial_id for trial_id, held in self.experiment.held.items() if held.status in TERMINAL}
        whole = all(trial.trial_id in ended for trial in self.experiment.study.trials)
        self.client.set_terminated(self.experiment.parent_id, "FINISHED" if whole else "KILLED")

    def _is_claimed(self, trial_id: str) -> bool:
        try:
            return self.place.is_claimed(trial_id)
        except StorageUnavailable:  # who knows
            return True

    def _began(self, trial: Trial) -> bool:
        return trial.trial_id in self.open and trial.trial_id in self.experiment.held

    def _whole(self, trial: Trial, events: Sequence[Event]) -> list[Event]:
        """The events from the trial's start on, unless that was written: the stream may tell them from the middle."""
        told: list[Event] = [event for event in events if not isinstance(event, Notice)]
        if not (told and (self._began(trial) or isinstance(told[0], Started))):
            told = [event for event in run_directory.history(trial, self.runs) if not isinstance(event, Notice)] or told
        starts = [place for place, event in enumerate(told) if isinstance(event, Started)]
        held = self.experiment.held.get(trial.trial_id)
        if starts and ms(told[starts[-1]].time) != (held.start_ms if held else ms(told[0].time)):
            return told[starts[-1] :]  # what stands before is of an attempt that was given up
        return told

    def _tags(self, trial: Trial, outcome: Outcome) -> dict[str, str]:
        tags = {"outcome": "done"} if isinstance(outcome, Done) else {"outcome": outcome.kind, "reason": outcome.reason}
        if trial.tuning:  # what was spent on it
            told = [event.epoch for event in run_directory.history(trial, self.runs) if isinstance(event, Epoch)]
            tags["epochs"] = str(max(told, default=0))
        return tags

    def _metrics(self, trial: Trial, events: Sequence[Event]) -> list[tuple[str, float, int, int]]:
        points = []
        for event in events:
            if isinstance(event, Epoch):
                points += [(name, value, ms(event.time), event.epoch) for name, value in event.metrics.items()]
            elif isinstance(event, Done):
                last = trial.config["recipe"]["epochs"]
                final = [pair for pair in event.metrics.items() if pair[0] not in OF_EPOCHS]
                points += [(name, value, ms(event.time), last) for name, value in final]
        return points

    def _log(
        self,
        held: Held,
        metrics: Sequence[tuple[str, float, int, int]],
        params: Sequence[tuple[str, str]],
        tags: Mapping[str, str],
    ) -> None:
        """In one call where it all fits: each costs MLflow several queries."""
        from mlflow.entities import Metric, Param, RunTag

        calls = max(1, -(-len(metrics) // _MAX_METRICS), -(-len(params) // _MAX_PARAMS))
        for n in range(calls if metrics or params or tags else 0):
            self._batch(
                held.run_id,
                metrics=[Metric(*point) for point in metrics[n * _MAX_METRICS : (n + 1) * _MAX_METRICS]],
                params=[Param(*pair) for pair in params[n * _MAX_PARAMS : (n + 1) * _MAX_PARAMS]],
                tags=[RunTag(*pair) for pair in tags.items()] if n == 0 else [],
            )

    def _batch(self, run_id: str, **what: Any) -> None:
        """Log it, and again where another driver was just writing the same: what is there already is left alone."""
        for left in reversed(range(_TRIES)):
            try:
                self.client.log_batch(run_id, **what)
                return
            except Exception as error:
                if not left or not is_conflict(error):
                    raise

    def _put(self, held: Held, name: str, content: Mapping[str, Any]) -> None:
        """A JSON artifact; where the store keeps artifacts in a local folder, simply a file in it."""
        if not held.artifact_uri.startswith("file:///"):
            self.client.log_dict(held.run_id, dict(content), name)
            return
        path = Path(url2pathname(urlsplit(held.artifact_uri).path)) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{name}.{os.getpid()}")
        temporary.write_text(json.dumps(content))
        temporary.replace(path)

    def _reopen(self, held: Held) -> None:
        """A trial that was interrupted, or lost, goes on in its run."""
        self.client.update_run(held.run_id, status="RUNNING")
        if held.marked:
            for tag in ("outcome", "reason"):
                self._untag(held, tag)
        held.status, held.end_ms, held.marked = "RUNNING", None, False

    def _untag(self, held: Held, tag: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.delete_tag(held.run_id, tag)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def _terminate(self, held: Held, status: str, end_ms: int | None = None) -> None:
        self.client.set_terminated(held.run_id, status, end_ms)
        held.status, held.end_ms = status, end_ms

    def _settle(self, trial: Trial) -> None:
        self.open.pop(trial.trial_id, None)
        self.delivered.add(trial.trial_id)
