"""What must hold before trials start: machines that compute so, data that is there, a cluster that lets one in."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ablate import dispatch
from ablate.core import hardware
from ablate.planning import parts
from ablate.planning.settings import DispatchSettings
from ablate.store.folder import FolderStore
from ablate.store.run_store import RunStore


def warnings(recipes: Sequence[Mapping[str, Any]], how: DispatchSettings) -> list[str]:
    """What to say before trials run on this machine; raises UsageError where it cannot run them."""
    if not recipes:
        return []
    hardware.check_gpus(how.gpus_per_trial)
    kind = hardware.kind_of_device(how.gpus_per_trial)
    told = [hardware.check_recipe(recipe, kind) for recipe in _unlike(recipes)]
    return list(dict.fromkeys(warning for warning in told if warning))


class Data:
    """What gets the data sets of a study ready: here, or, of a cluster's trials, where it is streamed from.

    Args:
        configs: of the study's cells.
        on_cluster: whether trials run on other machines.
    """

    def __init__(self, configs: Sequence[Mapping[str, Any]], *, on_cluster: bool) -> None:
        self._here: list[Callable[[], None]] = []
        self.everywhere: list[Callable[[], None]] = []
        for config in {repr(config["dataset"]): config for config in configs}.values():
            is_streamed = "workers" in config["dataset"]
            prepare = [functools.partial(hook, config) for hook in parts.hooks(config, "prepare")]
            (self.everywhere if on_cluster and is_streamed else self._here).extend(prepare)

    def read(self) -> None:
        """Get ready what this machine reads. Raises UsageError where it cannot."""
        for read in self._here:
            read()


@contextlib.contextmanager
def joined(
    head: str,
    how: DispatchSettings,
    store: RunStore,
    recipes: Sequence[Mapping[str, Any]],
    data: Data,
    say: Callable[[str, str], None],
) -> Iterator[dispatch.Cluster]:
    """The cluster of the head at HOST:PORT, once each of its machines has said that it can run the trials.

    Raises:
        UsageError: it lets nobody in, or a machine cannot run them.
    """
    is_folder = isinstance(store, FolderStore)
    needs = list(data.everywhere)
    if not is_folder:
        needs.append(functools.partial(store.check, writing=True))
    with dispatch.Cluster(
        head,
        log=store.runs / "ray.log",
        runs=store.runs if is_folder else None,
        recipes=_unlike(recipes),
        reads=needs,
        on_gpu=how.gpus_per_trial != 0,
    ) as cluster:
        for warning in cluster.warnings:
            say(warning, "yellow")
        yield cluster


def slots(how: DispatchSettings, cluster: dispatch.Cluster | None) -> int:
    """Trials that run at once; raises UsageError where one is larger than every machine of the cluster."""
    if cluster is None:
        return how.slots_here
    return cluster.slots(dispatch.Slot(how.cpus_per_trial, how.gpus_per_trial, how.workers_per_trial))


def _unlike(recipes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({repr(one): one for one in recipes}.values())
