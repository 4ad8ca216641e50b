"""Trials one after the other in this process: no Ray, a debugger works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ablate.core.errors import AlreadyLeased
from ablate.core.study import Trial
from ablate.dispatch.queue import Queue
from ablate.dispatch.slot import RunInSlot, Slot, TrialEvents, never
from ablate.store.run_store import RunStore


def in_process(
    run: RunInSlot,
    trials: Iterable[Trial],
    *,
    store: RunStore,
    slot: Slot,
    stopping: Callable[[], bool] = never,
) -> TrialEvents:
    """Yield every trial's events as they happen.

    A trial that another process works on is put off, and told when that one is through with it.

    Args:
        run: given the slot, what trains.
        trials: in this order; to a `Queue`, more may be put while it runs.
        store: the run directories.
        slot: what each trial is given.
        stopping: whether to begin no further trial.

    Raises:
        DiskFull: the disk is full.
    """
    queue, asked = Queue.of(trials), time.time()
    while queue and not stopping():
        trial = queue.take()
        if trial is None:
            queue.wait()
            continue
        try:
            for event in store.attempt(run(slot), trial, requested_at=asked, alone=True):
                yield trial, event
        except AlreadyLeased:
            queue.put_off(trial)
