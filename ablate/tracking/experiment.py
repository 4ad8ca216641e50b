"""The study's runs in one MLflow store: each is made once, even when a driver is killed in between or two make it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ablate.core import provenance, requests
from ablate.core.events import Done, Outcome, Started
from ablate.core.study import Study, Trial
from ablate.core.text import shortened
from ablate.core.urls import SQLITE
from ablate.store import manifest
from ablate.tracking import notes, pages
from ablate.tracking.moved import beside
from ablate.tracking.owner import experiment_name
from ablate.tracking.record import (
    EVERY_TRIAL,
    OWNER,
    PARENT_RUN,
    RECORD_VERSION,
    Origin,
    StudyRecord,
    TrialRecord,
    is_of_request,
    metadata_tags,
    of_kind,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

TERMINAL = ("FINISHED", "FAILED")
_PAGE = 500
_MOST_TAGS = 100  # of one log_batch
_SECONDS_FOR_LOCK = 30.0
MOST_BYTES_OF_NAME = 250
"""Of a run, in MLflow's databases."""


@dataclass
class TrackedRun:
    """A trial's run as MLflow has it.

    `complete` says that its params and config are there. `outcome` is that of its tags. `version` is its record's.
    """

    run_id: str
    artifact_uri: str
    start_ms: int
    end_ms: int | None = None
    status: str = "RUNNING"
    complete: bool = False
    outcome: str | None = None
    version: int = RECORD_VERSION

    def has(self, outcome: Outcome) -> bool:
        """Return whether everything up to this outcome is written: the status and its time are written last."""
        return self.status == status_of(outcome) and self.end_ms == ms(outcome.time)


def status_of(outcome: Outcome) -> str:
    return "FINISHED" if isinstance(outcome, Done) or outcome.kind == "pruned" else "FAILED"


def ms(seconds: float) -> int:
    return round(seconds * 1000)


class Experiment:
    """The study's experiment, its parent run and its trials' runs.

    The call that makes a run also writes the tags that identify it, and runs are made under a lock in the runs folder.
    Drivers that share no folder can still make a run twice; the next driver that looks keeps one of the two.
    """

    def __init__(
        self,
        client: MlflowClient,
        uri: str,
        study: Study,
        runs: Path,
        origin: Origin,
    ) -> None:
        self.client, self.study = client, study
        self.user, self.code_version = provenance.name(), origin.code_version
        self.tracked: dict[str, TrackedRun] = {}  # by trial_id
        self._lock = FileLock(manifest.folder(runs) / f"{study.name}.mlflow.lock", timeout=_SECONDS_FOR_LOCK)
        self._last_driver = manifest.folder(runs) / f"{study.name}.mlflow"  # names the driver that made runs last
        self._driver = uuid.uuid4().hex
        self._shared = False  # whether another driver makes runs too
        manifest.folder(runs).mkdir(parents=True, exist_ok=True)
        self.name = experiment_name(client, uri, study.name)
        with self._lock:
            self.experiment_id = self._experiment(uri)
            self.parent_id = self._parent(origin.requested_at or time.time())
            self.page = pages.StudyPage(self.experiment_id, self.parent_id)
            self.describe()
            pages.write_views(client, self.experiment_id, list(study.factors), ms(time.time()))
        self.refresh()

    def describe(self, counts: Mapping[str, int] | None = None) -> None:
        """Write the description of the study as it is now; `counts` once its trials do not run any more."""
        text = notes.of_study(self.study, self._metadata, self.page, counts)
        notes.write(self.client, self.experiment_id, self.parent_id, text)

    def counts(self) -> dict[str, int]:
        """Return how many of the study's trials, as far as they are known, are done, failed, running or to do."""
        is_tuned = any(trial.tuning for trial in self.study.trials)
        counts = dict.fromkeys(("done", "failed", *(["pruned"] if is_tuned else []), "running", "to do"), 0)
        for trial in self.study.trials:
            run = self.tracked.get(trial.trial_id)
            if run and run.outcome:
                counts[run.outcome if run.outcome in ("done", "pruned") else "failed"] += 1
            else:
                counts["running" if run and run.status == "RUNNING" else "to do"] += 1
        return counts

    def refresh(self) -> None:
        """Read the runs that there are; of two for one trial keep the finished one, or else the first by id."""
        with self._lock:
            self.tracked.clear()
            self._add(self._search(EVERY_TRIAL))
            self._last_driver.write_text(self._driver)

    def grow(self, study: Study) -> None:
        """Go on with the study as it is requested now."""
        before, now = metadata_tags(self.study.metadata), metadata_tags(study.metadata)
        for tag in before.keys() - now.keys():
            self.untag(self.parent_id, tag)
        self._tag_parent(self.parent_id, {key: value for key, value in now.items() if before.get(key) != value})
        self.study = study

    def record_of(self, trial: Trial, started: Started | None = None) -> TrialRecord:
        """Return the record of a trial that has no outcome yet."""
        record = TrialRecord.of(trial, user=self.user, code_version=self.code_version)
        if started is None:
            return record
        record = replace(record, host=started.host, device=started.device, threads=started.threads)
        return replace(record, machine=started.machine)

    def untag(self, run_id: str, tag: str) -> None:
        """Delete a tag of a run, if it is there."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.delete_tag(run_id, tag)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def ensure(self, wanted: Sequence[tuple[Trial, int, Started | None]]) -> None:
        """Have a run for each trial that started at this time; delete the run of an earlier start.

        Args:
            wanted: each trial with the time of its start, in milliseconds since the epoch, and its first event.
        """
        if not any(self._lacks(trial, start_ms) for trial, start_ms, _ in wanted):
            return
        with self._lock:
            last_driver = self._last_driver.read_text() if self._last_driver.exists() else None
            self._shared = self._shared or last_driver != self._driver
            if self._shared:  # it finds those that started since, so there is more to find the next time
                since = min(start_ms for trial, start_ms, _ in wanted if self._lacks(trial, start_ms))
                self._add(self._search(f"{EVERY_TRIAL} and attributes.start_time >= {since}"))
                self._last_driver.write_text(self._driver)
            for trial, start_ms, started in wanted:
                if self._lacks(trial, start_ms):
                    if trial.trial_id in self.tracked:
                        self.client.delete_run(self.tracked.pop(trial.trial_id).run_id)
                    self.tracked[trial.trial_id] = self._make(trial, start_ms, started)

    def _lacks(self, trial: Trial, start_ms: int) -> bool:
        tracked = self.tracked.get(trial.trial_id)
        return tracked is None or tracked.start_ms != start_ms

    def _make(self, trial: Trial, start_ms: int, started: Started | None) -> TrackedRun:
        tags = {PARENT_RUN: self.parent_id, notes.NOTE: notes.of_trial(trial), **pages.VISIT}
        tags |= self.record_of(trial, started).to_tags()
        run = self.client.create_run(
            self.experiment_id, run_name=shortened(str(trial), MOST_BYTES_OF_NAME), start_time=start_ms, tags=tags
        )
        return TrackedRun(run.info.run_id, run.info.artifact_uri, start_ms)

    def _add(self, runs: Iterable[Run]) -> None:
        """Take runs into `tracked`; delete the doubles, and put each below the parent run."""
        from mlflow.entities import RunTag

        ended_first = sorted(runs, key=lambda run: (run.info.status not in TERMINAL, run.info.run_id))
        seen = set()
        for run in ended_first:
            record = TrialRecord.from_tags(run.data.tags, {})
            if record.trial_id in seen:
                self.client.delete_run(run.info.run_id)
                continue
            seen.add(record.trial_id)
            info, known = run.info, self.tracked.get(record.trial_id)
            if run.data.tags.get(PARENT_RUN) != self.parent_id:
                self.client.log_batch(info.run_id, tags=[RunTag(PARENT_RUN, self.parent_id)])
            complete = info.status in TERMINAL or (known is not None and known.complete and known.run_id == info.run_id)
            self.tracked[record.trial_id] = TrackedRun(
                info.run_id,
                info.artifact_uri,
                info.start_time,
                info.end_time,
                info.status,
                complete=complete,
                outcome=record.outcome,
                version=record.version,
            )

    def _search(self, condition: str) -> Iterator[Run]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _experiment(self, uri: str) -> str:
        """Return the id of the study's experiment, which is made if it is not there."""
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(self.name)
        if experiment is None:
            is_file = uri.startswith(SQLITE)
            location = beside(Path(uri.removeprefix(SQLITE)), self.study.name).as_uri() if is_file else None
            kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view for training runs
            try:
                return str(self.client.create_experiment(self.name, location, {**kind, OWNER: self.user}))
            except MlflowException:  # a driver elsewhere was faster, or the request came through although it timed out
                experiment = self.client.get_experiment_by_name(self.name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            self.client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _parent(self, requested_at: float) -> str:
        """Return the id of the study's one parent run: the first made, where there are several."""
        tags = StudyRecord.of(self.study, requested_at, user=self.user, code_version=self.code_version).to_tags()
        self._metadata = dict(self.study.metadata)
        parents = sorted(self._search(of_kind("study")), key=lambda run: (run.info.start_time, run.info.run_id))
        for double in parents[1:]:
            self.client.delete_run(double.info.run_id)
        if not parents:
            return str(self.client.create_run(self.experiment_id, run_name=self.study.name, tags=tags).info.run_id)
        run_id = str(parents[0].info.run_id)
        before = StudyRecord.from_tags(parents[0].data.tags).metadata
        done = next(self._search(f"{EVERY_TRIAL} and attributes.status = 'FINISHED'"), None)
        self._metadata = requests.merged(self.study.metadata, before, had_results=done is not None)
        tags |= metadata_tags(self._metadata)
        for tag in parents[0].data.tags.keys() - tags.keys():
            if is_of_request(tag):
                self.client.delete_tag(run_id, tag)
        self.client.update_run(run_id, status="RUNNING")
        self._tag_parent(run_id, tags)
        return run_id

    def _tag_parent(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        new = [RunTag(key, value) for key, value in tags.items()]
        for start in range(0, len(new), _MOST_TAGS):
            self.client.log_batch(run_id, tags=new[start : start + _MOST_TAGS])
