"""Trials one after the other in this process: no Ray, a debugger works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ablate.core.errors import AlreadyLeased
from ablate.core.study import Trial
from ablate.dispatch.queue import Queue
from ablate.dispatch.slot import RunInSlot, Slot, TrialEvents, never
from ablate.store import folder, run_store


def in_process(
    run: RunInSlot,
    trials: Iterable[Trial],
    *,
    runs: Path,
    slot: Slot,
    stopping: Callable[[], bool] = never,
    place: run_store.RunStore | None = None,
) -> TrialEvents:
    """Yield every trial's events as they happen.

    A trial that another process works on is put off, and told when that one is through with it.

    Args:
        run: given the slot, what trains.
        trials: in this order; to a `Queue`, more may be put while it runs.
        runs: folder of the run directories.
        slot: what each trial is given.
        stopping: whether to begin no further trial.
        place: where the run directories are, if not in `runs`.

    Raises:
        DiskFull: the disk is full.
    """
    place = place or folder.Folder(runs)
    queue, asked = Queue.of(trials), time.time()
    while queue and not stopping():
        trial = queue.take()
        if trial is None:
            queue.wait()
            continue
        try:
            for event in place.attempt(run(slot), trial, asked=asked, alone=True):
                yield trial, event
        except AlreadyLeased:
            queue.put_off(trial)
