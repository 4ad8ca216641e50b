"""A thread of the driver that writes a study to MLflow, and goes on when MLflow is away for a while."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.core.errors import UsageError
from ablate.core.events import Event
from ablate.core.study import Study, Trial
from ablate.core.urls import absolute
from ablate.store.run_store import RunStore

if TYPE_CHECKING:
    from ablate.tracking.writer import Writer

PATIENCE_S = 30.0
"""How long `close` waits for an MLflow that is away."""

SECONDS_BETWEEN_BATCHES = 1.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 2.0
_AT_ONCE = 100  # trials whose runs are made under one lock
_FAILURES = 4  # at one trial, by a server that took others in between


@dataclass(frozen=True)
class Undelivered:
    """What MLflow lacks when the tracker has closed; as text, why. The run directories hold all of it."""

    trials: int
    reason: str

    def __str__(self) -> str:
        return self.reason


class Tracker:
    """Writes a study to MLflow from its events, in a thread of its own; the events wait while MLflow is away.

    Args:
        uri: MLflow's tracking address.
        study: what is written.
        store: the run directories. Of outcomes, those are written that were brought to this machine.
        settled: trials whose outcome is on disk already; those that MLflow lacks are delivered first.
        tags: further tags of every run, such as the code version.
        warn: is told, in one line and once, that MLflow does not answer; and at the end that it is waited for.
        asked_at: when the study was asked for, in seconds since the epoch; now, unless given.
    """

    def __init__(
        self,
        uri: str,
        study: Study,
        *,
        store: RunStore,
        settled: Sequence[Trial],
        tags: Mapping[str, str],
        warn: Callable[[str], None] = lambda line: None,
        asked_at: float | None = None,
    ) -> None:
        self._uri, self._study, self._store, self._settled, self._tags = absolute(uri), study, store, settled, tags
        self._warn, self._asked_at = warn, asked_at
        self._queue: queue.SimpleQueue[tuple[Trial, Event | None] | None] = queue.SimpleQueue()
        self._pending: dict[str, tuple[Trial, list[Event]]] = {}  # no events: those on disk
        self._refused: dict[str, str] = {}  # trial_id -> why MLflow does not take it, though it answers
        self._failures: dict[str, tuple[int, int]] = {}  # trial_id -> how many, and what was written before the last
        self._written = 0
        self._writer: Writer | None = None
        self._mistake: UsageError | None = None
        self._reason = ""
        self._closing = threading.Event()
        self._patience_s = PATIENCE_S
        self._given_up_at: float | None = None
        self._delay_s = 0.0
        self._warned = self._doubtful = self._was_away = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def delivered(self) -> int:
        """How many trials were written to their end."""
        return len(self._writer.delivered) if self._writer else 0

    @property
    def name(self) -> str:
        """Of the study's experiment, once MLflow has been reached."""
        return self._writer.experiment.name if self._writer else self._study.name

    def record(self, trial: Trial, event: Event) -> None:
        """Have the event written; returns at once. Raises the mistake that kept the thread from opening the store."""
        if self._mistake is not None:
            raise self._mistake
        self._queue.put((trial, event))

    def grow(self, study: Study, settled: Sequence[Trial]) -> None:
        """Go on with the study as it is asked for now; of its new trials, `settled` have their outcome on disk."""
        self._study = study
        for trial in settled:
            self._queue.put((trial, None))

    def close(self, patience_s: float = PATIENCE_S) -> Undelivered | UsageError | None:
        """Wait until everything is written, but no longer than `patience_s` for an MLflow that is away.

        None: all is written. The thread's last request to a server that hangs may take its timeout on top.
        """
        self._patience_s = patience_s
        self._closing.set()
        self._queue.put(None)
        self._thread.join()
        if self._mistake is not None:
            return self._mistake
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
            except UsageError as mistake:
                self._mistake, ended = mistake, True
            except Exception as error:
                ended = not (is_unavailable(error) and self._wait(why(error)))
                self._reason = why(error) if ended else ""
        if self._reason and self._writer is not None and "timed out" not in self._reason:
            self._leave(self._writer)
        if self._refused and not self._reason:
            self._reason = next(iter(self._refused.values()))

    def _leave(self, writer: Writer) -> None:
        """Close the runs of a study that is not delivered, if MLflow answers that much: nobody works at them now."""
        with contextlib.suppress(Exception):
            for trial, _ in self._pending.values():
                writer.give_up(trial)
            writer.end()

    def _step(self) -> bool:
        """Write everything that waits; return whether that was the end."""
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
        if closing:
            if self._was_away:  # a request that timed out may still have come through
                self._writer.experiment.refresh()
            self._writer.end()
        return closing

    def _open(self) -> None:
        from ablate.tracking.client import connect
        from ablate.tracking.experiment import Experiment
        from ablate.tracking.writer import Writer

        experiment = Experiment(
            connect(self._uri), self._uri, self._study, self._store.runs, self._tags, self._asked_at
        )
        writer = Writer(experiment, self._store)
        for trial in (*writer.lacking(self._settled), *writer.left_running()):
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
        """Whether MLflow fails at this trial again and again while it takes others: they must not wait for it."""
        failures, written = self._failures.get(trial.trial_id, (0, -1))
        if self._written > written:
            self._failures[trial.trial_id] = (failures + 1, self._written)
        return self._failures[trial.trial_id][0] >= _FAILURES

    def _collect(self) -> None:
        """Take what is queued; with nothing to do, wait for the first item, then let more come in."""
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
        """Let some time pass, longer each time; return whether to try again."""
        self._doubtful = self._was_away = True
        if not self._warned:
            self._warned = True
            lacks = "training goes on, and what it lacks is delivered when it is back"
            self._warn(f"MLflow at {self._uri} does not answer ({reason}); {lacks}")
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
