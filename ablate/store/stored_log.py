"""The event log of a trial in an object store: which one counts, and how a new lease takes it over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ablate.core.events import Event, Failed, from_dict
from ablate.core.study import Trial
from ablate.store import event_log, leases, run_directory
from ablate.store.object_store import Objects
from ablate.store.text_log import TEXT_LOG
from ablate.store.working_copy import CHECKPOINT, FILES, WorkingCopy


@dataclass(frozen=True)
class StoredLog:
    """A log, whole, and what else is stored under its number; for a trial that nobody began, no copy."""

    content: bytes
    copy: WorkingCopy | None

    @property
    def last(self) -> Event | None:
        """The event of its last whole line; None when there is none."""
        line = event_log.last_of(self.content)
        return from_dict(line) if line else None


def truth(objects: Objects, trial_id: str) -> StoredLog:
    """Return the log under the highest number; an outcome in it was there while that number was the highest."""
    number = leases.last_number(objects, trial_id)
    while number:
        copy = WorkingCopy(objects, trial_id, number)
        log = StoredLog(objects.read(copy.name(run_directory.LOG)) or b"", copy)
        is_outcome = run_directory.outcome_of(log.last) is not None
        still = leases.last_number(objects, trial_id) if is_outcome else number
        if still == number:
            return log
        number = still
    return StoredLog(b"", None)


def take_over(copy: WorkingCopy, trial: Trial, directory: Path | None) -> tuple[bytes, list[str]]:
    """Store under the lease's number what is stored under the one before, and bring it into the directory, if any.

    The checkpoint comes first. The log makes the number the truth: storing it is left to the caller. This is called
    after the lease was taken, so that whatever its last holder stores from now on does not count.

    Returns:
        The log, and the names of the objects that are no longer needed once it is stored.
    """
    objects, trial_id = copy.objects, trial.trial_id
    names = objects.names(trial_id)
    if f"{trial_id}/{run_directory.CONFIG}" not in names:
        objects.write(f"{trial_id}/{run_directory.CONFIG}", json.dumps(trial.config, indent=2).encode())
    earlier = [WorkingCopy(objects, trial_id, number) for number in range(1, copy.number)]
    before = next((other for other in reversed(earlier) if other.name(run_directory.LOG) in names), None)
    log = StoredLog((before and objects.read(before.name(run_directory.LOG))) or b"", before)
    afresh = isinstance(log.last, Failed) and run_directory.starts_afresh(log.last)
    for file in FILES:
        if before and (file == TEXT_LOG or not afresh) and before.name(file) in names:
            objects.copy(before.name(file), copy.name(file))
            if directory:
                objects.download(copy.name(file), directory / file)
    return log.content, [name for other in earlier if (name := other.name(CHECKPOINT)) in names]
