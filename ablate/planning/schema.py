"""Types and ranges of the config: what Hydra refuses while it composes, and what `check` refuses after."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from ablate.core import urls
from ablate.core.errors import UsageError
from ablate.core.hooks import Hook, hook_of
from ablate.core.identity import flatten
from ablate.core.levels import show
from ablate.networks import description
from ablate.planning import checks
from ablate.planning.settings import CheckpointSettings

Mode = Enum("Mode", ["run", "plan"])
Scale = Enum("Scale", ["full", "smoke"])
Retry = Enum("Retry", ["none", "failed"])
Schedule = Enum("Schedule", ["warm_restarts", "cosine", "step"])
Augment = Enum("Augment", ["none", "crop", "light", "cutout", "scale_crop_flip"])
Moments = Enum("Moments", ["reestimated", "running"])
Precision = Enum("Precision", ["fp32", "tf32", "bf16", "fp16"])
Executor = Enum("Executor", ["ray", "in_process", "cluster"])
Sampler = Enum("Sampler", ["none", "tpe", "random", "grid"])
Pruner = Enum("Pruner", ["none", "median", "hyperband"])
Keep = Enum("Keep", ["none", "weights", "all"])


@dataclass
class Recipe:
    epochs: int = MISSING
    batch_size: int = MISSING
    lr: float = MISSING
    lr_floor: float = MISSING
    schedule: Schedule = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    augment: Augment = MISSING
    moments: Moments = MISSING
    precision: Precision = MISSING
    compile: bool = MISSING
    micro_batch: int | None = MISSING
    shards: int = MISSING


@dataclass
class Dispatch:
    executor: Executor = MISSING
    cpus_per_trial: float = MISSING
    gpus_per_trial: float | None = None
    workers_per_trial: int = 1
    max_lost: int = 3
    address: str | None = None
    jobs: str | None = None


@dataclass
class Tune:
    sampler: Sampler = Sampler.none
    trials: int | None = None
    epochs: int | None = None
    metric: str = "valid_acc"
    pruner: Pruner = Pruner.none
    seed: int = 10_000
    storage: str | None = None
    space: dict[str, Any] = field(default_factory=dict)


@dataclass
class Checkpoint:
    every: str = MISSING
    keep: Keep = MISSING


@dataclass
class Track:
    uri: str | None = MISSING


@dataclass
class Config:
    """The root of conf/config.yaml. model, norm and dataset are open: their YAML names a class."""

    model: Any = MISSING
    norm: Any = MISSING
    dataset: Any = MISSING
    preset: Any = None
    recipe: Recipe = MISSING
    design: Any = MISSING
    tune: Tune = field(default_factory=Tune)
    bits: int = MISSING
    depth: int = MISSING
    width: int | float = MISSING
    seeds: int | str = MISSING
    max_seeds: int = MISSING
    equivalence_pp: float = MISSING
    where: str | None = None
    when: dict[str, Any] = field(default_factory=dict)
    zip: list[Any] = field(default_factory=list)
    reference: dict[str, Any] = field(default_factory=dict)
    nuisance: dict[str, Any] = field(default_factory=dict)
    seed: int = MISSING
    study: str | None = None
    scale: Scale = MISSING
    mode: Mode = MISSING
    retry: Retry = MISSING
    fail_fast: bool = MISSING
    runs: str = MISSING
    storage: str | None = None
    cost: bool = MISSING
    checkpoint: Checkpoint = MISSING
    dispatch: Dispatch = MISSING
    track: Track = MISSING


def _number(least: float, most: float = math.inf, *, above: bool = False) -> tuple[Callable[[Any], bool], str]:
    def fits(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (value > least if above else value >= least) and value <= most

    if above:
        return fits, f"a number above {least:g}" + ("" if most == math.inf else f", up to {most:g}")
    return fits, f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"


FIRST_SEEDS = 3
"""Of every cell, with seeds=auto: the fewest that show a spread worth a test."""

_FROM_1_TO_10_000 = _number(1, 10_000)

_ALLOWED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "bits": (lambda value: value in (1, 2, 4, 8, 32), "1, 2, 4, 8, 32"),
    "width": _number(0, 1000, above=True),
    "seeds": (lambda value: value == "auto" or _FROM_1_TO_10_000[0](value), f"{_FROM_1_TO_10_000[1]}, or auto"),
    "max_seeds": _number(FIRST_SEEDS, 10_000),
    "equivalence_pp": _number(0, above=True),
    "tune.trials": _number(1),
    "tune.epochs": _number(1),
    "seed": _number(0),
    "recipe.epochs": _number(1),
    "recipe.batch_size": _number(1),
    "recipe.micro_batch": _number(1),
    "dispatch.workers_per_trial": _number(1),  # before what follows it
    "recipe.shards": _number(1),
    "recipe.lr": _number(0, above=True),
    "recipe.lr_floor": _number(0, 1),
    "recipe.momentum": _number(0, 1),
    "recipe.weight_decay": _number(0),
    "dataset.valid_fraction": _number(0, 0.5),
    "dispatch.cpus_per_trial": _number(0, above=True),
    "dispatch.gpus_per_trial": _number(0),
    "dispatch.max_lost": _number(0),
}


_KEYS = tuple(field.name for field in fields(Config))
_NEEDED = tuple(field.name for field in fields(Config) if field.default is MISSING)
_KEYS_OF = {
    name: tuple(field.name for field in fields(kind))
    for name, kind in (
        ("recipe", Recipe),
        ("dispatch", Dispatch),
        ("track", Track),
        ("checkpoint", Checkpoint),
        ("tune", Tune),
    )
}


OPEN = ("when", "reference", "nuisance", "tune.space")
"""Nodes in which any key may be typed, without Hydra's `+`."""


GROUPS_WITH_A_TARGET = ("model", "norm", "dataset")


HINTED_BATCH = 125
"""The batch size that a data set's hint of a learning rate is for."""


def register() -> None:
    """Give Hydra the types and the resolver that conf/ asks for by name."""
    OmegaConf.register_new_resolver("scaled_lr", lambda lr, batch_size: lr * batch_size / HINTED_BATCH, replace=True)
    root = OmegaConf.structured(Config)
    for node in OPEN:
        OmegaConf.set_struct(OmegaConf.select(root, node), False)
    ConfigStore.instance().store(name="schema", node=root)


def check(config: Mapping[str, Any]) -> None:
    """Raise UsageError, in one line, for a value out of range or one that a part's own check refuses.

    Args:
        config: resolved and plain, `check` keys of the groups included.
    """
    for key in config:
        if key not in _KEYS:
            raise UsageError(f"{key}={config[key]}: no such key; allowed: {', '.join(_KEYS)}")
    for key in _NEEDED:
        if key not in config:
            raise UsageError(f"{key}: taken out with ~; allowed: {key}=VALUE")
    for name, inside in _KEYS_OF.items():
        for key in config[name]:
            if key not in inside:
                raise UsageError(f"{name}.{key}={config[name][key]}: no such key; allowed: {', '.join(inside)}")
    for key, (fits, allowed) in _ALLOWED.items():
        holder, _, last = key.rpartition(".")
        value = (config[holder] if holder else config).get(last)
        if value is not None and not fits(value):
            raise UsageError(f"{key}={show(flatten(config)[key])}: allowed: {allowed}")
    check_targets(config)
    checks.micro_batch(config)
    checks.shards(config)
    checks.augment(config)
    CheckpointSettings.of(config["checkpoint"])
    _check_cluster(config["dispatch"], config["storage"])
    if config["tune"]["storage"] is not None:
        urls.refuse_password("tune.storage", config["tune"]["storage"])
    description.check(config)
    for hook in hooks(config, "check"):
        hook(config)


def _check_cluster(how: Mapping[str, Any], storage: str | None) -> None:
    is_cluster, workers = how["executor"] == "cluster", how["workers_per_trial"]
    for key in ("address", "jobs"):
        if how.get(key) is not None and not is_cluster:
            raise UsageError(f"dispatch.{key}={how[key]}: for a cluster; allowed: with dispatch=cluster")
    if is_cluster and workers > 1 and storage is not None:
        raise UsageError(
            f"dispatch.workers_per_trial={workers} storage={storage}: a trial's processes share its run directory; "
            "allowed with dispatch=cluster: a folder of all machines, in runs="
        )


def hooks(config: Mapping[str, Any], name: str) -> list[Hook]:
    """Return the functions of the config that the groups' YAML names, in every group that has the key.

    `check` (torch-free) raises UsageError, `prepare` works before a run, `multiply_adds` counts an image's.
    """
    groups = (value for value in config.values() if isinstance(value, Mapping))
    return [hook for group in groups if (hook := hook_of(group, name))]


def check_targets(config: Mapping[str, Any]) -> None:
    """Raise UsageError where a group names a class or function of a module that is not on the Python path."""
    for name in GROUPS_WITH_A_TARGET:
        _check_target(name, config[name])


def _check_target(name: str, group: Any) -> None:
    """Find the module that a group's `_target_` names, without importing it."""
    if not isinstance(group, Mapping) or "_target_" not in group:
        raise UsageError(f"{name}={group}: allowed: one of its options, or values with a _target_")
    target = str(group["_target_"])
    module = target.rpartition(".")[0]
    try:
        found = bool(module) and _is_found(module, tuple(sys.path), os.getcwd())
    except ImportError:
        found = False
    if not found:
        raise UsageError(f"{name}._target_={target}: no such module; allowed: package.module.Name, on the Python path")


@functools.lru_cache
def _is_found(module: str, _path: tuple[str, ...], _cwd: str) -> bool:
    """Whether Python finds it there; remembered where it does, since each look costs as much as a cell's plan.

    Raises:
        ImportError: it does not; that is not remembered.
    """
    if importlib.util.find_spec(module) is None:
        raise ImportError(module)
    return True
