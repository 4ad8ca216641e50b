"""Estimates of a trial's seconds and memory, from finished trials in the runs folder, else from counts."""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate import CONF
from ablate.core import hardware
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import FOR_THE_PLAN_ONLY, at_current_paths, science, trial_id
from ablate.networks import description
from ablate.planning import parts
from ablate.store import history

PROCESS_BYTES = 400 * 2**20
"""Memory of a process with torch before it trains anything."""

MULTIPLY_ADDS_PER_S = 2e10
"""The rate of one CPU core, roughly: it orders trials where nothing was measured."""

UNCOUNTED_EPOCH_S = 60.0
"""The seconds of an epoch, roughly, of a network or a data set without counts."""


class Expectations:
    """Estimates of seconds, order and memory of trials that have yet to run; reads the runs folder at first use.

    Every `config` is a cell's resolved one, with the keys for the plan only.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    def seconds(self, config: Config) -> float | None:
        """Return the mean of the same cell's other seeds on the same kind of device; None where nothing is known.

        Without such seeds it is this trial's multiply-adds times the seconds per multiply-add of the most similar
        trials on that kind of device.
        """
        kind = hardware.kind_of_device(config["dispatch"]["gpus_per_trial"])
        if not self._past.kinds.get(kind):
            return None
        twins = self._past.seconds.get((_cell(config), kind))
        if twins:
            return statistics.mean(twins)
        work = training_multiply_adds(config)
        return None if work is None else work * self._s_per_multiply_add(_profile(config), kind)

    def cost(self, config: Config) -> float:
        """Return what a trial costs compared with others, for the longest to run first: seconds, or a rough guess."""
        seconds = self.seconds(config)
        if seconds is not None:
            return seconds
        work = training_multiply_adds(config)
        return UNCOUNTED_EPOCH_S * config["recipe"]["epochs"] if work is None else work / MULTIPLY_ADDS_PER_S

    def peak_bytes(self, config: Config) -> int | None:
        """Return the most that the same cell's trials held on the same kind of device; else `training_bytes`."""
        kind = hardware.kind_of_device(config["dispatch"]["gpus_per_trial"])
        measured = self._past.kinds and self._past.peak_bytes.get((_cell(config), kind))
        return measured or training_bytes(config)

    def test_accs_pct(self, configs: Sequence[Config]) -> dict[str, list[float]]:
        """Return the test accuracies in percent, by cell, of the finished trials on the data sets of these configs."""
        wanted = {config["dataset"].get("_target_") for config in configs}
        return {cell: accs for cell, (target, accs) in self._past.test_accs_pct.items() if target in wanted}

    @functools.cached_property
    def _past(self) -> _Past:
        return _Past(self.runs)

    def _s_per_multiply_add(self, profile: tuple[Any, ...], kind: str) -> float:
        rates = self._past.kinds[kind]
        if profile not in rates:
            nearest = max(rates, key=lambda other: [a == b for a, b in zip(other, profile, strict=True)])
            rates[profile] = rates[nearest]
        return statistics.median(rates[profile])


class _Past:
    """Measurements of the finished trials in a runs folder.

    `seconds` and `peak_bytes` are by (cell, kind of device); `kinds` are seconds per multiply-add, by kind of device
    and then by profile; `test_accs_pct` are by cell, with the data set's target.
    """

    def __init__(self, runs: Path) -> None:
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.peak_bytes: dict[tuple[str, str], int] = {}
        self.kinds: dict[str, dict[tuple[Any, ...], list[float]]] = defaultdict(dict)
        self.test_accs_pct: dict[str, tuple[str, list[float]]] = {}
        known: dict[str, _PastTrial | None] = {}
        for text, metrics, kind in history.finished_trials(runs):
            if text not in known:
                known[text] = _past_trial(text)
            trial = known[text]
            if trial is None:
                continue
            cell, profile, work = trial
            if "test_acc" in metrics:
                self.test_accs_pct.setdefault(cell, (profile[1], []))[1].append(100 * metrics["test_acc"])
            if math.isfinite(metrics.get("wall_s", math.nan)):
                self.seconds[cell, kind].append(metrics["wall_s"])
                if work:
                    self.kinds[kind].setdefault(profile, []).append(metrics["wall_s"] / work)
            if "peak_bytes" in metrics:
                self.peak_bytes[cell, kind] = max(self.peak_bytes.get((cell, kind), 0), int(metrics["peak_bytes"]))


class _PastTrial(NamedTuple):
    """A finished trial: its cell, its profile, and the multiply-adds of its training."""

    cell: str
    profile: tuple[Any, ...]
    multiply_adds: int | None


def _past_trial(text: str) -> _PastTrial | None:
    """Return what a config tells of its trial; None for one that is damaged, or that another program wrote."""
    try:
        config = at_current_paths(json.loads(text))
        return _PastTrial(_cell(config), _profile(config), training_multiply_adds(_for_the_plan(config)))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None
    except (OmegaConfBaseException, UsageError):
        return None


def training_multiply_adds(config: Config) -> int | None:
    """Return the multiply-adds of one trial's training; None where the network has no count, or the data set no shape.

    They are three times those of the forward pass: the gradients of the maps and of the weights cost as much each.
    """
    dataset, count = config["dataset"], _counted(config, "multiply_adds", description.multiply_adds)
    if count is None:
        return None
    images: int = round(dataset["shape"]["items"] * (1 - dataset.get("valid_fraction", 0)))
    epochs: int = config["recipe"]["epochs"]
    return 3 * count * images * epochs


def parameters(config: Config) -> int | None:
    """Return the number of the network's parameters; None where it has no count, or the data set no shape."""
    return _counted(config, "parameters", description.parameters)


def _counted(config: Config, key: str, by_description: Callable[[Config], int | None]) -> int | None:
    """Return what the function counts that a group's YAML names under `key`, else what its description gives."""
    if "shape" not in config["dataset"]:
        return None
    counts = parts.hooks(config, key)
    if not counts:
        return by_description(config)
    count: int = counts[0](config)
    return count


def training_bytes(config: Config) -> int | None:
    """Return the memory at the peak of training, roughly; None where the network has no counts.

    It holds the maps of a batch, the weights, their gradients and velocity, and one copy of the weights.
    """
    learned, maps = parameters(config), _counted(config, "kept_maps", description.kept_maps)
    if learned is None or maps is None:
        return None
    recipe = config["recipe"]
    workers: int = config.get("dispatch", {}).get("workers_per_trial", 1)
    at_once: int = -(-min(recipe["batch_size"], recipe.get("micro_batch") or recipe["batch_size"]) // workers)
    bytes_per_number = 2 if recipe.get("precision") in ("bf16", "fp16") else 4
    return PROCESS_BYTES + bytes_per_number * maps * at_once + 4 * 4 * learned


def _cell(config: Config) -> str:
    return trial_id(science(config))


def _profile(config: Config) -> tuple[Any, ...]:
    """Return the values that the seconds of a multiply-add depend on, the most important first."""
    recipe = config["recipe"]
    targets = (config[group].get("_target_") for group in ("model", "dataset", "norm"))
    how = recipe.get("precision", "fp32"), recipe.get("compile", False), recipe.get("micro_batch")
    return (*targets, *how, config["width"], config["depth"], recipe["batch_size"], config["bits"], recipe["augment"])


def _for_the_plan(config: Config) -> Config:
    """Return a finished trial's config with the counts and the shape that our YAML gives its network and data set.

    Functions that the config itself names are left out: it was read from a file, and they would be called.
    """
    own = {
        key: {name: inner for name, inner in value.items() if name not in FOR_THE_PLAN_ONLY}
        if isinstance(value, Mapping)
        else value
        for key, value in config.items()
    }
    model = {**_yaml("model").get(config["model"].get("_target_"), {}), **own["model"]}
    return {**own, "model": model, "dataset": _with_shape(json.dumps(own["dataset"]))}


@functools.lru_cache
def _with_shape(dataset: str) -> Config:
    """Return a data set's config with its shape, which may follow from its other keys."""
    config = json.loads(dataset)
    keys = _yaml("dataset").get(config.get("_target_"), {})
    holder = OmegaConf.create({"dataset": {**config, **{key: keys[key] for key in keys if key == "shape"}}})
    resolved = OmegaConf.to_container(holder.dataset, resolve=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


@functools.cache
def _yaml(group: str) -> dict[str, Config]:
    """Return, by the _target_ of each option of a group, the keys of its YAML that serve the plan only."""
    files = [OmegaConf.to_container(OmegaConf.load(file)) for file in sorted((CONF / group).glob("*.yaml"))]
    return {
        file["_target_"]: {key: file[key] for key in FOR_THE_PLAN_ONLY if key in file}
        for file in files
        if isinstance(file, dict)
    }
