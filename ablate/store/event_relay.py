"""Passes on each event of a trial in an object store, after it was stored."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from ablate.core.errors import AlreadyLeased, StorageUnavailable
from ablate.core.events import Event, Started
from ablate.store import run_directory
from ablate.store.lease_holder import LeaseHolder
from ablate.store.working_copy import PATIENCE_S, Files

LONGEST_WAIT_S, PART_OF_TRAINING = 1.0, 0.05
"""Training waits at most so long, and for so small a part of its time, for an event to be stored; then it goes on."""


def once_stored(events: Iterator[Event], log: Path, holder: LeaseHolder, files: Files) -> Iterator[Event]:
    """Yield the events, each as soon as it is stored, in order; training goes on while the store is unavailable.

    Raises:
        AlreadyLeased: somebody else has the trial.
        StorageUnavailable: the outcome, or the last checkpoint, could not be stored for minutes.
    """
    waiting: deque[tuple[int, Event]] = deque()
    yielded_at = time.monotonic()
    for event in events:
        size = log.stat().st_size
        waiting.append((size, event))
        if run_directory.outcome_of(event):
            _store_outcome(holder, files, size)
        else:
            begins = isinstance(event, Started)
            wait_s = LONGEST_WAIT_S if begins else PART_OF_TRAINING * (time.monotonic() - yielded_at)
            holder.wait(size, min(LONGEST_WAIT_S, wait_s), urgent=begins)
        if holder.is_lost:
            raise AlreadyLeased(log.parent.name)
        while waiting and waiting[0][0] <= holder.stored:
            yield waiting.popleft()[1]
        yielded_at = time.monotonic()
    files.flush(PATIENCE_S)
    if waiting:
        _wait(holder, waiting[-1][0])
    for _, event in waiting:
        yield event


def _store_outcome(holder: LeaseHolder, files: Files, size: int) -> None:
    """Have the results stored, then the log. Raises AlreadyLeased, or StorageUnavailable where that takes minutes."""
    try:
        files.flush(PATIENCE_S)
    except StorageUnavailable as error:
        if holder.is_lost:
            raise AlreadyLeased from error
        raise
    _wait(holder, size)


def _wait(holder: LeaseHolder, size: int) -> None:
    """Wait until the log's first `size` bytes are stored. Raises AlreadyLeased or StorageUnavailable if that fails."""
    if not holder.wait(size, PATIENCE_S, urgent=True):
        raise AlreadyLeased if holder.is_lost else StorageUnavailable(holder.unavailable)
