"""What must hold before trials start: the machines can compute so, the data are there, the cluster grants access."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ablate import dispatch
from ablate.core import folders, hardware
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.planning import parts
from ablate.planning.plan import Plan
from ablate.planning.settings import DispatchSettings
from ablate.store import manifest, run_directory
from ablate.store.folder import FolderStore
from ablate.store.run_store import RunStore


def warnings(recipes: Sequence[Config], settings: DispatchSettings) -> list[str]:
    """Return what the user should know before trials run on this machine; raise UsageError where it cannot run them."""
    if not recipes:
        return []
    hardware.check_gpus(settings.gpus_per_trial)
    kind = hardware.kind_of_device(settings.gpus_per_trial)
    all_warnings = [hardware.check_recipe(recipe, kind) for recipe in _distinct(recipes)]
    return list(dict.fromkeys(warning for warning in all_warnings if warning))


def check_owner(planned: Plan, trial_ids: Sequence[str], runs: Path) -> None:
    """Raise UsageError where a file of the study is there, and somebody else's: trial after trial would fail."""
    files = (*manifest.files(planned.study.name, runs), *run_directory.files_to_write(trial_ids, runs))
    for path in files:
        if why := folders.refusal(path):
            raise UsageError(
                f"runs={planned.settings.runs}: {why}: {path}; allowed: a folder whose files you may write to, or a "
                "name for a new one, in which the trials are trained anew"
            )


class Data:
    """Prepares a study's data sets: on this machine, or on a cluster's machines where the images are streamed.

    Args:
        configs: one for each cell of the study.
        on_cluster: whether trials run on other machines.
        hook: the key of the function that does it: "prepare", or "look" for what downloads nothing.
    """

    def __init__(self, configs: Sequence[Config], *, on_cluster: bool, hook: str = "prepare") -> None:
        self._here: list[Callable[[], None]] = []
        self.everywhere: list[Callable[[], None]] = []
        for config in {repr(config["dataset"]): config for config in configs}.values():
            is_streamed = "workers" in config["dataset"]
            prepare = [functools.partial(function, config) for function in parts.hooks(config, hook)]
            (self.everywhere if on_cluster and is_streamed else self._here).extend(prepare)

    def read(self) -> None:
        """Prepare what this machine reads. Raise UsageError where it cannot."""
        for read in self._here:
            read()


@contextlib.contextmanager
def joined(
    head: str,
    settings: DispatchSettings,
    store: RunStore,
    recipes: Sequence[Config],
    data: Data,
    warn: Callable[[str], None],
) -> Iterator[dispatch.Cluster]:
    """Yield the cluster of the head at HOST:PORT, after each of its machines reported that it can run the trials.

    Raises:
        UsageError: it refuses access, or a machine cannot run the trials.
    """
    is_folder = isinstance(store, FolderStore)
    needs = list(data.everywhere)
    if not is_folder:
        needs.append(functools.partial(store.check, writing=True))
    with dispatch.Cluster(
        head,
        log=store.runs / "ray.log",
        runs=store.runs if is_folder else None,
        recipes=_distinct(recipes),
        reads=needs,
        on_gpu=settings.gpus_per_trial != 0,
    ) as cluster:
        for warning in cluster.warnings:
            warn(warning)
        yield cluster


def slots(settings: DispatchSettings, cluster: dispatch.Cluster | None) -> int:
    """Return how many trials run at once; raise UsageError where one is larger than every machine of the cluster."""
    return settings.slots_here if cluster is None else cluster.slots(slot(settings))


def slot(settings: DispatchSettings) -> dispatch.Slot:
    """Return what each trial of the study is given."""
    return dispatch.Slot(settings.cpus_per_trial, settings.gpus_per_trial, settings.workers_per_trial)


def _distinct(recipes: Sequence[Config]) -> list[Config]:
    return list({repr(recipe): recipe for recipe in recipes}.values())
