"""Trials one after the other in this process, without Ray, so that a debugger works."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ablate.core.errors import AlreadyLeased
from ablate.core.study import Trial
from ablate.dispatch.queue import Queue, Requests
from ablate.dispatch.slot import RunInSlot, Slot, TrialEvents, never
from ablate.store.run_store import RunStore
from ablate.store.text_log import logged


def in_process(
    run: RunInSlot,
    trials: Iterable[Trial],
    *,
    store: RunStore,
    slot: Slot,
    should_stop: Callable[[], bool] = never,
) -> TrialEvents:
    """Yield every trial's events as they happen.

    A trial that another process works on is put off, and its events are yielded when that process has finished.

    Args:
        run: given the slot, returns what trains.
        trials: run in this order; more may be put into a `Queue` while it runs.
        store: the run directories.
        slot: the resources of each trial.
        should_stop: whether to start no further trial.

    Raises:
        DiskFull: the disk is full.
    """
    queue = Queue.of(trials)
    requested = Requests(store, queue)
    while queue and not should_stop():
        trial = queue.take()
        if trial is None:
            queue.wait()
            continue
        before = requested.attempts_before(trial)
        try:
            for event in store.attempt(logged(run(slot), "python"), trial, attempts_before=before, alone=True):
                yield trial, event
        except AlreadyLeased:
            queue.put_off(trial)
