"""One driver's work at a study: what its agenda asks for is run, tracked and shown, as results come."""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

from ablate import dispatch
from ablate.core import urls
from ablate.core.errors import UsageError
from ablate.core.events import Failed
from ablate.core.study import Trial
from ablate.dispatch import Slot
from ablate.driver import interrupts
from ablate.driver.progress import Display
from ablate.driver.trial_source import TrialSource
from ablate.planning.estimates import Expectations
from ablate.planning.plan import Plan
from ablate.store import manifest, run_directory
from ablate.store.run_store import RunStore
from ablate.tasks import image_classification
from ablate.tracking.tracker import PATIENCE_S, Tracker, Undelivered
from ablate.training import build
from ablate.training.checkpoint_policy import CheckpointPolicy

STOPPING_PATIENCE_S = 5.0
"""How long an MLflow that is away is waited for when one has asked to stop."""


class Session:
    """Runs a study to its end, or until it is stopped.

    Args:
        planned: its plan.
        agenda: its trials, as they come.
        stop: tells trials to stop.
        console: where progress is drawn.
        say: told a line, and its style.
        code_version: a tag of every run.
        store: the run directories.
        cluster: where trials run; None for this machine.
    """

    def __init__(
        self,
        planned: Plan,
        agenda: TrialSource,
        stop: interrupts.Stop,
        console: Console,
        say: Callable[[str, str], None],
        code_version: str,
        store: RunStore,
        cluster: dispatch.Cluster | None = None,
    ) -> None:
        self.planned, self.agenda, self.stop, self.store = planned, agenda, stop, store
        self.console, self.say, self.cluster = console, say, cluster
        self.uri: str | None = planned.settings.track.uri
        self.tags = {"code_version": code_version}
        self.tracker: Tracker | None = None

    @property
    def name(self) -> str:
        """Of the study's experiment."""
        return self.tracker.name if self.tracker else self.planned.study.name

    def run(self, *, single: bool) -> tuple[bool, Undelivered | None]:
        """Run what there is; return whether there was anything, and what kept MLflow from taking it.

        Args:
            single: the one trial of a line without -m, in this process.
        """
        to_do, settled = self._admitted(self.agenda.begin())
        self._remember()
        self.tracker = self._track(settled)
        patience_s = 0.0  # Ctrl-C does not wait for an MLflow that is away
        try:
            if to_do:
                self._follow(to_do, len(settled), single=single)
            if self.planned.is_adaptive:
                self._grow([])  # what was chosen last may have brought no trial
            patience_s = PATIENCE_S if self.stop.signal is None else STOPPING_PATIENCE_S
        finally:
            complaint = self.tracker.close(patience_s) if self.tracker else None
        if isinstance(complaint, UsageError):
            raise complaint
        return bool(to_do), complaint

    def _follow(self, to_do: Sequence[Trial], settled: int, *, single: bool) -> None:
        in_process = single or self.planned.settings.dispatch.executor == "in_process"
        queue = dispatch.Queue(to_do if in_process else self._longest_first(to_do))
        total, is_open = self.agenda.total if self.planned.is_adaptive else (0, False)
        with (
            contextlib.closing(self._events(queue, in_process=in_process)) as events,
            Display(self.console, to_do, max(total - settled, len(to_do)), is_open=is_open) as display,
        ):
            for one, event in events:
                if run_directory.outcome_of(event):
                    self.store.outcome(one)  # brings what came before, for those who follow and read `store.local`
                if self.tracker:
                    self.tracker.record(one, event)
                display.show(one, event)
                if isinstance(event, Failed) and self.planned.settings.fail_fast and _is_unwanted(one, event):
                    self.stop.ask()
                more, over = self._admitted(self.agenda.follow(one, event))
                if more or over:
                    display.add(more)
                    self._grow(over)
                    for new in more:
                        queue.put(new)

    def _admitted(self, trials: Iterable[Trial]) -> tuple[list[Trial], list[Trial]]:
        """The trials that are to run, and those whose outcome was there, with those that this brings."""
        to_do, settled = [], []
        waiting, retry = collections.deque(trials), self.planned.settings.retry
        outcomes = self.store.outcomes(waiting)
        while waiting:
            one = waiting.popleft()
            if not self.agenda.is_over(one, outcomes[one.trial_id], retry):
                to_do.append(one)
                continue
            settled.append(one)
            if self.planned.is_adaptive:
                for event in self.store.local.history(one):
                    brought = self.agenda.follow(one, event)
                    outcomes |= self.store.outcomes(brought)
                    waiting.extend(brought)
        return to_do, settled

    def _grow(self, settled: Sequence[Trial]) -> None:
        """Write down what the study asks for now, before it runs."""
        self._remember()
        if self.tracker:
            self.tracker.grow(self.agenda.study, settled)

    def _remember(self) -> None:
        uri = self.uri and urls.absolute(self.uri)
        manifest.save(self.agenda.study, self.store.runs, uri, self.tags, self.store.url)

    def _track(self, settled: Sequence[Trial]) -> Tracker | None:
        if self.uri is None:
            return None
        study, tags = self.agenda.study, self.tags
        return Tracker(self.uri, study, store=self.store, settled=settled, tags=tags, warn=self._warn)

    def _warn(self, line: str) -> None:
        self.say(line, "yellow")

    def _longest_first(self, trials: Sequence[Trial]) -> list[Trial]:
        configs = self.planned.configs
        cost_of = {cell: self._expected.cost(configs[cell]) for cell in {one.cell for one in trials}}
        return sorted(trials, key=lambda one: -cost_of[one.cell])

    @functools.cached_property
    def _expected(self) -> Expectations:
        return Expectations(self.store.runs)

    def _events(self, queue: dispatch.Queue, *, in_process: bool) -> dispatch.TrialEvents:
        how, kept = self.planned.settings.dispatch, self.planned.settings.checkpoint
        slot = Slot(how.cpus_per_trial, how.gpus_per_trial, 1 if in_process else how.workers_per_trial)
        care = CheckpointPolicy(kept.epochs, kept.minutes, kept.keep, self.store.stop_path(self.stop.path))
        train = functools.partial(_train, care, self.planned.settings.cost)
        stopping = self.stop.is_asked
        if in_process:
            return dispatch.in_process(train, queue, store=self.store, slot=slot, stopping=stopping)
        aids = dispatch.RayOptions(
            data=build.dataset,
            warm=image_classification.warm,
            bytes_of=lambda one: self._expected.peak_bytes(self.planned.configs[one.cell]),
        )
        return dispatch.on_ray(
            *(train, queue),
            store=self.store,
            slot=slot,
            max_lost=how.max_lost,
            stopping=stopping,
            aids=aids,
            cluster=self.cluster,
        )


def _is_unwanted(one: Trial, failed: Failed) -> bool:
    """Whether a failure is one to stop at: a tuning tries what may diverge, and prunes."""
    return not one.tuning or failed.kind == "error"


def _train(care: CheckpointPolicy, cost: bool, slot: Slot) -> run_directory.Run:
    device = "auto" if slot.gpus is None else "cuda" if slot.gpus else "cpu"
    return functools.partial(image_classification.run, threads=slot.threads, device=device, policy=care, cost=cost)
