"""The thread of a lease's holder: it sends heartbeats, stores the log as it grows, and looks for requests."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from ablate.core.errors import StorageUnavailable
from ablate.core.study import Trial
from ablate.store import leases, run_directory
from ablate.store.working_copy import RESULTS, Files, WorkingCopy

STOP = "stop"
"""In the trial's directory: the driver requested that all its trials stop, or the lease is lost."""

SECONDS_BETWEEN_WRITES = 1.0
SECONDS_BETWEEN_LOOKS = 2.0
"""For requests, and for somebody with a higher number."""


class LeaseHolder:
    """A thread that keeps a lease, from now until `end`, and stores the trial's log under it.

    `stored` is the size in bytes of the part of the log that is known to be stored under a number that was then the
    highest: its events are final. `is_lost` says that somebody holds a higher number, and no more events count.
    `unavailable` says why the object store could not be reached at the last try; empty if it could.

    Args:
        copy: names the lease.
        trial: the leased trial.
        directory: where the trial is worked on, on this machine.
        files: stores the results of the trial, before its log with `Done`; None where another process stores them,
            or they are yet to be brought.
        stop: name of the object that requests the driver's trials to stop.
    """

    def __init__(self, copy: WorkingCopy, trial: Trial, directory: Path, files: Files | None, stop: str) -> None:
        self._copy, self._trial, self._directory, self.files, self._stop = copy, trial, directory, files, stop
        self.stored, self.is_lost, self.unavailable = 0, False, ""
        self._sent = 0
        self._looked_at = self._heartbeat_at = self._wrote_at = float("-inf")
        self._heartbeats = 0
        self._urgent = self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def begin(self) -> None:
        """Send a heartbeat, look for earlier requests, then go on in the thread. Raises StorageUnavailable."""
        self._pass()
        self._thread.start()

    def wait(self, size: int, seconds: float, *, urgent: bool = False) -> bool:
        """Have the log stored; return whether its first `size` bytes are, after at most so many seconds.

        The log is stored about once a second, however fast it grows, unless it is urgent.
        """
        with self._changed:
            self._urgent = self._urgent or urgent
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.stored >= size or self.is_lost, seconds)
            return self.stored >= size

    def end(self, *, patience_s: float) -> None:
        """Send no more heartbeats, and give the lease back if the object store answers within so long."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(patience_s)
        if not self.is_lost:
            with contextlib.suppress(StorageUnavailable):
                leases.send_heartbeat(self._copy.objects, self._copy.trial_id, self._copy.number, leases.OVER)

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
                self.unavailable = ""
            except StorageUnavailable as error:
                self.unavailable = str(error)
            except Exception as error:  # the thread must go on: while it sends heartbeats nobody else takes the trial
                self.unavailable = f"{type(error).__name__}: {error}"
            with self._changed:
                self._changed.notify_all()

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            return True
        return now - self._wrote_at >= SECONDS_BETWEEN_WRITES and len(self._log()) > self.stored

    def _pass(self) -> None:
        objects, now = self._copy.objects, time.monotonic()
        if now - self._heartbeat_at >= leases.HEARTBEAT_S:
            self._heartbeats += 1
            text = str(self._heartbeats).encode()
            leases.send_heartbeat(objects, self._copy.trial_id, self._copy.number, text)
            self._heartbeat_at = now
        log = self._log()
        if len(log) > self.stored:
            self._wrote_at = now
        if len(log) > self._sent and self._results_are_stored():
            objects.write(self._copy.name(run_directory.LOG), log)
            self._sent = len(log)
        if self._sent > self.stored or now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self._look()
        with self._changed:
            if not self.is_lost:  # seen after the log was written: whoever took over since has read it
                self.stored = self._sent

    def _log(self) -> bytes:
        """Return the whole lines of the log."""
        try:
            log = (self._directory / run_directory.LOG).read_bytes()
        except FileNotFoundError:
            return b""
        return log[: log.rfind(b"\n") + 1]

    def _results_are_stored(self) -> bool:
        """Return whether every result file is stored. Called after the log was read: results come before Done."""
        files = self.files
        return files is None or all(not (self._directory / name).exists() or files.is_stored(name) for name in RESULTS)

    def _look(self) -> None:
        names = self._copy.objects.names(f"{self._copy.trial_id}/claims")
        if max(leases.numbers(self._copy.trial_id, names), default=0) > self._copy.number:
            self.is_lost = True
        prune = f"{self._copy.trial_id}/claims/{run_directory.PRUNE}"
        if prune in names and (reason := self._copy.objects.read(prune)) is not None:
            run_directory.prune(self._trial, self._directory.parent, reason.decode())
        if self.is_lost or self._copy.objects.read(self._stop) is not None:
            (self._directory / STOP).touch()
