"""A thread of the driver that writes a study to MLflow, and retries while MLflow does not answer."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.core.errors import UsageError
from ablate.core.events import Event
from ablate.core.study import Study, Trial
from ablate.core.urls import absolute
from ablate.store.run_store import RunStore
from ablate.tracking import pages
from ablate.tracking.record import Origin

if TYPE_CHECKING:
    from ablate.tracking.writer import Writer

PATIENCE_S = 30.0
"""How long `close` waits for an MLflow that does not answer."""

SECONDS_BETWEEN_BATCHES = 1.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 2.0
NOW = Origin()
_AT_ONCE = 100  # trials whose runs are made under one lock
_FAILURES = 4  # at one trial, by a server that took others in between


@dataclass(frozen=True)
class Undelivered:
    """The number of trials that MLflow lacks when the tracker has closed, and why. The run directories hold them."""

    trials: int
    reason: str

    def __str__(self) -> str:
        return self.reason


class Tracker:
    """Writes a study to MLflow from its events, in a thread of its own. Events wait while MLflow does not answer.

    Args:
        uri: MLflow's tracking address.
        study: the study to write.
        store: the run directories. Of outcomes, those are written that were brought to this machine.
        completed: trials whose outcome is on disk already; those that MLflow lacks are delivered first.
        origin: the code version, and when the study was requested.
        warn: gets one line, once, when MLflow does not answer, and one at the end when the tracker waits for it.
    """

    def __init__(
        self,
        uri: str,
        study: Study,
        *,
        store: RunStore,
        completed: Sequence[Trial] = (),
        origin: Origin = NOW,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._uri, self._study, self._store, self._completed = absolute(uri), study, store, completed
        self._origin, self._warn = origin, warn
        self._queue: queue.SimpleQueue[tuple[Trial, Event | None] | None] = queue.SimpleQueue()
        self._pending: dict[str, tuple[Trial, list[Event]]] = {}  # without events, those on disk are written
        self._refused: dict[str, str] = {}  # trial_id -> why MLflow does not take it, though it answers
        self._failures: dict[str, tuple[int, int]] = {}  # trial_id -> how many, and what was written before the last
        self._written = 0
        self._writer: Writer | None = None
        self._error: UsageError | None = None
        self._reason = ""
        self._closing = threading.Event()
        self._patience_s = PATIENCE_S
        self._given_up_at: float | None = None
        self._delay_s = 0.0
        self._warned = self._doubtful = self._was_unavailable = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def delivered(self) -> int:
        """Return how many trials were written to their end."""
        return len(self._writer.delivered) if self._writer else 0

    @property
    def name(self) -> str:
        """Return the name of the study's experiment; before MLflow was reached, the study's name."""
        return self._writer.experiment.name if self._writer else self._study.name

    @property
    def page(self) -> str | None:
        """Return the address of MLflow's page of the study; None before MLflow was reached."""
        return pages.first_page(self._uri, self._writer.experiment.experiment_id) if self._writer else None

    def record(self, trial: Trial, event: Event) -> None:
        """Queue an event for writing, and return at once.

        Raises:
            UsageError: MLflow's address cannot be opened.
        """
        if self._error is not None:
            raise self._error
        self._queue.put((trial, event))

    def grow(self, study: Study, completed: Sequence[Trial]) -> None:
        """Go on with the study as it is requested now; of its new trials, `completed` have their outcome on disk."""
        self._study = study
        for trial in completed:
            self._queue.put((trial, None))

    def close(self, patience_s: float = PATIENCE_S) -> Undelivered | UsageError | None:
        """Wait until everything is written, but no longer than `patience_s` for an MLflow that does not answer.

        Return None where everything is written. The thread's last request to a server that hangs may take that
        request's timeout in addition.
        """
        self._patience_s = patience_s
        self._closing.set()
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            return self._error
        while not self._queue.empty():  # what came after the last try
            self._take(self._queue.get())
        lacking = self._pending.keys() | self._refused.keys()
        return Undelivered(len(lacking), self._reason) if lacking or self._reason else None

    def _work(self) -> None:
        from ablate.tracking.client import is_unavailable, why

        ended = False
        while not ended:
            self._collect()
            try:
                ended = self._step()
                self._delay_s, self._given_up_at = 0.0, None
            except UsageError as error:
                self._error, ended = error, True
            except Exception as error:
                ended = not (is_unavailable(error) and self._wait(why(error)))
                self._reason = why(error) if ended else ""
        if self._reason and self._writer is not None and "timed out" not in self._reason:
            self._leave(self._writer)
        if self._refused and not self._reason:
            self._reason = next(iter(self._refused.values()))

    def _leave(self, writer: Writer) -> None:
        """Close the runs of a study that is not delivered, where MLflow answers: nobody works at its trials now."""
        with contextlib.suppress(Exception):
            for trial, _ in self._pending.values():
                writer.give_up(trial)
            writer.end()

    def _step(self) -> bool:
        """Write everything that waits; return whether the tracker is done."""
        if self._writer is None:
            self._open()
        assert self._writer is not None
        if self._doubtful:
            self._writer.experiment.refresh()
            self._doubtful = False
        closing = self._closing.is_set() and self._queue.empty()
        if self._writer.experiment.study is not self._study:
            self._writer.experiment.grow(self._study)
        while self._pending:
            self._deliver(self._writer, list(self._pending.values())[:_AT_ONCE])
            self._writer.show_progress()
        if closing:
            if self._was_unavailable:  # a request that timed out may still have come through
                self._writer.experiment.refresh()
            self._writer.end()
        return closing

    def _open(self) -> None:
        from ablate.tracking.client import connect
        from ablate.tracking.experiment import Experiment
        from ablate.tracking.writer import Writer

        uri, runs = self._uri, self._store.runs
        experiment = Experiment(connect(uri), uri, self._study, runs, self._origin)
        writer = Writer(experiment, self._store)
        for trial in (*writer.lacking(self._completed), *writer.left_running()):
            self._pending.setdefault(trial.trial_id, (trial, []))
        self._writer = writer

    def _deliver(self, writer: Writer, items: Sequence[tuple[Trial, Sequence[Event]]]) -> None:
        from ablate.tracking.client import is_unavailable, why

        for trial, events in writer.begin(items):
            try:
                writer.write(trial, events)
                self._written += 1
            except Exception as error:
                if is_unavailable(error) and not self._fails_alone(trial):
                    self._pending[trial.trial_id] = self._pending.pop(trial.trial_id)  # the others go first
                    raise
                self._refused[trial.trial_id] = why(error)
                with contextlib.suppress(Exception):
                    writer.give_up(trial)
            del self._pending[trial.trial_id]

    def _fails_alone(self, trial: Trial) -> bool:
        """Return whether MLflow fails at this trial repeatedly while it takes others, which must not wait for it."""
        failures, written = self._failures.get(trial.trial_id, (0, -1))
        if self._written > written:
            self._failures[trial.trial_id] = (failures + 1, self._written)
        return self._failures[trial.trial_id][0] >= _FAILURES

    def _collect(self) -> None:
        """Take what is queued. With nothing to do, wait for the first item, and then a moment for more."""
        if self._writer is not None and not self._pending and not self._closing.is_set():
            self._take(self._queue.get())
            self._closing.wait(SECONDS_BETWEEN_BATCHES)
        while not self._queue.empty():
            self._take(self._queue.get())

    def _take(self, item: tuple[Trial, Event | None] | None) -> None:
        if item is not None:
            trial, event = item
            if trial.trial_id not in self._refused:
                self._pending.setdefault(trial.trial_id, (trial, []))[1].extend([event] if event else [])

    def _wait(self, reason: str) -> bool:
        """Wait, longer each time; return whether to try again."""
        self._doubtful = self._was_unavailable = True
        if not self._warned:
            self._warned = True
            plan = "training goes on; missing records are sent when it answers again"
            self._warn(f"MLflow at {self._uri} does not answer ({reason}); {plan}")
        for trial, events in self._pending.values():
            if self._store.local.outcome(trial):
                events.clear()  # the disk keeps them: an outage may last for hours
                if self._writer is not None:
                    self._writer.open.pop(trial.trial_id, None)  # it is then read from its start
        self._delay_s = min(LONGEST_DELAY_S, 2 * self._delay_s or FIRST_DELAY_S)
        if not self._closing.is_set():
            self._closing.wait(self._delay_s)
            return True
        if self._given_up_at is None:
            self._given_up_at = time.monotonic() + self._patience_s
            if self._patience_s:
                self._warn(f"waiting up to {self._patience_s:.0f} s for MLflow at {self._uri}")
        left_s = self._given_up_at - time.monotonic()
        if left_s > 0:
            time.sleep(min(self._delay_s, left_s))
        return left_s > 0
