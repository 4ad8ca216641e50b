"""Data sets that many trials share: made once, held once on a node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ablate.core.study import Trial


class SharedData:
    """What trials share, made in a process of its own and kept in Ray's store, whence every worker maps it.

    `where` is the node of a cluster that makes it, the driver's, whose files the line is about; None for any.
    """

    def __init__(self, ray: Any, make: Callable[[Mapping[str, Any]], Any] | None, where: Any = None) -> None:
        self.ray, self.make = ray, make
        self.made: dict[str, Any] = {}
        self.key_of: dict[str, str] = {}
        self.missing: set[str] = set()
        how = {"scheduling_strategy": where} if where else {}
        self.task = ray.remote(num_cpus=0, max_retries=3, **how)(call)

    def ask_for(self, trials: Iterable[Trial]) -> None:
        """Have made what these trials need; asking again costs nothing."""
        if self.make is None:
            return
        for trial in trials:
            if trial.trial_id in self.key_of:
                continue
            key = self.key_of[trial.trial_id] = json.dumps(trial.config["dataset"], sort_keys=True)
            if key not in self.made:
                self.made[key] = self.task.remote(self.make, trial.config)
                self.missing.add(key)

    def look(self) -> None:
        """See what has been made since the last look."""
        for key in list(self.missing):
            if self.ray.wait([self.made[key]], timeout=0, fetch_local=False)[0]:
                self.missing.remove(key)

    def is_ready(self, trial: Trial) -> bool:
        """Whether the trial's data was there at the last look."""
        self.ask_for([trial])
        return not self.missing or self.key_of[trial.trial_id] not in self.missing

    def of(self, trial: Trial) -> list[Any]:
        """In a list, lest Ray hand its contents to the task before it begins."""
        return [self.made[self.key_of[trial.trial_id]]] if self.make else []


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """In a worker: Ray takes functions only, and one by name is sent faster than one by value."""
    return function(*arguments)


def held(reference: Any) -> Any:
    """In a worker: what Ray's store holds. Raises what kept it from being made."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
