"""Run directories in an object store: workers work on copies, the driver reads a mirror of it in its runs folder.

<url>/<trial_id>/config.json                 the plain config
<url>/<trial_id>/claims/000001.json, .beat   who works on it: ablate/store/leases.py
<url>/<trial_id>/000001/events.jsonl         its event log, with all that was known when the lease was taken
<url>/<trial_id>/000001/checkpoint.pt, weights.pt, predictions.npz, log.txt
<url>/stops/<owner>                          a driver requests that its trials stop
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from ablate.core.errors import AlreadyLeased, StorageUnavailable
from ablate.core.events import Done, Event, Failed, Notice, Outcome
from ablate.core.study import Trial
from ablate.store import event_relay, leases, mirror, run_directory, stored_log
from ablate.store.folder import FolderStore
from ablate.store.lease_holder import STOP, LeaseHolder
from ablate.store.object_store import Objects, patiently
from ablate.store.predictions import PREDICTIONS
from ablate.store.run_store import RunStore
from ablate.store.working_copy import PATIENCE_S, Files, WorkingCopy

SHORT_PATIENCE_S = 10.0


class BucketStore(RunStore):
    """The run directories are in an object store; `runs` holds a mirror of their logs, as they were last brought.

    Events are yielded after they were stored, under a number that then was the highest.

    Args:
        url: s3://BUCKET/PREFIX.
        runs: the driver's folder, an absolute path.
        watch: knows which leases are dead.
    """

    def __init__(self, url: str, runs: Path, watch: leases.Watch | None = None) -> None:
        self.objects = Objects(url)
        super().__init__(runs, self.objects.url)
        self.watch = watch or leases.Watch()
        self.owner = uuid.uuid4().hex
        """Of this driver's attempts: what it begins again, it does not wait for."""

    @property
    def local(self) -> FolderStore:
        return FolderStore(self.runs)

    def check(self, *, writing: bool) -> None:
        self.objects.check(writing=writing)

    def attempt(
        self, run: run_directory.Run, trial: Trial, *, attempts_before: int | None = None, alone: bool = False
    ) -> Iterator[Event]:
        """Try the trial once, as `run_directory.attempt` does, in a folder that lasts as long as the attempt.

        Where the object store is unavailable for minutes it ends without an outcome, as if the worker had died.
        """
        with tempfile.TemporaryDirectory(prefix="ablate-") as folder:
            directory = Path(folder) / trial.trial_id
            with run_directory.full_disk_reported(directory):
                directory.mkdir()
                try:
                    yield from self._attempt(run, trial, directory, attempts_before, alone)
                except StorageUnavailable as error:
                    yield Notice(text=f"{self.url}: {error}; this attempt ends without an outcome")

    def _attempt(
        self, run: run_directory.Run, trial: Trial, directory: Path, attempts_before: int | None, alone: bool
    ) -> Iterator[Event]:
        log = directory / run_directory.LOG
        truth = patiently(lambda: stored_log.truth(self.objects, trial.trial_id), PATIENCE_S)
        log.write_bytes(truth.content)
        ended = run_directory.outcome(trial, directory.parent)
        attempts = run_directory.ended_attempts(trial, directory.parent)
        if run_directory.is_over(ended, attempts_before is not None and attempts > attempts_before, alone):
            if truth.copy and isinstance(ended, Done):
                patiently(functools.partial(_bring_predictions, truth.copy, directory), PATIENCE_S)
            for event in run_directory.history(trial, directory.parent):
                yield event
            return
        log.unlink()
        copy = patiently(lambda: self._take(trial.trial_id), PATIENCE_S)
        patiently(lambda: self.objects.remove([self._prune_name(trial.trial_id)]), PATIENCE_S)
        with (
            self._leased_directory(copy, trial, directory) as (files, holder),
            contextlib.closing(run_directory.events(run, trial, directory, attempts_before, alone)) as events,
        ):
            for event in event_relay.once_stored(events, log, holder, files):
                yield event

    @contextlib.contextmanager
    def _leased_directory(
        self, copy: WorkingCopy, trial: Trial, directory: Path
    ) -> Iterator[tuple[Files, LeaseHolder]]:
        """Hold the lease: heartbeats are sent from before its files are brought until they are stored."""
        files: Files | None = None
        holder = LeaseHolder(copy, trial, directory, None, self._stop_name)
        patiently(holder.begin, PATIENCE_S)
        try:
            log, obsolete = patiently(lambda: stored_log.take_over(copy, trial, directory), PATIENCE_S)
            files = Files(copy, directory)
            holder.files = files
            _write_whole(log, directory / run_directory.LOG)
            if not holder.wait(len(log), PATIENCE_S, urgent=True):
                raise AlreadyLeased(trial.trial_id) if holder.is_lost else StorageUnavailable(holder.unavailable)
            with contextlib.suppress(StorageUnavailable):  # they are of no use, and do no harm
                self.objects.remove(obsolete)
            yield files, holder
        finally:
            if files:
                files.end()
            holder.end(patience_s=SHORT_PATIENCE_S)

    def _take(self, trial_id: str, *, by_force: bool = False) -> WorkingCopy:
        lease = leases.highest(self.objects, trial_id)
        while True:
            if not by_force and lease and lease.owner != self.owner and self.watch.is_alive(lease):
                raise AlreadyLeased(trial_id)
            number = lease.number + 1 if lease else 1
            if leases.take(self.objects, trial_id, self.owner, number):
                return WorkingCopy(self.objects, trial_id, number)
            if not by_force:
                raise AlreadyLeased(trial_id)
            lease = leases.Lease(trial_id, number)

    def outcomes(self, trials: Iterable[Trial]) -> dict[str, Outcome | None]:
        """Return the trials' outcomes, after their logs were brought, and where their weights are."""
        trials = list(trials)
        outcomes = self.local.outcomes(trials)
        lacking = [trial for trial in trials if not isinstance(outcomes[trial.trial_id], Done)]
        if lacking:
            patiently(lambda: mirror.bring(self.objects, lacking, self.runs), PATIENCE_S)
        return outcomes | self.local.outcomes(lacking)

    def ended_attempts(self, trials: Iterable[Trial]) -> dict[str, int]:
        self.outcomes(trials := list(trials))
        return self.local.ended_attempts(trials)

    def history(self, trial: Trial) -> list[Event]:
        if isinstance(self.outcome(trial), Done):
            patiently(lambda: mirror.bring_predictions(self.runs / trial.trial_id), PATIENCE_S)
        return self.local.history(trial)

    def text_log(self, trial_id: str) -> Path | None:
        patiently(lambda: mirror.bring_text_log(self.runs / trial_id), PATIENCE_S)
        return self.local.text_log(trial_id)

    def is_leased(self, trial_id: str, *, by_others: bool = False) -> bool:
        lease = patiently(lambda: leases.highest(self.objects, trial_id), PATIENCE_S)
        if by_others and lease and lease.owner == self.owner:
            return False
        return self.watch.is_alive(lease)

    def leased(self, trial_ids: Iterable[str], *, surely: bool = False) -> set[str]:
        wanted = set(trial_ids)
        first = patiently(lambda: leases.highest_of(self.objects, wanted), PATIENCE_S)
        waiting = {trial_id for trial_id, lease in first.items() if self.watch.is_alive(lease)}
        alive: set[str] = set() if surely else waiting
        while waiting := waiting - alive:
            time.sleep(1)
            now = patiently(functools.partial(leases.highest_of, self.objects, waiting), PATIENCE_S)
            alive |= {
                trial_id
                for trial_id, lease in now.items()
                if lease.heartbeat != first[trial_id].heartbeat and not lease.is_over
            }
            waiting = {trial_id for trial_id, lease in now.items() if self.watch.is_alive(lease)}
        return alive

    def mark(self, trial: Trial, failed: Failed) -> Outcome:
        """Store how the trial failed where its own process could not, fence that process, and return its outcome."""
        copy = patiently(lambda: self._take(trial.trial_id, by_force=True), PATIENCE_S)
        log, obsolete = patiently(lambda: stored_log.take_over(copy, trial, None), PATIENCE_S)
        with tempfile.TemporaryDirectory(prefix="ablate-") as folder:
            path = Path(folder) / trial.trial_id / run_directory.LOG
            path.parent.mkdir()
            path.write_bytes(log)
            if isinstance(run_directory.outcome(trial, Path(folder)), Done):
                patiently(lambda: _bring_predictions(copy, path.parent), PATIENCE_S)
            else:
                run_directory.mark(trial, Path(folder), failed)
            log, last = path.read_bytes(), run_directory.history(trial, Path(folder))[-1]
        patiently(lambda: self.objects.write(copy.name(run_directory.LOG), log), PATIENCE_S)
        patiently(lambda: leases.send_heartbeat(self.objects, trial.trial_id, copy.number, leases.OVER), PATIENCE_S)
        patiently(lambda: self.objects.remove(obsolete), PATIENCE_S)
        self.outcomes([trial])
        return last if isinstance(last, Done) else failed

    def prune(self, trial: Trial, reason: str) -> None:
        with contextlib.suppress(StorageUnavailable):  # it costs time, no more
            patiently(lambda: self.objects.write(self._prune_name(trial.trial_id), reason.encode()), SHORT_PATIENCE_S)

    def stop_path(self, path: Path) -> Path:
        """Return the file that stops a trial, relative to its directory."""
        return Path(STOP)

    def request_stop(self) -> None:
        """Have this driver's trials stop, soon; return at once, as a signal's handler must."""

        def write() -> None:
            with contextlib.suppress(StorageUnavailable):
                patiently(lambda: self.objects.write(self._stop_name, b""), PATIENCE_S)

        threading.Thread(target=write, daemon=True).start()

    def withdraw_stop(self) -> None:
        with contextlib.suppress(StorageUnavailable):
            self.objects.remove([self._stop_name])

    def remove(self, trial_ids: Iterable[str]) -> None:
        for trial_id in trial_ids:
            self.objects.remove(self.objects.names(trial_id))

    @property
    def _stop_name(self) -> str:
        return f"stops/{self.owner}"

    def _prune_name(self, trial_id: str) -> str:
        return f"{trial_id}/claims/{run_directory.PRUNE}"


def _bring_predictions(copy: WorkingCopy, directory: Path) -> None:
    copy.objects.download(copy.name(PREDICTIONS), directory / PREDICTIONS)


def _write_whole(content: bytes, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
