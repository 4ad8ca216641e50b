"""The study's runs in one MLflow store: found, or made once, whoever is killed in between or makes them too."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate.core import provenance
from ablate.core.events import Done, Outcome, Started
from ablate.core.levels import show
from ablate.core.study import Study, Trial
from ablate.core.urls import SQLITE
from ablate.store import manifest
from ablate.tracking.owner import OWNER, experiment_name

OURS = "tags.trial_id LIKE 't%'"
"""Runs of trials, those of a tuning among them."""

TERMS = "terms."

TERMINAL = ("FINISHED", "FAILED")
_PAGE = 500
_MOST_TAGS = 100  # of one log_batch
_SECONDS_FOR_LOCK = 30.0


@dataclass
class Held:
    """A trial's run as MLflow has it. `complete`: its params and config are there. `marked`: an outcome's tags are."""

    run_id: str
    artifact_uri: str
    start_ms: int
    end_ms: int | None = None
    status: str = "RUNNING"
    complete: bool = False
    marked: bool = False

    def tells(self, outcome: Outcome) -> bool:
        """Whether everything up to this outcome was written: the status and its time are written last."""
        return self.status == status_of(outcome) and self.end_ms == ms(outcome.time)


def status_of(outcome: Outcome) -> str:
    return "FINISHED" if isinstance(outcome, Done) or outcome.kind == "pruned" else "FAILED"


def ms(seconds: float) -> int:
    return round(seconds * 1000)


class Experiment:
    """The study's experiment, its parent run and its trials' runs.

    What identifies a run is said in the call that makes it, and runs are made under a lock in the runs folder.
    Drivers that share no folder can still make a run twice; whoever looks next keeps one.
    """

    def __init__(
        self, client: Any, uri: str, study: Study, runs: Path, tags: Mapping[str, str], asked_at: float | None = None
    ) -> None:
        self.client, self.study = client, study
        self.tags = {"mlflow.user": provenance.name(), "mlflow.source.name": "ablate", **tags}
        self.held: dict[str, Held] = {}
        self._lock = FileLock(manifest.folder(runs) / f"{study.name}.mlflow.lock", timeout=_SECONDS_FOR_LOCK)
        self._last_maker = manifest.folder(runs) / f"{study.name}.mlflow"
        self._me = uuid.uuid4().hex
        self._shared = False  # whether another driver makes runs too
        manifest.folder(runs).mkdir(parents=True, exist_ok=True)
        self.name = experiment_name(client, uri, study.name)
        with self._lock:
            self.experiment_id = self._found_or_made(uri)
            self.parent_id = self._parent(asked_at or time.time())
        self.refresh()

    def refresh(self) -> None:
        """Read what runs there are; of two for one trial keep the finished one, or else the first by id."""
        with self._lock:
            self.held.clear()
            self._add(self._search(OURS))
            self._last_maker.write_text(self._me)

    def grow(self, study: Study) -> None:
        """Go on with the study as it is asked for now."""
        from mlflow.entities import RunTag

        before, now = self._terms(self.study), self._terms(study)
        new = [RunTag(key, value) for key, value in now.items() if before.get(key) != value]
        for start in range(0, len(new), _MOST_TAGS):
            self.client.log_batch(self.parent_id, tags=new[start : start + _MOST_TAGS])
        self.study = study

    def ensure(self, wanted: Sequence[tuple[Trial, int, Started | None]]) -> None:
        """Have a run for each trial that started at this time; one from an earlier start is deleted."""
        if not any(self._lacks(trial, start_ms) for trial, start_ms, _ in wanted):
            return
        with self._lock:
            made_last = self._last_maker.read_text() if self._last_maker.exists() else None
            self._shared = self._shared or made_last != self._me
            if self._shared:  # it finds those that started since, so there is more to find the next time
                since = min(start_ms for trial, start_ms, _ in wanted if self._lacks(trial, start_ms))
                self._add(self._search(f"{OURS} and attributes.start_time >= {since}"))
                self._last_maker.write_text(self._me)
            for trial, start_ms, started in wanted:
                if self._lacks(trial, start_ms):
                    if trial.trial_id in self.held:
                        self.client.delete_run(self.held.pop(trial.trial_id).run_id)
                    self.held[trial.trial_id] = self._make(trial, start_ms, started)

    def _lacks(self, trial: Trial, start_ms: int) -> bool:
        held = self.held.get(trial.trial_id)
        return held is None or held.start_ms != start_ms

    def _make(self, trial: Trial, start_ms: int, started: Started | None) -> Held:
        tags = {
            "kind": "tuning" if trial.tuning else "trial",
            "trial_id": trial.trial_id,
            "cell": str(trial.cell),
            "mlflow.parentRunId": self.parent_id,
            **self.tags,
        }
        if started is not None:
            tags |= {"host": started.host, "device": started.device, "threads": str(started.threads)}
        run = self.client.create_run(self.experiment_id, run_name=str(trial), start_time=start_ms, tags=tags)
        return Held(run.info.run_id, run.info.artifact_uri, start_ms)

    def _add(self, found: Iterable[Any]) -> None:
        """Take runs into `held`; delete the doubles, and give each its place under the parent run."""
        from mlflow.entities import RunTag

        ended_first = sorted(found, key=lambda run: (run.info.status not in TERMINAL, run.info.run_id))
        seen = set()
        for run in ended_first:
            trial_id = run.data.tags["trial_id"]
            if trial_id in seen:
                self.client.delete_run(run.info.run_id)
                continue
            seen.add(trial_id)
            info, known = run.info, self.held.get(trial_id)
            if run.data.tags.get("mlflow.parentRunId") != self.parent_id:
                self.client.log_batch(info.run_id, tags=[RunTag("mlflow.parentRunId", self.parent_id)])
            complete = info.status in TERMINAL or (known is not None and known.complete and known.run_id == info.run_id)
            self.held[trial_id] = Held(
                *(info.run_id, info.artifact_uri, info.start_time, info.end_time, info.status),
                complete=complete,
                marked="outcome" in run.data.tags,
            )

    def _search(self, condition: str) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _found_or_made(self, uri: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(self.name)
        if experiment is None:
            beside = Path(uri.removeprefix(SQLITE)).parent / "mlruns" / self.study.name
            location = beside.as_uri() if uri.startswith(SQLITE) else None
            kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view for training runs
            try:
                return self.client.create_experiment(self.name, location, {**kind, OWNER: provenance.name()})
            except MlflowException:  # a driver elsewhere was faster, or the request came through although it timed out
                experiment = self.client.get_experiment_by_name(self.name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            self.client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

    def _parent(self, asked_at: float) -> str:
        """The study's one parent run: the first made, where there are several."""
        from mlflow.entities import RunTag

        tags = self._parent_tags(asked_at)
        found = sorted(self._search("tags.kind = 'study'"), key=lambda run: (run.info.start_time, run.info.run_id))
        for double in found[1:]:
            self.client.delete_run(double.info.run_id)
        if not found:
            return self.client.create_run(self.experiment_id, run_name=self.study.name, tags=tags).info.run_id
        run_id = found[0].info.run_id
        for tag in found[0].data.tags.keys() - tags.keys():
            if tag.startswith(TERMS):  # of how it was asked another time
                self.client.delete_tag(run_id, tag)
        self.client.update_run(run_id, status="RUNNING")
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        return run_id

    def _terms(self, study: Study) -> dict[str, str]:
        return {f"{TERMS}{name}": json.dumps(value) for name, value in study.metadata.items()}

    def _parent_tags(self, asked_at: float) -> dict[str, str]:
        study = self.study
        factors = {f"factor.{name}": ", ".join(map(show, levels)) for name, levels in study.factors.items()}
        note = "  \n".join(
            [f"{len(study.cells)} cells, {len(study.trials)} trials"]
            + [f"**{name}**: {', '.join(map(show, levels))}" for name, levels in study.factors.items()]
        )
        derived = {f"derived.{key}": "" for key in study.derived}
        said = {"kind": "study", "last_said": f"{asked_at:.3f}", "mlflow.note.content": note}
        tags = {**said, **factors, **derived, **self._terms(study), **self.tags}
        if study.contrast:
            factor, levels = study.contrast
            tags["contrast"] = json.dumps({"factor": factor, "levels": list(levels)})
        return tags
