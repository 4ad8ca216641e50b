"""The run directory, the truth about a trial: its config, its claim, its event log and its checkpoints.

runs/<trial_id>/config.json       the plain config, for people and for later commands
runs/<trial_id>/claim             a lock that the working process holds while it works
runs/<trial_id>/events.jsonl      every event of every attempt, in order, one JSON object a line
runs/<trial_id>/checkpoint.pt     training as it stood; checkpoint-previous.pt, the one before
runs/<trial_id>/weights.pt        of a trial that is done
runs/<trial_id>/claim-of-ranks    the same, of the first of several processes that train it
runs/<trial_id>/prune             why a tuning has the trial stop, until it does
"""

from __future__ import annotations

import contextlib
import errno
import json
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ablate.core.errors import AlreadyLeased, DiskFull, Diverged, ProcessLost, Pruned, Stopped, UsageError
from ablate.core.events import Done, Epoch, Event, Failed, Notice, Outcome, Started, from_dict
from ablate.core.study import Trial
from ablate.store import event_log

CLAIM = "claim"
CONFIG = "config.json"
LOG = "events.jsonl"
CHECKPOINTS = ("checkpoint.pt", "checkpoint-previous.pt")
WEIGHTS = "weights.pt"
PRUNE = "prune"

Run = Callable[[Mapping[str, Any], Path], Iterator[Event]]
"""What trains: a config and the run directory in, a trial's events out."""


def attempt(
    run: Run, trial: Trial, runs: Path, *, requested_at: float | None = None, alone: bool = False
) -> Iterator[Event]:
    """One try at a trial: hold its claim, log each event before yielding it, end with an outcome.

    What earlier attempts told is told again first, word for word, so that whoever follows, and from whatever
    point, misses nothing and hears nothing twice in two versions. Then comes what is new. A trial that is done,
    or that somebody else saw fail since it was asked for, is only told again.

    An exception raised by `run` becomes `Failed`; `Stopped`, and the death of this process, leave no outcome.

    Args:
        run: what trains.
        trial: one whose directory is, or will be, in `runs`.
        runs: folder of the run directories.
        requested_at: when the trial was asked for, in seconds since the epoch; None for now.
        alone: the trial has a whole device to itself.

    Raises:
        AlreadyLeased: another process holds the claim.
        ProcessLost: a process that trained it together with others died.
        DiskFull: the disk is full.
    """
    directory = runs / trial.trial_id
    lock = FileLock(directory / CLAIM)
    with full_disk_reported(directory):
        directory.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise AlreadyLeased(trial.trial_id) from None
        try:
            yield from events(run, trial, directory, time.time() if requested_at is None else requested_at, alone)
        finally:
            lock.release()


@contextlib.contextmanager
def full_disk_reported(directory: Path) -> Iterator[None]:
    """Raises DiskFull for an error behind which is a full disk."""
    try:
        yield
    except Exception as error:
        if full := _full_disk(error):
            raise DiskFull(f"{full.strerror}: {directory}") from error
        raise


def events(run: Run, trial: Trial, directory: Path, requested_at: float, alone: bool) -> Generator[Event, None, None]:
    """What `attempt` does once the trial is claimed, however that is done, in its run directory."""
    lines = event_log.lines(directory / LOG)
    told = _lineage(lines)
    ended = outcome_of(told[-1]) if told else None
    over = is_over(ended, requested_at, alone)
    if isinstance(ended, Failed) and not over:
        told = told[:-1]
        if starts_afresh(ended):
            told = []
            for name in CHECKPOINTS:
                (directory / name).unlink(missing_ok=True)
    for event in told:  # not `yield from`: Ray sends into its generators, and a list takes nothing
        yield event
    if over:
        return
    write_config(directory / CONFIG, trial.config)
    (directory / PRUNE).unlink(missing_ok=True)  # of an earlier attempt, or of a tuning's that is over
    number = 1 + max((line["attempt"] for line in lines), default=0)
    started = any(isinstance(event, Started) for event in told)
    epochs = {event.epoch for event in told if isinstance(event, Epoch)}
    with event_log.appending(directory / LOG) as log:
        for event in _ending_in_an_outcome(run, trial.config, directory, alone=alone):
            if isinstance(event, Epoch) and event.epoch in epochs:
                continue
            event_log.append(log, number, event)
            if outcome_of(event):
                (directory / PRUNE).unlink(missing_ok=True)  # it came too late, or has done its work
            if not (isinstance(event, Started) and started):
                yield event


def history(trial: Trial, runs: Path) -> list[Event]:
    """What there is to tell of the trial: Started, each Epoch once, the outcome if there is one.

    As first told, however many attempts it took. A failure that was tried again from the beginning is history
    of its own, and left out.
    """
    return _lineage(event_log.lines(runs / trial.trial_id / LOG))


def _lineage(lines: Iterable[Mapping[str, Any]]) -> list[Event]:
    told: list[Event] = []
    epochs: set[int] = set()
    for event in map(from_dict, lines):
        if told and isinstance(last := told[-1], Failed):
            told.pop()
            if starts_afresh(last):
                told, epochs = [], set()
        if isinstance(event, Epoch):
            if event.epoch in epochs:
                continue
            epochs.add(event.epoch)
        if not isinstance(event, Notice) and not (isinstance(event, Started) and told):
            told.append(event)
    return told


def is_over(ended: Outcome | None, requested_at: float, alone: bool) -> bool:
    """Whether there is no more to try: the trial is done, or was seen to fail since it was asked for, for good."""
    return isinstance(ended, Done) or (ended is not None and ended.time > requested_at and not to_go_on(ended, alone))


def to_go_on(failed: Failed, alone: bool = False) -> bool:
    """Whether the failure is only an interruption: pruned, its process lost, or memory that it shared run out."""
    return failed.kind in ("lost", "pruned") or (failed.kind == "oom" and alone and not failed.alone)


def starts_afresh(failed: Failed) -> bool:
    """Whether trying again begins at the beginning: going on would only lead there again."""
    return failed.kind in ("diverged", "error")


def outcome(trial: Trial, runs: Path) -> Outcome | None:
    """How the trial's last attempt ended; None when it never started, is running, or lost its process.

    Without the predictions, and from the log's last line only: a study of thousands is checked in seconds.
    """
    event = event_log.last(runs / trial.trial_id / LOG)
    return outcome_of(from_dict(event)) if event else None


def outcome_of(event: Event | None) -> Outcome | None:
    return event if isinstance(event, Done | Failed) else None


def is_leased(trial_id: str, runs: Path) -> bool:
    """Whether a process is working on the trial now."""
    claim = runs / trial_id / CLAIM
    if not claim.exists():
        return False
    try:
        with FileLock(claim, timeout=0):
            return False
    except Timeout:
        return True


def prune(trial: Trial, runs: Path, reason: str) -> None:
    """Have a running trial stop, with a checkpoint, at its next look between two batches."""
    directory = runs / trial.trial_id
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f"{PRUNE}.tmp"
    temporary.write_text(reason)
    temporary.replace(directory / PRUNE)


def mark(trial: Trial, runs: Path, failed: Failed) -> Failed:
    """Store, and return, how the trial failed where its own process could not say so."""
    directory = runs / trial.trial_id
    directory.mkdir(parents=True, exist_ok=True)
    number = max((line["attempt"] for line in event_log.lines(directory / LOG)), default=1)
    with event_log.appending(directory / LOG) as log:
        event_log.append(log, number, failed)
    return failed


def _ending_in_an_outcome(run: Run, config: Mapping[str, Any], directory: Path, *, alone: bool) -> Iterator[Event]:
    try:
        last: Event | None = None
        for last in run(config, directory):
            yield last
        if outcome_of(last) is None:
            yield Failed(kind="error", reason="the trial ended without saying Done or Failed")
    except ProcessLost:
        raise
    except Stopped:
        return
    except Pruned as error:
        yield Failed(kind="pruned", reason=str(error))
    except Diverged as error:
        yield Failed(kind="diverged", reason=str(error))
    except Exception as error:
        if _full_disk(error):
            raise
        out_of_memory = (
            isinstance(error, MemoryError)
            or type(error).__name__ == "OutOfMemoryError"
            or "can't allocate memory" in str(error)  # torch on a CPU raises a bare RuntimeError
        )
        yield Failed(
            kind="oom" if out_of_memory else "error",
            reason=str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}".splitlines()[0],
            traceback=traceback.format_exc(),
            alone=alone,
        )


def _full_disk(error: BaseException | None) -> OSError | None:
    """The error of a full disk, or of a used-up quota, behind this one; torch hides it behind one of its own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        error = error.__cause__ or error.__context__
    return None


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Whole, or not there."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(config, indent=2) + "\n")
    temporary.replace(path)
