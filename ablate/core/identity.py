"""The identity of a trial: the keys of its config that count, and their hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ablate.core.config import Config
from ablate.core.levels import Level

NUMERICS = 2
"""The version of the numerics. It goes up when the same config would train differently (a mended numerical bug)."""

FOR_A_STUDY = (
    "preset",
    "design",
    "reference",
    "where",
    "when",
    "zip",
    "tune",
    "nuisance",
    "max_seeds",
    "equivalence_pp",
    "collapsed_below",
    "hypotheses",
)
"""Keys that mean nothing to a single trial."""

OUTSIDE_IDENTITY = (
    *FOR_A_STUDY,
    *(
        "scale",
        "study",
        "seeds",
        "mode",
        "retry",
        "fail_fast",
        "code",
        "runs",
        "storage",
        "cost",
        "checkpoint",
        "dispatch",
        "track",
    ),
    *("dataset.root", "dataset.workers"),
)
"""Keys that say where, how or under which name a trial runs, and never what it computes."""

_INSIDE_THOSE = tuple(f"{key}." for key in OUTSIDE_IDENTITY)

FOR_THE_PLAN_ONLY = (
    *("describe", "check", "prepare", "look", "identify", "hints", "shape"),
    *("multiply_adds", "parameters", "kept_maps"),
)
"""Keys of a group's YAML that serve the plan. They are neither part of a trial nor seen by a worker."""

CODE = "_code_"
"""Key of a group whose part is a user's own: the fingerprint of its code. The part itself does not receive it."""

ADDED_LATER: Mapping[str, Level] = {
    "model.residual": True,
    "model.padding": "torch",
    "recipe.precision": "fp32",
    "recipe.compile": False,
    "recipe.micro_batch": None,
    "recipe.shards": 1,
    "norm.sync": False,
    "resplit": False,
    "bootstrap": "none",
}
"""Dotted config key -> the value that was in effect before the key existed.

A key is listed here in the commit that adds it. Its value here never changes afterwards, even when the default does:
a key at this value stays out of the hash, so that earlier trials keep their identity.
"""

MOVED: Mapping[str, str] = {
    "ablate.data.datasets.cifar10": "ablate.parts.data.cifar10",
    "ablate.data.datasets.cifar100": "ablate.parts.data.cifar100",
    "ablate.data.datasets.digits": "ablate.parts.data.digits",
    "ablate.data.datasets.fashion_mnist": "ablate.parts.data.fashion_mnist",
    "ablate.data.datasets.imagenet32": "ablate.parts.data.imagenet32",
    "ablate.data.datasets.mnist": "ablate.parts.data.mnist",
    "ablate.data.datasets.svhn": "ablate.parts.data.svhn",
    "ablate.data.datasets.synthetic": "ablate.parts.data.synthetic",
    "ablate.data.folders.image_folder": "ablate.parts.folders.image_folder",
    "ablate.data.folders.imagenet": "ablate.parts.folders.imagenet",
    "ablate.networks.imagenet_resnet.ImageNetResNet": "ablate.parts.imagenet_resnet.ImageNetResNet",
    "ablate.networks.wrn.WideResNet": "ablate.parts.wrn.WideResNet",
    "ablate.networks.norm.bn": "ablate.parts.norm.bn",
    "ablate.networks.norm.gn": "ablate.parts.norm.gn",
    "ablate.networks.norm.ln": "ablate.parts.norm.ln",
    "ablate.networks.norm.none": "ablate.parts.norm.none",
    "ablate.networks.norm.srelu": "ablate.parts.norm.srelu",
}
"""The path where a part of ours is now -> the path where it was when trials first used it.

The hash, and the params that MLflow shows, use the first path, so that a part that moves keeps its trials. A part is
listed here in the commit that moves it. When it moves again, its key changes and its value stays.
"""


def science(config: Config) -> dict[str, Any]:
    """Return the part of a cell's config that decides what its trials compute, without the seed.

    Keys that serve the plan, or that say where and how trials run, are left out.
    """
    return {
        key: {k: v for k, v in value.items() if k not in FOR_THE_PLAN_ONLY} if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in OUTSIDE_IDENTITY and key != "seed"
    }


def values_for_part(group: Config) -> dict[str, Any]:
    """Return the values of a group that its part is called with: those that serve the plan alone are left out."""
    return {key: value for key, value in group.items() if key not in (*FOR_THE_PLAN_ONLY, CODE)}


def without_code(config: Config) -> dict[str, Any]:
    """Return the config without the fingerprints of code."""
    return {
        key: {k: v for k, v in value.items() if k != CODE} if isinstance(value, Mapping) else value
        for key, value in config.items()
    }


def trial_id(config: Config, *, numerics: int = NUMERICS) -> str:
    """Return the identity of a trial: "t" and 16 hex digits of its resolved scientific config and seed.

    The letter keeps Hydra from reading an all-digit (or `12e4`-like) hash as a number. Two configs that
    differ only in key order, or in writing 10 as 10.0, are the same trial.
    """
    identified = {
        key: value
        for key, value in at_first_paths(flatten(config)).items()
        if key not in OUTSIDE_IDENTITY
        and not key.startswith(_INSIDE_THOSE)
        and not (key in ADDED_LATER and ADDED_LATER[key] == value)
    }
    text = json.dumps({"numerics": numerics, "config": identified}, sort_keys=True, separators=(",", ":"))
    return "t" + hashlib.sha256(text.encode()).hexdigest()[:16]


def is_trial_id(value: object) -> bool:
    """Return whether the value is a trial's identity, which names its run directory and so may be no path.

    >>> is_trial_id("t0123456789abcdef"), is_trial_id("t0123456789abcde/"), is_trial_id("")
    (True, False, False)
    """
    return isinstance(value, str) and re.fullmatch(r"t[0-9a-f]{16}", value) is not None


def at_first_paths(flat: Config) -> dict[str, Any]:
    """Return a flat config in which each `_target_` that has moved has the path where it was first."""
    return {
        key: MOVED.get(value, value) if isinstance(value, str) and key.endswith("_target_") else value
        for key, value in flat.items()
    }


def at_current_paths(config: Config) -> dict[str, Any]:
    """Return a stored config in which each `_target_` that has moved since has the path where it is now."""
    current = {first: now for now, first in MOVED.items()}

    def moved(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: moved(name, inner) for name, inner in value.items()}
        return current.get(value, value) if key == "_target_" and isinstance(value, str) else value

    return {key: moved(key, value) for key, value in config.items()}


def flatten(config: Config) -> dict[str, Any]:
    """Return a nested config as a flat one with dotted keys. Whole floats become integers; lists stay values.

    >>> flatten({"norm": {"temperature": 10.0}, "bits": 1})
    {'norm.temperature': 10, 'bits': 1}
    """
    return dict(_leaves(config, ""))


def _leaves(config: Config, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, float) and value.is_integer():
            yield f"{prefix}{key}", int(value)
        else:
            yield f"{prefix}{key}", value
