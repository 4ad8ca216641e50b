"""Types and ranges of the config: the types that Hydra checks while it composes, and what `check` checks after.

A key without a default here must be in conf/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from ablate.cli import home
from ablate.core import urls
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import flatten
from ablate.core.levels import is_number, show
from ablate.networks import description
from ablate.planning import checks, parts
from ablate.planning.settings import CheckpointSettings

Mode = Enum("Mode", ["run", "plan"])
Scale = Enum("Scale", ["full", "smoke"])
Retry = Enum("Retry", ["none", "failed"])
CodeVersion = Enum("CodeVersion", ["current", "any"])
Schedule = Enum("Schedule", ["warm_restarts", "cosine", "step"])
Augment = Enum("Augment", ["none", "crop", "light", "cutout", "scale_crop_flip"])
NormStatistics = Enum("NormStatistics", ["reestimated", "running"])
Precision = Enum("Precision", ["fp32", "tf32", "bf16", "fp16"])
Executor = Enum("Executor", ["ray", "in_process", "cluster"])
Sampler = Enum("Sampler", ["none", "tpe", "random", "grid"])
Pruner = Enum("Pruner", ["none", "median", "hyperband"])
Bootstrap = Enum("Bootstrap", ["none", "train"])
Keep = Enum("Keep", ["none", "weights", "all"])


@dataclass
class RecipeSchema:
    epochs: int = MISSING
    batch_size: int = MISSING
    lr: float = MISSING
    lr_floor: float = MISSING
    schedule: Schedule = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    augment: Augment = MISSING
    moments: NormStatistics = MISSING
    precision: Precision = MISSING
    compile: bool = MISSING
    micro_batch: int | None = MISSING
    shards: int = MISSING


@dataclass
class DispatchSchema:
    executor: Executor = MISSING
    cpus_per_trial: float = MISSING
    gpus_per_trial: float | None = None
    workers_per_trial: int = 1
    max_lost: int = 3
    address: str | None = None
    jobs: str | None = None


@dataclass
class TuneSchema:
    sampler: Sampler = Sampler.none
    trials: int | None = None
    epochs: int | None = None
    metric: str = "valid_acc"
    pruner: Pruner = Pruner.none
    seed: int = 10_000
    storage: str | None = None
    searches: int = 1
    space: dict[str, Any] = field(default_factory=dict)


@dataclass
class CheckpointSchema:
    every: str = MISSING
    keep: Keep = MISSING


@dataclass
class TrackSchema:
    uri: str | None = MISSING


@dataclass
class Schema:
    """The root of conf/config.yaml. model, norm and dataset are open: their YAML names a class or function."""

    model: Any = MISSING
    norm: Any = MISSING
    dataset: Any = MISSING
    preset: Any = None
    recipe: RecipeSchema = MISSING
    design: Any = MISSING
    tune: TuneSchema = field(default_factory=TuneSchema)
    bits: int = MISSING
    depth: int = MISSING
    width: int | float = MISSING
    resplit: bool = MISSING
    bootstrap: Bootstrap = MISSING
    seeds: int | str = MISSING
    max_seeds: int = MISSING
    equivalence_pp: float = MISSING
    collapsed_below: float | None = None
    hypotheses: list[Any] = field(default_factory=list)
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
    code: CodeVersion = MISSING
    fail_fast: bool = MISSING
    runs: str = MISSING
    storage: str | None = None
    cost: bool = MISSING
    checkpoint: CheckpointSchema = MISSING
    dispatch: DispatchSchema = MISSING
    track: TrackSchema = MISSING


_Range = tuple[Callable[[object], bool], str]
"""Returns whether a value is allowed, and says in words which values are."""


def _number(least: float, most: float = math.inf, *, above: bool = False) -> _Range:
    """Return the range from `least` to `most`, both included; with `above`, `least` is not."""

    def fits(value: object) -> bool:
        if not is_number(value) or not math.isfinite(value):
            return False
        return (value > least if above else value >= least) and value <= most

    if above:
        return fits, f"a number above {least:g}" + ("" if most == math.inf else f", up to {most:g}")
    return fits, f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"


FIRST_SEEDS = 3
"""Seeds that every cell begins with under seeds=auto: the fewest that show a spread worth a test."""

_FROM_1_TO_10_000 = _number(1, 10_000)

_ALLOWED: Mapping[str, _Range] = {
    "bits": (lambda value: value in (1, 2, 4, 8, 32), "1, 2, 4, 8, 32"),
    "width": _number(0, 1000, above=True),
    "seeds": (lambda value: value == "auto" or _FROM_1_TO_10_000[0](value), f"{_FROM_1_TO_10_000[1]}, or auto"),
    "max_seeds": _number(FIRST_SEEDS, 10_000),
    "equivalence_pp": _number(0, above=True),
    "collapsed_below": _number(0, 1, above=True),
    "tune.trials": _number(1),
    "tune.epochs": _number(1),
    "tune.searches": _number(1),
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


_KEYS = tuple(field.name for field in fields(Schema))
_NEEDED = tuple(field.name for field in fields(Schema) if field.default is MISSING)
_KEYS_OF = {
    name: tuple(field.name for field in fields(kind))
    for name, kind in (
        ("recipe", RecipeSchema),
        ("dispatch", DispatchSchema),
        ("track", TrackSchema),
        ("checkpoint", CheckpointSchema),
        ("tune", TuneSchema),
    )
}


OPEN = ("when", "reference", "nuisance", "tune.space")
"""Nodes in which any key may be typed without Hydra's `+`."""

HINTED_BATCH = 125
"""The batch size that a data set's hinted learning rate is for."""


def register() -> None:
    """Give Hydra the types and the resolver that conf/ asks for by name."""
    OmegaConf.register_new_resolver("scaled_lr", lambda lr, batch_size: lr * batch_size / HINTED_BATCH, replace=True)
    root = OmegaConf.structured(Schema)
    for node in OPEN:
        OmegaConf.set_struct(OmegaConf.select(root, node), False)
    ConfigStore.instance().store(name="schema", node=root)


def check(config: Config) -> None:
    """Check a config before anything runs.

    Args:
        config: resolved and plain, with the `check` keys of its groups.

    Raises:
        UsageError: a value is out of range, or a group's own check refuses it.
    """
    for key in config:
        if key not in _KEYS:
            raise UsageError(f"{key}={config[key]}: no such key; allowed: {', '.join(_KEYS)}")
    for key in _NEEDED:
        if key not in config:
            raise UsageError(f"{key}: taken out with ~; allowed: {key}=VALUE")
    for name, known in _KEYS_OF.items():
        for key in config[name]:
            if key not in known:
                raise UsageError(f"{name}.{key}={config[name][key]}: no such key; allowed: {', '.join(known)}")
    for key, (fits, allowed) in _ALLOWED.items():
        holder, _, last = key.rpartition(".")
        value = (config[holder] if holder else config).get(last)
        if value is not None and not fits(value):
            raise UsageError(f"{key}={show(flatten(config)[key])}: allowed: {allowed}")
    home.refuse_unexpanded(config)
    parts.check_targets(config)
    checks.micro_batch(config)
    checks.shards(config)
    checks.augment(config)
    checks.resplit(config)
    CheckpointSettings.of(config["checkpoint"])
    _check_cluster(config["dispatch"], config["storage"])
    if config["tune"]["storage"] is not None:
        urls.refuse_password("tune.storage", config["tune"]["storage"])
    description.check(config)
    for hook in parts.hooks(config, "check"):
        hook(config)


def _check_cluster(dispatch: Config, storage: str | None) -> None:
    is_cluster, workers = dispatch["executor"] == "cluster", dispatch["workers_per_trial"]
    for key in ("address", "jobs"):
        if dispatch.get(key) is not None and not is_cluster:
            raise UsageError(f"dispatch.{key}={dispatch[key]}: for a cluster; allowed: with dispatch=cluster")
    if is_cluster and workers > 1 and storage is not None:
        raise UsageError(
            f"dispatch.workers_per_trial={workers} storage={storage}: a trial's processes share its run directory; "
            "allowed with dispatch=cluster: a folder of all machines, in runs="
        )
