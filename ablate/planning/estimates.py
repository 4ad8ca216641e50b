"""What a trial will take: seconds and memory, from those that finished in the runs folder, else from counts."""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate import CONF
from ablate.core import hardware
from ablate.core.identity import FOR_THE_PLAN_ONLY, at_current_paths, science, trial_id
from ablate.networks import description
from ablate.planning import schema
from ablate.store import history

PROCESS_BYTES = 400 * 2**20
"""What a process with torch holds before it trains anything."""

MULTIPLY_ADDS_PER_S = 2e10
"""Of one CPU core, roughly: to set trials in order where nothing was measured."""

UNCOUNTED_EPOCH_S = 60.0
"""The same for an epoch of a network or a data set without counts."""


class Expectations:
    """Seconds, order and memory of trials that have yet to run; reads the runs folder when first asked.

    Every `config` is a cell's resolved one, with the keys for the plan only.
    """

    def __init__(self, runs: Path):
        self.runs = runs

    def seconds(self, config: Mapping[str, Any]) -> float | None:
        """The mean of the same cell's other seeds, on the same kind of device.

        Else the seconds per multiply-add of the most similar trials there, times this one's multiply-adds.
        """
        kind = hardware.kind_of_device(config["dispatch"]["gpus_per_trial"])
        if not self._past.kinds.get(kind):
            return None
        twins = self._past.seconds.get((_cell(config), kind))
        if twins:
            return statistics.mean(twins)
        work = training_multiply_adds(config)
        return None if work is None else work * self._s_per_multiply_add(_profile(config), kind)

    def cost(self, config: Mapping[str, Any]) -> float:
        """How long it takes beside the others, for the longest to go first: seconds, or what stands for them."""
        seconds = self.seconds(config)
        if seconds is not None:
            return seconds
        work = training_multiply_adds(config)
        return UNCOUNTED_EPOCH_S * config["recipe"]["epochs"] if work is None else work / MULTIPLY_ADDS_PER_S

    def peak_bytes(self, config: Mapping[str, Any]) -> int | None:
        """The most that the same cell's trials held, on the same kind of device; else `training_bytes`."""
        kind = hardware.kind_of_device(config["dispatch"]["gpus_per_trial"])
        measured = self._past.kinds and self._past.peak_bytes.get((_cell(config), kind))
        return measured or training_bytes(config)

    @functools.cached_property
    def _past(self) -> _Past:
        return _Past(self.runs)

    def _s_per_multiply_add(self, profile: tuple[Any, ...], kind: str) -> float:
        rates = self._past.kinds[kind]
        if profile not in rates:
            nearest = max(rates, key=lambda one: [a == b for a, b in zip(one, profile, strict=True)])
            rates[profile] = rates[nearest]
        return statistics.median(rates[profile])


class _Past:
    """kinds: kind of device -> profile -> seconds per multiply-add. The others: (cell, kind) -> measured."""

    def __init__(self, runs: Path):
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.peak_bytes: dict[tuple[str, str], int] = {}
        self.kinds: dict[str, dict[tuple[Any, ...], list[float]]] = defaultdict(dict)
        known: dict[str, _Told | None] = {}
        for text, metrics, kind in history.finished(runs):
            if text not in known:
                known[text] = _told(text)
            told = known[text]
            if told is None:
                continue
            cell, profile, work = told
            if math.isfinite(metrics.get("wall_s", math.nan)):
                self.seconds[cell, kind].append(metrics["wall_s"])
                if work:
                    self.kinds[kind].setdefault(profile, []).append(metrics["wall_s"] / work)
            if "peak_bytes" in metrics:
                self.peak_bytes[cell, kind] = max(self.peak_bytes.get((cell, kind), 0), int(metrics["peak_bytes"]))


_Told = tuple[str, tuple[Any, ...], int | None]
"""Of a finished trial: its cell, its profile, and the multiply-adds of its training."""


def _told(text: str) -> _Told | None:
    """None for a config that is damaged, or of another program's making."""
    try:
        config = at_current_paths(json.loads(text))
        return _cell(config), _profile(config), training_multiply_adds(_for_the_plan(config))
    except (ValueError, KeyError, TypeError, AttributeError, OmegaConfBaseException):
        return None


def training_multiply_adds(config: Mapping[str, Any]) -> int | None:
    """Multiply-adds of one trial's training; None where the network has no count, or the data set no shape.

    Three times the forward pass's: the gradient of the maps, and that of the weights, cost as much again.
    """
    dataset, count = config["dataset"], _counted(config, "multiply_adds", description.multiply_adds)
    if count is None:
        return None
    images: int = round(dataset["shape"]["items"] * (1 - dataset.get("valid_fraction", 0)))
    epochs: int = config["recipe"]["epochs"]
    return 3 * count * images * epochs


def parameters(config: Mapping[str, Any]) -> int | None:
    """The network's parameters; None where it has no count, or the data set no shape."""
    return _counted(config, "parameters", description.parameters)


def _counted(
    config: Mapping[str, Any], key: str, by_description: Callable[[Mapping[str, Any]], int | None]
) -> int | None:
    """Return what the function counts that a group's YAML names under `key`, else what its description gives."""
    if "shape" not in config["dataset"]:
        return None
    counts = schema.hooks(config, key)
    if not counts:
        return by_description(config)
    count: int = counts[0](config)
    return count


def training_bytes(config: Mapping[str, Any]) -> int | None:
    """Memory at the peak of training, roughly: a batch's maps, and weights, gradients, velocity and one copy."""
    learned, kept = parameters(config), _counted(config, "kept_maps", description.kept_maps)
    if learned is None or kept is None:
        return None
    recipe = config["recipe"]
    workers = config.get("dispatch", {}).get("workers_per_trial", 1)
    at_once: int = -(-min(recipe["batch_size"], recipe.get("micro_batch") or recipe["batch_size"]) // workers)
    a_number = 2 if recipe.get("precision") in ("bf16", "fp16") else 4
    return PROCESS_BYTES + a_number * kept * at_once + 4 * 4 * learned


def _cell(config: Mapping[str, Any]) -> str:
    return trial_id(science(config))


def _profile(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the seconds of a multiply-add depend on, what matters most first."""
    recipe = config["recipe"]
    targets = (config[group].get("_target_") for group in ("model", "dataset", "norm"))
    how = recipe.get("precision", "fp32"), recipe.get("compile", False), recipe.get("micro_batch")
    return (*targets, *how, config["width"], config["depth"], recipe["batch_size"], config["bits"], recipe["augment"])


def _for_the_plan(config: Mapping[str, Any]) -> dict[str, Any]:
    """A finished trial's config with the counts and the shape that our YAML gives for its network and data set."""
    model = {**_yaml("model").get(config["model"].get("_target_"), {}), **config["model"]}
    return {**config, "model": model, "dataset": _with_shape(json.dumps(config["dataset"]))}


@functools.lru_cache
def _with_shape(dataset: str) -> dict[str, Any]:
    """A data set's config with its shape, which may follow from its other keys."""
    config = json.loads(dataset)
    keys = _yaml("dataset").get(config.get("_target_"), {})
    holder = OmegaConf.create({"dataset": {**config, **{key: keys[key] for key in keys if key == "shape"}}})
    return OmegaConf.to_container(holder, resolve=True)["dataset"]  # type: ignore[call-overload,index,return-value]


@functools.cache
def _yaml(group: str) -> dict[str, dict[str, Any]]:
    """_target_ -> the keys of its YAML that serve the plan only."""
    files = [OmegaConf.to_container(OmegaConf.load(file)) for file in sorted((CONF / group).glob("*.yaml"))]
    return {
        file["_target_"]: {key: file[key] for key in FOR_THE_PLAN_ONLY if key in file}
        for file in files
        if isinstance(file, dict)
    }
