"""One driver's work on a study: the trials that its source gives are run, tracked and shown as results come."""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablate import dispatch
from ablate.core import provenance, urls
from ablate.core.errors import UsageError
from ablate.core.events import Failed
from ablate.core.study import Trial
from ablate.dispatch import Slot
from ablate.driver import interrupts
from ablate.driver.progress import Display
from ablate.driver.terminal import Terminal
from ablate.driver.trial_source import TrialSource
from ablate.planning.estimates import Expectations
from ablate.planning.plan import Plan
from ablate.store import manifest, run_directory
from ablate.store.run_store import RunStore
from ablate.tasks import image_classification
from ablate.tracking.record import Origin
from ablate.tracking.tracker import PATIENCE_S, Tracker, Undelivered
from ablate.training import build
from ablate.training.checkpoint_policy import CheckpointPolicy

PATIENCE_AFTER_STOP_S = 5.0
"""Seconds to wait for an MLflow that does not answer, after the user asked to stop."""


@dataclass(frozen=True)
class SessionResult:
    """What a session did.

    Attributes:
        has_run: whether there was any trial to run.
        undelivered: what MLflow did not take; None when it has everything.
        experiment: the name of the study's MLflow experiment.
        page: the address of MLflow's page of the study; None where MLflow was not reached.
    """

    has_run: bool
    undelivered: Undelivered | None
    experiment: str
    page: str | None = None


class Session:
    """Run a study to its end, or until it is stopped.

    Args:
        planned: the study's plan.
        source: gives the study's trials, and more as results come.
        stop: tells trials to stop.
        terminal: where lines and progress are printed.
        store: the run directories.
        cluster: where trials run; None for this machine.
    """

    def __init__(
        self,
        planned: Plan,
        source: TrialSource,
        stop: interrupts.Stop,
        terminal: Terminal,
        store: RunStore,
        cluster: dispatch.Cluster | None = None,
    ) -> None:
        self.planned, self.source, self.stop, self.store = planned, source, stop, store
        self.terminal, self.cluster = terminal, cluster
        self.uri: str | None = planned.settings.track.uri
        self.tags = {"code_version": provenance.code_version()}
        self.tracker: Tracker | None = None

    def run(self, *, single: bool) -> SessionResult:
        """Run the trials that are to do, and deliver everything to MLflow.

        Args:
            single: whether it is the one trial of a line without -m, which runs in this process.

        Raises:
            UsageError: MLflow's store cannot be opened.
            DiskFull: the disk is full.
            StorageUnavailable: the object store has not answered for minutes.
        """
        to_do, completed = self._sorted_by_state(self.source.begin())
        self._save_manifest(had_results=bool(completed))
        self.tracker = self._open_tracker(completed)
        patience_s = 0.0  # Ctrl-C does not wait for an MLflow that does not answer
        try:
            if to_do:
                self._follow(to_do, len(completed), single=single)
            if self.planned.is_adaptive:
                self._grow([])  # the last choices may have brought no trial
            patience_s = PATIENCE_S if self.stop.signal is None else PATIENCE_AFTER_STOP_S
        finally:
            undelivered = self.tracker.close(patience_s) if self.tracker else None
        if isinstance(undelivered, UsageError):
            raise undelivered
        experiment = self.tracker.name if self.tracker else self.planned.study.name
        return SessionResult(bool(to_do), undelivered, experiment, self.tracker.page if self.tracker else None)

    def _follow(self, to_do: Sequence[Trial], completed: int, *, single: bool) -> None:
        """Run trials, and pass each event on to the tracker, the display and the source."""
        in_process = single or self.planned.settings.dispatch.executor == "in_process"
        queue = dispatch.Queue(to_do if in_process else self._longest_first(to_do))
        total, is_open = self.source.total if self.planned.is_adaptive else (0, False)
        with (
            contextlib.closing(self._events(queue, in_process=in_process)) as events,
            Display(self.terminal.console, to_do, max(total - completed, len(to_do)), is_open=is_open) as display,
        ):
            for trial, event in events:
                if run_directory.outcome_of(event):
                    self.store.outcome(trial)  # brings what came before, for those who follow and read `store.local`
                if self.tracker:
                    self.tracker.record(trial, event)
                display.show(trial, event)
                if isinstance(event, Failed) and self.planned.settings.fail_fast and _stops_a_study(trial, event):
                    self.stop.request()
                new_trials, new_completed = self._sorted_by_state(self.source.follow(trial, event))
                if new_trials or new_completed:
                    display.add(new_trials)
                    self._grow(new_completed)
                    for new_trial in new_trials:
                        queue.put(new_trial)

    def _sorted_by_state(self, trials: Iterable[Trial]) -> tuple[list[Trial], list[Trial]]:
        """Return the trials that are to run, and those that have their outcome already.

        Both lists include the trials that follow from outcomes that are there already.
        """
        to_do, completed = [], []
        waiting, retry = collections.deque(trials), self.planned.settings.retry
        outcomes = self.store.outcomes(waiting)
        while waiting:
            trial = waiting.popleft()
            if not self.source.is_over(trial, outcomes[trial.trial_id], retry):
                to_do.append(trial)
                continue
            completed.append(trial)
            if self.planned.is_adaptive:
                for event in self.store.local.history(trial):
                    following = self.source.follow(trial, event)
                    outcomes |= self.store.outcomes(following)
                    waiting.extend(following)
        return to_do, completed

    def _grow(self, completed: Sequence[Trial]) -> None:
        """Write down what the study asks for now, before it runs."""
        self._save_manifest()
        if self.tracker:
            self.tracker.grow(self.source.study, completed)

    def _save_manifest(self, *, had_results: bool = False) -> None:
        uri = self.uri and urls.absolute(self.uri)
        study, store = self.source.study, self.store
        manifest.save(study, store.runs, uri, self.tags, store.url, had_results=had_results)

    def _open_tracker(self, completed: Sequence[Trial]) -> Tracker | None:
        if self.uri is None:
            return None
        study, origin = self.source.study, Origin.of_tags(self.tags)
        warn = self.terminal.warn
        return Tracker(self.uri, study, store=self.store, completed=completed, origin=origin, warn=warn)

    def _longest_first(self, trials: Sequence[Trial]) -> list[Trial]:
        configs = self.planned.configs
        cost_of = {cell: self._estimates.cost(configs[cell]) for cell in {trial.cell for trial in trials}}
        return sorted(trials, key=lambda trial: -cost_of[trial.cell])

    @functools.cached_property
    def _estimates(self) -> Expectations:
        return Expectations(self.store.runs)

    def _events(self, queue: dispatch.Queue, *, in_process: bool) -> dispatch.TrialEvents:
        settings, checkpoint = self.planned.settings.dispatch, self.planned.settings.checkpoint
        workers = 1 if in_process else settings.workers_per_trial
        slot = Slot(settings.cpus_per_trial, settings.gpus_per_trial, workers)
        stop_path = self.store.stop_path(self.stop.path)
        policy = CheckpointPolicy(checkpoint.epochs, checkpoint.minutes, checkpoint.keep, stop_path)
        train = functools.partial(_train, policy, self.planned.settings.cost)
        if in_process:
            return dispatch.in_process(
                train, queue, store=self.store, slot=slot, should_stop=lambda: self.stop.is_requested
            )
        options = dispatch.RayOptions(
            data=build.dataset,
            warm=image_classification.warm,
            bytes_of=lambda trial: self._estimates.peak_bytes(self.planned.configs[trial.cell]),
        )
        return dispatch.on_ray(
            train,
            queue,
            store=self.store,
            slot=slot,
            max_lost=settings.max_lost,
            should_stop=lambda: self.stop.is_requested,
            options=options,
            cluster=self.cluster,
        )


def _stops_a_study(trial: Trial, failed: Failed) -> bool:
    """Return whether fail_fast=true stops at this failure: tuning tries what may diverge, and prunes."""
    return not trial.tuning or failed.kind == "error"


def _train(policy: CheckpointPolicy, cost: bool, slot: Slot) -> run_directory.Run:
    device = "auto" if slot.gpus is None else "cuda" if slot.gpus else "cpu"
    return functools.partial(image_classification.run, threads=slot.threads, device=device, policy=policy, cost=cost)
