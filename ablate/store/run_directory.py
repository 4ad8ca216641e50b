"""The run directory, the truth about a trial: its config, its lease, its event log, its predictions, its checkpoints.

runs/<trial_id>/config.json       the plain config, for people and for later commands
runs/<trial_id>/claim             the lease: a lock that the working process holds while it works
runs/<trial_id>/events.jsonl      every event of every attempt, in order, one JSON object a line
runs/<trial_id>/log.txt           what the trial's code printed and warned: ablate/store/text_log.py
runs/<trial_id>/predictions.npz   the predictions of a trial that is done: ablate/store/predictions.py
runs/<trial_id>/checkpoint.pt     the state of training; checkpoint-previous.pt, the one before
runs/<trial_id>/weights.pt        the weights of a trial that is done
runs/<trial_id>/claim-of-ranks    the lease of the first of several processes that train the trial
runs/<trial_id>/prune             why tuning has the trial stop, until it does
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ablate.core.config import Config
from ablate.core.errors import AlreadyLeased, DiskFull
from ablate.core.events import Done, Epoch, Event, Failed, Notice, Outcome, Started, from_dict
from ablate.core.study import Trial
from ablate.store import event_log, predictions
from ablate.store.endings import ending_in_an_outcome, full_disk
from ablate.store.text_log import TEXT_LOG

LEASE = "claim"
CONFIG = "config.json"
LOG = "events.jsonl"
CHECKPOINTS = ("checkpoint.pt", "checkpoint-previous.pt")
WEIGHTS = "weights.pt"
PRUNE = "prune"
CODE_FOLDER = "code"
"""In the runs folder, and among the artifacts of a study's parent run: the code of users' own parts, by fingerprint."""
READERS_INSTANT_S = 0.05

Run = Callable[[Config, Path], Iterator[Event]]
"""A function that trains: a config and the run directory -> the trial's events."""


def attempt(
    run: Run, trial: Trial, runs: Path, *, attempts_before: int | None = None, alone: bool = False
) -> Iterator[Event]:
    """Try the trial once: hold its lease, log each event before yielding it, end with an outcome.

    The events of earlier attempts come first, exactly as they were yielded then, so that every reader, from wherever
    it begins to read, misses no event and gets none in two versions. The new events follow. Of a trial that is done,
    or that another process saw fail after it was requested, only the earlier events are yielded.

    An exception raised by `run` becomes `Failed`. `Stopped`, and the death of this process, leave no outcome.

    Args:
        run: trains.
        trial: one whose directory is, or will be, in `runs`.
        runs: folder of the run directories.
        attempts_before: how many attempts had ended when the trial was requested; None for as many as now.
        alone: the trial has a whole device to itself.

    Raises:
        AlreadyLeased: another process holds the lease.
        ProcessLost: a process that trained the trial together with others died.
        DiskFull: the disk is full.
    """
    directory = runs / trial.trial_id
    lock = FileLock(directory / LEASE)
    with full_disk_reported(directory):
        directory.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=READERS_INSTANT_S, poll_interval=READERS_INSTANT_S / 5)
        except Timeout:
            raise AlreadyLeased(trial.trial_id) from None
        try:
            yield from events(run, trial, directory, attempts_before, alone)
        finally:
            lock.release()


@contextlib.contextmanager
def full_disk_reported(directory: Path) -> Iterator[None]:
    """Raise DiskFull for an error whose cause is a full disk."""
    try:
        yield
    except Exception as error:
        if full := full_disk(error):
            raise DiskFull(f"{full.strerror}: {directory}") from error
        raise


def events(
    run: Run, trial: Trial, directory: Path, attempts_before: int | None, alone: bool
) -> Generator[Event, None, None]:
    """Do what `attempt` does once the lease is held, however it is held, in the trial's run directory."""
    lines = event_log.lines(directory / LOG)
    earlier = _lineage(lines, directory)
    ended = outcome_of(earlier[-1]) if earlier else None
    attempts = max((line["attempt"] for line in lines), default=0)
    over = is_over(ended, attempts_before is not None and attempts > attempts_before, alone)
    if isinstance(ended, Failed) and not over:
        earlier = earlier[:-1]
        if starts_afresh(ended):
            earlier = []
            for name in CHECKPOINTS:
                (directory / name).unlink(missing_ok=True)
    yield from (event for event in earlier)  # a generator: Ray sends into its generators, and a list takes nothing
    if over:
        return
    write_config(directory / CONFIG, trial.config)
    (directory / PRUNE).unlink(missing_ok=True)  # of an earlier attempt, or of a tuning's that is over
    new = ending_in_an_outcome(run, trial.config, directory, alone=alone)
    yield from _logged(new, directory, attempts + 1, earlier)


def _logged(new: Iterator[Event], directory: Path, number: int, earlier: Sequence[Event]) -> Iterator[Event]:
    """Yield the attempt's events that are new, each after it was logged under the attempt's number."""
    started = any(isinstance(event, Started) for event in earlier)
    epochs = {event.epoch for event in earlier if isinstance(event, Epoch)}
    with event_log.appending(directory / LOG) as log:
        for event in new:
            if isinstance(event, Epoch) and event.epoch in epochs:
                continue
            if isinstance(event, Done):
                predictions.save(directory, event)
            event_log.append(log, number, event)
            if outcome_of(event):
                (directory / PRUNE).unlink(missing_ok=True)  # it came too late, or has done its work
            if not (isinstance(event, Started) and started):
                yield event


def history(trial: Trial, runs: Path) -> list[Event]:
    """Return the trial's events as they were first yielded, however many attempts it took.

    They are Started, each Epoch once, and the outcome if there is one, with the predictions if they are in `runs`.
    Whatever came before a failure after which the trial began again from the beginning is left out.
    """
    directory = runs / trial.trial_id
    return _lineage(event_log.lines(directory / LOG), directory)


def _lineage(lines: Sequence[Mapping[str, Any]], directory: Path) -> list[Event]:
    lineage: list[Event] = []
    epochs: set[int] = set()
    for event in map(from_dict, lines):
        if lineage and isinstance(last := lineage[-1], Failed):
            lineage.pop()
            if starts_afresh(last):
                lineage, epochs = [], set()
        if isinstance(event, Epoch):
            if event.epoch in epochs:
                continue
            epochs.add(event.epoch)
        if not isinstance(event, Notice) and not (isinstance(event, Started) and lineage):
            lineage.append(event)
    return predictions.with_predictions(lineage, directory)


def is_over(ended: Outcome | None, is_new: bool, alone: bool) -> bool:
    """Return whether nothing is left to try: the trial is done, or failed for good after it was requested.

    `is_new` says that the attempt ended after the request. Attempts are counted, since the times
    of outcomes are of other machines' clocks.
    """
    return isinstance(ended, Done) or (ended is not None and is_new and not to_go_on(ended, alone))


def ended_attempts(trial: Trial, runs: Path) -> int:
    """Return the number of attempts at the trial so far, without one that has no outcome yet."""
    line = event_log.last(runs / trial.trial_id / LOG)
    return int(line["attempt"]) - (outcome_of(from_dict(line)) is None) if line else 0


def to_go_on(failed: Failed, alone: bool = False) -> bool:
    """Return whether the failure is only an interruption: pruned, its process lost, or shared memory exhausted."""
    return failed.kind in ("lost", "pruned") or (failed.kind == "oom" and alone and not failed.alone)


def starts_afresh(failed: Failed) -> bool:
    """Return whether another attempt starts from the beginning: the checkpoint would only lead to the same failure."""
    return failed.kind in ("diverged", "error")


def outcome(trial: Trial, runs: Path) -> Outcome | None:
    """Return how the trial's last attempt ended; None when it never started, is running, or lost its process.

    The outcome has no predictions, and only the log's end is read: a study of thousands is checked in seconds.
    """
    line = event_log.last(runs / trial.trial_id / LOG)
    ended = outcome_of(from_dict(line)) if line else None
    return ended.without_predictions() if isinstance(ended, Done) else ended


def outcome_of(event: Event | None) -> Outcome | None:
    """Return the event if it is an outcome."""
    return event if isinstance(event, Done | Failed) else None


def is_leased(trial_id: str, runs: Path) -> bool:
    """Return whether a process is working on the trial now.

    A reader needs no right to write, and is in no other reader's way; a worker that comes in that instant tries again.
    """
    try:
        file = os.open(runs / trial_id / LEASE, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):  # what is closed to us is not ours to wait for
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held; on a file system without locks, as long as the file is there
        return True
    else:
        return False
    finally:
        os.close(file)


def files_to_write(trial_ids: Iterable[str], runs: Path) -> Iterator[Path]:
    """Yield what is there already of that which an attempt at the trials writes to."""
    for trial_id in trial_ids:
        directory = runs / trial_id
        if directory.is_dir():
            yield from (
                path for path in (directory, *(directory / name for name in (LEASE, LOG, TEXT_LOG))) if path.exists()
            )


def prune(trial: Trial, runs: Path, reason: str) -> None:
    """Have a running trial stop, with a checkpoint, when it next looks for requests between two batches."""
    directory = runs / trial.trial_id
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f"{PRUNE}.tmp"
    temporary.write_text(reason)
    temporary.replace(directory / PRUNE)


def mark(trial: Trial, runs: Path, failed: Failed) -> Failed:
    """Store, and return, how the trial failed where its own process could not."""
    directory = runs / trial.trial_id
    directory.mkdir(parents=True, exist_ok=True)
    number = 1 + ended_attempts(trial, runs)
    with event_log.appending(directory / LOG) as log:
        event_log.append(log, number, failed)
    return failed


def write_config(path: Path, config: Config) -> None:
    """Write the config so that the file is whole, or not there."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(config, indent=2) + "\n")
    temporary.replace(path)
