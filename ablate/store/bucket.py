"""Run directories in an object store: workers work on copies, the driver reads a mirror of it in its runs folder.

<url>/<trial_id>/config.json                 the plain config
<url>/<trial_id>/claims/000001.json, .beat   who works at it: ablate/store/leases.py
<url>/<trial_id>/000001/events.jsonl         its event log, with all that was known when the claim was taken
<url>/<trial_id>/000001/checkpoint.pt, weights.pt
<url>/stops/<owner>                          a driver asks its trials to stop
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from ablate.core.errors import AlreadyLeased, StorageUnavailable
from ablate.core.events import Done, Event, Failed, Notice, Outcome, Started, from_dict
from ablate.core.study import Trial
from ablate.store import event_log, leases, mirror, run_directory
from ablate.store.folder import FolderStore
from ablate.store.lease_holder import STOP, LeaseHolder
from ablate.store.object_store import Objects, patiently
from ablate.store.run_store import RunStore
from ablate.store.working_copy import CHECKPOINT, FILES, PATIENCE_S, Files, WorkingCopy

SHORT_PATIENCE_S = 10.0
LONGEST_WAIT_S, PART_OF_TRAINING = 1.0, 0.05
"""Training waits so long at most, and for so small a part of its time, for an event to be stored; then it goes on."""


class BucketStore(RunStore):
    """The run directories are in an object store, and in `runs` a mirror of their logs: what was last brought.

    Picklable: workers hold the same. What an attempt tells was stored before, under a number that then was the highest.

    Args:
        url: s3://BUCKET/PREFIX.
        runs: the driver's folder, an absolute path.
        watch: which claims are dead.
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
        self, run: run_directory.Run, trial: Trial, *, requested_at: float | None = None, alone: bool = False
    ) -> Iterator[Event]:
        """As `store.attempt`, in a folder that lasts as long as the attempt.

        Where the object store is away for minutes it ends without an outcome, as if the worker had died.
        """
        requested_at = time.time() if requested_at is None else requested_at
        with tempfile.TemporaryDirectory(prefix="ablate-") as made:
            directory = Path(made) / trial.trial_id
            with run_directory.full_disk_reported(directory):
                directory.mkdir()
                try:
                    yield from self._attempt(run, trial, directory, requested_at, alone)
                except StorageUnavailable as away:
                    yield Notice(text=f"{self.url}: {away}; this attempt ends without an outcome")

    def _attempt(
        self, run: run_directory.Run, trial: Trial, directory: Path, requested_at: float, alone: bool
    ) -> Iterator[Event]:
        log = directory / run_directory.LOG
        log.write_bytes(patiently(lambda: self._truth(trial.trial_id), PATIENCE_S))
        if run_directory.is_over(run_directory.outcome(trial, directory.parent), requested_at, alone):
            for event in run_directory.history(trial, directory.parent):
                yield event
            return
        log.unlink()
        copy = patiently(lambda: self._take(trial.trial_id), PATIENCE_S)
        patiently(lambda: self.objects.remove([self._prune(trial.trial_id)]), PATIENCE_S)
        with (
            self._held(copy, trial, directory) as (files, holding),
            contextlib.closing(run_directory.events(run, trial, directory, requested_at, alone)) as told,
        ):
            for event in _once_stored(told, log, holding, files):
                yield event

    @contextlib.contextmanager
    def _held(self, copy: WorkingCopy, trial: Trial, directory: Path) -> Iterator[tuple[Files, LeaseHolder]]:
        """The claim's heart beats from before its files are brought until they are stored."""
        files: Files | None = None
        holding = LeaseHolder(copy, trial, directory, None, self._stop)
        patiently(holding.begin, PATIENCE_S)
        try:
            log, before = patiently(lambda: self._inherit(copy, trial, directory), PATIENCE_S)
            files = Files(copy, directory)
            holding.files = files
            _move(log, directory / run_directory.LOG)
            if not holding.wait(len(log), PATIENCE_S, urgent=True):
                raise AlreadyLeased(trial.trial_id) if holding.is_lost else StorageUnavailable(holding.away)
            with contextlib.suppress(StorageUnavailable):  # they are of no use, and of no harm
                self.objects.remove(before)
            yield files, holding
        finally:
            if files:
                files.end()
            holding.end(patience_s=SHORT_PATIENCE_S)

    def _inherit(self, copy: WorkingCopy, trial: Trial, directory: Path | None) -> tuple[bytes, list[str]]:
        """Put under the claim's number what stood under the one before; return its log, and what is no longer needed.

        The checkpoint comes first, and the log, which makes the number the truth, is the caller's to store. Called
        after the claim was made: whatever its last holder stored later was never told.
        """
        names = self.objects.names(trial.trial_id)
        if f"{trial.trial_id}/{run_directory.CONFIG}" not in names:
            self.objects.write(f"{trial.trial_id}/{run_directory.CONFIG}", json.dumps(trial.config, indent=2).encode())
        earlier = [WorkingCopy(self.objects, trial.trial_id, number) for number in range(1, copy.number)]
        before = next((one for one in reversed(earlier) if one.name(run_directory.LOG) in names), None)
        log = (before and self.objects.read(before.name(run_directory.LOG))) or b""
        last = event_log.last_of(log)
        ended = last and run_directory.outcome_of(from_dict(last))
        afresh = isinstance(ended, Failed) and run_directory.starts_afresh(ended)
        for file in FILES:
            if before and not afresh and before.name(file) in names:
                self.objects.copy(before.name(file), copy.name(file))
                if directory:
                    self.objects.download(copy.name(file), directory / file)
        return log, [name for one in earlier if (name := one.name(CHECKPOINT)) in names]

    def _truth(self, trial_id: str) -> bytes:
        """The log under the highest number; an outcome in it was there while that number was the highest."""
        number = leases.last_number(self.objects, trial_id)
        while number:
            log = self.objects.read(WorkingCopy(self.objects, trial_id, number).name(run_directory.LOG)) or b""
            last = event_log.last_of(log)
            again = (
                leases.last_number(self.objects, trial_id)
                if last and run_directory.outcome_of(from_dict(last))
                else number
            )
            if again == number:
                return log
            number = again
        return b""

    def _take(self, trial_id: str, *, by_force: bool = False) -> WorkingCopy:
        claim = leases.highest(self.objects, trial_id)
        while True:
            if not by_force and claim and claim.owner != self.owner and self.watch.is_alive(claim):
                raise AlreadyLeased(trial_id)
            number = claim.number + 1 if claim else 1
            if leases.take(self.objects, trial_id, self.owner, number):
                return WorkingCopy(self.objects, trial_id, number)
            if not by_force:
                raise AlreadyLeased(trial_id)
            claim = leases.Claim(trial_id, number)

    def is_leased(self, trial_id: str, *, by_others: bool = False) -> bool:
        claim = patiently(lambda: leases.highest(self.objects, trial_id), PATIENCE_S)
        if by_others and claim and claim.owner == self.owner:
            return False
        return self.watch.is_alive(claim)

    def leased(self, trial_ids: Iterable[str], *, surely: bool = False) -> set[str]:
        asked = set(trial_ids)
        first = patiently(lambda: leases.highest_of(self.objects, asked), PATIENCE_S)
        waiting = {one for one, claim in first.items() if self.watch.is_alive(claim)}
        alive: set[str] = set() if surely else waiting
        while waiting := waiting - alive:
            time.sleep(1)
            now = patiently(functools.partial(leases.highest_of, self.objects, waiting), PATIENCE_S)
            alive |= {one for one, claim in now.items() if claim.beat != first[one].beat and not claim.is_over}
            waiting = {one for one, claim in now.items() if self.watch.is_alive(claim)}
        return alive

    def outcomes(self, trials: Iterable[Trial]) -> dict[str, Outcome | None]:
        """Return the trials' outcomes, after their logs were brought, and where their weights are."""
        trials = list(trials)
        outcomes = self.local.outcomes(trials)
        lacking = [trial for trial in trials if not isinstance(outcomes[trial.trial_id], Done)]
        if lacking:
            patiently(lambda: mirror.bring(self.objects, lacking, self.runs), PATIENCE_S)
        return outcomes | self.local.outcomes(lacking)

    def history(self, trial: Trial) -> list[Event]:
        self.outcomes([trial])
        return self.local.history(trial)

    def mark(self, trial: Trial, failed: Failed) -> Outcome:
        """Store how the trial failed where its own process could not, fence that process, and return its outcome."""
        copy = patiently(lambda: self._take(trial.trial_id, by_force=True), PATIENCE_S)
        log, before = patiently(lambda: self._inherit(copy, trial, None), PATIENCE_S)
        with tempfile.TemporaryDirectory(prefix="ablate-") as made:
            path = Path(made) / trial.trial_id / run_directory.LOG
            path.parent.mkdir()
            path.write_bytes(log)
            if not isinstance(run_directory.outcome(trial, Path(made)), Done):
                run_directory.mark(trial, Path(made), failed)
            log, last = path.read_bytes(), run_directory.history(trial, Path(made))[-1]
        patiently(lambda: self.objects.write(copy.name(run_directory.LOG), log), PATIENCE_S)
        patiently(lambda: leases.beat(self.objects, trial.trial_id, copy.number, leases.OVER), PATIENCE_S)
        patiently(lambda: self.objects.remove(before), PATIENCE_S)
        self.outcomes([trial])
        return last if isinstance(last, Done) else failed

    def prune(self, trial: Trial, reason: str) -> None:
        """Have a running trial stop, with a checkpoint, soon."""
        with contextlib.suppress(StorageUnavailable):  # it costs time, no more
            patiently(lambda: self.objects.write(self._prune(trial.trial_id), reason.encode()), SHORT_PATIENCE_S)

    def stop_path(self, stop: Path) -> Path:
        """The file that trials look for, relative to their directories."""
        return Path(STOP)

    def request_stop(self) -> None:
        """Have this driver's trials stop, soon; returns at once, as a signal's handler must."""

        def ask() -> None:
            with contextlib.suppress(StorageUnavailable):
                patiently(lambda: self.objects.write(self._stop, b""), PATIENCE_S)

        threading.Thread(target=ask, daemon=True).start()

    def withdraw_stop(self) -> None:
        with contextlib.suppress(StorageUnavailable):
            self.objects.remove([self._stop])

    def remove(self, trial_ids: Iterable[str]) -> None:
        """Take trials away for good. Raises StorageUnavailable."""
        for trial_id in trial_ids:
            self.objects.remove(self.objects.names(trial_id))

    @property
    def _stop(self) -> str:
        return f"stops/{self.owner}"

    def _prune(self, trial_id: str) -> str:
        return f"{trial_id}/claims/{run_directory.PRUNE}"


def _once_stored(events: Iterator[Event], log: Path, holding: LeaseHolder, files: Files) -> Iterator[Event]:
    """The events, each as soon as it is stored, in order; training goes on while the object store is away.

    Raises:
        AlreadyLeased: somebody else has the trial.
        StorageUnavailable: the outcome, or the last checkpoint, could not be stored for minutes.
    """
    held: deque[tuple[int, Event]] = deque()
    said = time.monotonic()
    for event in events:
        size = log.stat().st_size
        held.append((size, event))
        if run_directory.outcome_of(event):
            with contextlib.suppress(StorageUnavailable):
                files.flush(PATIENCE_S)
            _wait(holding, size)
        else:
            begins = isinstance(event, Started)
            wait_s = LONGEST_WAIT_S if begins else PART_OF_TRAINING * (time.monotonic() - said)
            holding.wait(size, min(LONGEST_WAIT_S, wait_s), urgent=begins)
        if holding.is_lost:
            raise AlreadyLeased(log.parent.name)
        while held and held[0][0] <= holding.stored:
            yield held.popleft()[1]
        said = time.monotonic()
    files.flush(PATIENCE_S)
    if held:
        _wait(holding, held[-1][0])
    for _, event in held:
        yield event


def _wait(holding: LeaseHolder, size: int) -> None:
    """Until the log is stored. Raises AlreadyLeased or StorageUnavailable where it is not."""
    if not holding.wait(size, PATIENCE_S, urgent=True):
        raise AlreadyLeased if holding.is_lost else StorageUnavailable(holding.away)


def _move(content: bytes, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
