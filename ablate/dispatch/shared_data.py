"""Data sets that many trials share: each is made once, and held in memory once on a node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ablate.core.config import Config
from ablate.core.study import Trial
from ablate.dispatch.ray_private import raised_by_task


class SharedData:
    """Data sets made in a process of their own. They lie in Ray's object store, from which every worker maps them.

    Args:
        ray: the Ray that runs.
        make: a trial's config -> its data; None where trials need no data.
        node: the scheduling strategy of the node that makes them. In a cluster that is the driver's, since the study's
            files are there. None for any node.
    """

    def __init__(self, ray: Any, make: Callable[[Config], object] | None, node: Any = None) -> None:
        self.ray, self.make = ray, make
        self.references: dict[str, Any] = {}
        self.key_of: dict[str, str] = {}
        self.missing: set[str] = set()
        on_node = {"scheduling_strategy": node} if node else {}
        self.task = ray.remote(num_cpus=0, max_retries=3, **on_node)(call)

    def request(self, trials: Iterable[Trial]) -> None:
        """Start to make the data of these trials, where that has not been started."""
        if self.make is None:
            return
        for trial in trials:
            if trial.trial_id in self.key_of:
                continue
            key = self.key_of[trial.trial_id] = json.dumps(trial.config["dataset"], sort_keys=True)
            if key not in self.references:
                self.references[key] = self.task.remote(self.make, trial.config)
                self.missing.add(key)

    def update(self) -> None:
        """Note which data has been made since the last update."""
        for key in list(self.missing):
            if self.ray.wait([self.references[key]], timeout=0, fetch_local=False)[0]:
                self.missing.remove(key)

    def is_made(self, trial: Trial) -> bool:
        """Return whether the trial's data was there at the last update."""
        self.request([trial])
        return not self.missing or self.key_of[trial.trial_id] not in self.missing

    def of(self, trial: Trial) -> list[Any]:
        """Return the reference to the trial's data in a list, or an empty list where trials need no data.

        In a list, since Ray would otherwise load the data before the task begins.
        """
        return [self.references[self.key_of[trial.trial_id]]] if self.make else []


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the function, in a worker.

    Ray takes only functions, and it sends one by name faster than by value.
    """
    return function(*arguments)


def load(reference: Any) -> Any:
    """Return, in a worker, the data behind a reference. Raise the error of the task that made it, where it failed."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise raised_by_task(error) from error
