"""The words of a study: factor, level, cell, trial, and the identity of a trial."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Level = str | int | float | bool | None

NUMERICS = 2
"""Goes up when the same config would train differently (a mended numerical bug)."""

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
)
"""Keys that mean nothing to one trial."""

OUTSIDE_IDENTITY = (
    *FOR_A_STUDY,
    *(
        "scale",
        "study",
        "seeds",
        "mode",
        "retry",
        "fail_fast",
        "runs",
        "storage",
        "cost",
        "checkpoint",
        "dispatch",
        "track",
    ),
    *("dataset.root", "dataset.workers"),
)
"""Keys that say where, how or under which name a trial runs, never what it computes."""

_INSIDE_THOSE = tuple(f"{key}." for key in OUTSIDE_IDENTITY)

FOR_THE_PLAN_ONLY = ("check", "prepare", "identify", "hints", "shape", "multiply_adds", "parameters", "kept_maps")
"""Keys of a group's YAML that serve the plan, and are neither part of a trial nor seen by a worker."""

ADDED_LATER: Mapping[str, Level] = {
    "model.residual": True,
    "model.padding": "torch",
    "recipe.precision": "fp32",
    "recipe.compile": False,
    "recipe.micro_batch": None,
    "recipe.shards": 1,
    "norm.sync": False,
}
"""Dotted config key -> the value that trials had in effect before the key existed.

A key is listed here in the commit that adds it, and its value never changes afterwards, even when the
default does: at that value it stays out of the hash, so that earlier trials keep their identity.
"""


PREFERRED = ("norm", ("bn", "srelu"))
"""The factor and levels that are compared when neither the study nor anybody says which."""


class Mistake(ValueError):
    """What the user typed cannot be done; the message is the one line that they are shown."""


@dataclass(frozen=True)
class Cell:
    """One level of every factor, as (factor, level) pairs in the order typed."""

    levels: tuple[tuple[str, Level], ...]

    def __str__(self) -> str:
        """The cell as one would type it.

        >>> str(Cell((("norm", "bn"), ("recipe.lr", 0.1))))
        'norm=bn recipe.lr=0.1'
        """
        return " ".join(f"{factor}={show(level)}" for factor, level in self.levels)


@dataclass(frozen=True)
class Trial:
    """One cell x one seed: the unit of work.

    `config` is all that a worker needs, as a plain dict, the seed included. `params` is the same flat,
    with dotted keys and a group's choice under the group's name: what a person looks for. `values` are those of its
    keys that were chosen for it, beyond its cell: by tuning, or drawn. `tuning`: it is one of a tuning's, to choose by;
    no margin is made of it.
    """

    cell: Cell
    seed: int
    config: Mapping[str, Any]
    params: Mapping[str, Level]
    trial_id: str
    values: tuple[tuple[str, Level], ...] = ()
    tuning: bool = False

    def __str__(self) -> str:
        seed = "(tuning)" if self.tuning else f"seed={self.seed}"
        return " ".join(part for part in (str(self.cell), str(Cell(self.values)), seed) if part)


@dataclass(frozen=True)
class Study:
    """One question: its name, the factors with their levels as typed, every trial of the design.

    `derived` are the config keys that nobody typed and that take their values from another choice, as a
    temperature does from the data set and the bits. `contrast` is a factor and the two levels of it that the
    report compares, where the study says so. `terms` holds what else a report must know of how the study was asked,
    as JSON-ready values by name: its design, what was tuned, what was sampled, how seeds were added.
    """

    name: str
    factors: Mapping[str, Sequence[Level]]
    trials: Sequence[Trial]
    derived: Sequence[str] = ()
    contrast: tuple[str, Sequence[Level]] | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> dict[Cell, list[Trial]]:
        """The trials of each cell, in the order of the design."""
        cells: dict[Cell, list[Trial]] = {}
        for trial in self.trials:
            cells.setdefault(trial.cell, []).append(trial)
        return cells


def show(level: Level) -> str:
    """A level as one would type it.

    >>> [show(level) for level in (0.1, 10, None, True, "bn")]
    ['0.1', '10', 'null', 'true', 'bn']
    """
    return level if isinstance(level, str) else json.dumps(level)


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a cell's config its trials compute with: all but their seed, and what serves the plan or the way."""
    return {
        key: {k: v for k, v in value.items() if k not in FOR_THE_PLAN_ONLY} if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in OUTSIDE_IDENTITY and key != "seed"
    }


def trial_id(config: Mapping[str, Any], *, numerics: int = NUMERICS) -> str:
    """The identity of a trial: "t" and 16 hex digits of its resolved scientific config and seed.

    The letter keeps Hydra from reading an all-digit (or `12e4`-like) hash as a number. Two configs that
    differ only in key order, or in writing 10 as 10.0, are the same trial.
    """
    science = {
        key: value
        for key, value in flatten(config).items()
        if key not in OUTSIDE_IDENTITY
        and not key.startswith(_INSIDE_THOSE)
        and not (key in ADDED_LATER and ADDED_LATER[key] == value)
    }
    text = json.dumps({"numerics": numerics, "config": science}, sort_keys=True, separators=(",", ":"))
    return "t" + hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; whole floats as integers; lists stay values.

    >>> flatten({"norm": {"temperature": 10.0}, "bits": 1})
    {'norm.temperature': 10, 'bits': 1}
    """
    return dict(_leaves(config, ""))


def _leaves(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, float) and value.is_integer():
            yield f"{prefix}{key}", int(value)
        else:
            yield f"{prefix}{key}", value
