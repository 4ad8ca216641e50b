"""What a claim's holder does beside training: its heart beats, its log is stored as it grows, requests are heard."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from ablate.core.errors import StorageUnavailable
from ablate.core.study import Trial
from ablate.store import leases, run_directory
from ablate.store.working_copy import Files, WorkingCopy

STOP = "stop"
"""In the trial's directory: the driver asked all its trials to stop, or the claim is lost."""

SECONDS_BETWEEN_WRITES = 1.0
SECONDS_BETWEEN_LOOKS = 2.0
"""At requests, and at whether somebody holds a higher number."""


class LeaseHolder:
    """A thread that keeps a claim, from now until `end`, and stores the trial's log under it.

    `stored` are the bytes of the log that are known to stand under a number that was then the highest: whatever they
    tell is told for good. `is_lost`: somebody holds a higher one, and nothing more is told. `away` says why the object
    store could not be reached at the last try, if it could not.

    Args:
        copy: names the claim.
        trial: the one claimed.
        directory: where it is worked on, on this machine.
        files: its weights are stored before its log says that it is done; None where another process stores them, or
            they are yet to be brought.
        stop: name of the object that asks the driver's trials to stop.
    """

    def __init__(self, copy: WorkingCopy, trial: Trial, directory: Path, files: Files | None, stop: str) -> None:
        self._copy, self._trial, self._directory, self.files, self._stop = copy, trial, directory, files, stop
        self.stored, self.is_lost, self.away = 0, False, ""
        self._sent = 0
        self._looked = self._beaten = self._wrote = float("-inf")
        self._beats = 0
        self._urgent = self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def begin(self) -> None:
        """Beat, and hear what was asked before, then go on in the thread. Raises StorageUnavailable."""
        self._pass()
        self._thread.start()

    def wait(self, size: int, seconds: float, *, urgent: bool = False) -> bool:
        """Have the log stored; return whether its first `size` bytes are, after at most so many seconds.

        Once every second or so, however much is told, unless it is urgent.
        """
        with self._changed:
            self._urgent = self._urgent or urgent
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.stored >= size or self.is_lost, seconds)
            return self.stored >= size

    def end(self, *, patience_s: float) -> None:
        """Stop beating, and give the claim back, if the object store answers within so long."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(patience_s)
        if not self.is_lost:
            with contextlib.suppress(StorageUnavailable):
                leases.beat(self._copy.objects, self._copy.trial_id, self._copy.number, leases.OVER)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._urgent or self._is_due(), 0.2)
                if self._over:
                    return
                if not (self._urgent or self._is_due()):
                    continue
                self._urgent = False
            try:
                self._pass()
                self.away = ""
            except StorageUnavailable as away:
                self.away = str(away)
            except Exception as error:  # the thread must go on: while it beats nobody else takes the trial
                self.away = f"{type(error).__name__}: {error}"
            with self._changed:
                self._changed.notify_all()

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self._looked >= SECONDS_BETWEEN_LOOKS:
            return True
        return now - self._wrote >= SECONDS_BETWEEN_WRITES and len(self._log()) > self.stored

    def _pass(self) -> None:
        now = time.monotonic()
        if now - self._beaten >= leases.BEAT_S:
            self._beats += 1
            leases.beat(self._copy.objects, self._copy.trial_id, self._copy.number, str(self._beats).encode())
            self._beaten = now
        log = self._log()
        if len(log) > self.stored:
            self._wrote = now
        if len(log) > self._sent and self._may_tell():
            self._copy.objects.write(self._copy.name(run_directory.LOG), log)
            self._sent = len(log)
        if self._sent > self.stored or now - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = now
            self._look()
        with self._changed:
            if not self.is_lost:  # seen after the log was written: whoever took over since has read it
                self.stored = self._sent

    def _log(self) -> bytes:
        """Its whole lines."""
        try:
            log = (self._directory / run_directory.LOG).read_bytes()
        except FileNotFoundError:
            return b""
        return log[: log.rfind(b"\n") + 1]

    def _may_tell(self) -> bool:
        """Called after the log was read: weights are there before it says that the trial is done."""
        weights = run_directory.WEIGHTS
        return self.files is None or not (self._directory / weights).exists() or self.files.is_stored(weights)

    def _look(self) -> None:
        names = self._copy.objects.names(f"{self._copy.trial_id}/claims")
        if max(leases.numbers(self._copy.trial_id, names), default=0) > self._copy.number:
            self.is_lost = True
        prune = f"{self._copy.trial_id}/claims/{run_directory.PRUNE}"
        if prune in names and (reason := self._copy.objects.read(prune)) is not None:
            run_directory.prune(self._trial, self._directory.parent, reason.decode())
        if self.is_lost or self._copy.objects.read(self._stop) is not None:
            (self._directory / STOP).touch()
