"""Trials of a study as compact JSON: what all configs share stands there once, and what a cell shares once for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from ablate.core.config import Config
from ablate.core.identity import OUTSIDE_IDENTITY, at_current_paths, at_first_paths, flatten, is_trial_id
from ablate.core.levels import Level
from ablate.core.study import Cell, Trial


class _StoredCell(TypedDict):
    """A cell of the manifest: what its trials do not share with all others, and seed -> trial_id."""

    levels: list[list[Any]]
    config: dict[str, Any]
    params: dict[str, Level]
    values: NotRequired[list[list[Any]]]
    seeds: dict[str, str]
    tuning: NotRequired[bool]


def packed(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return trials as JSON: once what all configs share, then for each cell the rest of its config, and its seeds.

    A cell can appear twice: a later line may combine the same levels with another fixed value.
    """
    bare = [{key: value for key, value in trial.config.items() if key != "seed"} for trial in trials]
    common = _common(bare)
    shared = flatten(common).keys() | {"seed"}
    cells: dict[str, _StoredCell] = {}
    for trial, config in zip(trials, bare, strict=True):
        own, levels = _beyond(config, common), [list(pair) for pair in trial.cell.levels]
        flat = shared | flatten(own).keys()
        extra = {name: value for name, value in trial.params.items() if name not in flat}  # choices, numerics
        cell: _StoredCell = {
            "levels": levels,
            "config": own,
            "params": extra,
            "values": [list(pair) for pair in trial.values],
            "seeds": {},
        }
        if trial.tuning:
            cell["tuning"] = True
        cells.setdefault(json.dumps(cell), cell)["seeds"][str(trial.seed)] = trial.trial_id
    return {"config": common, "cells": list(cells.values())}


def unpacked(common: Config, cells: Iterable[_StoredCell]) -> list[Trial]:
    """Return the trials that `packed` made JSON of, of this release or an earlier one.

    Raises:
        ValueError: what stands for the id of a trial is none; ids name directories, which may be removed.
    """
    trials = []
    for stored in cells:
        cell = Cell(tuple((factor, level) for factor, level in stored["levels"]))
        config = at_current_paths(_merged(common, stored["config"]))
        values = tuple((key, value) for key, value in stored.get("values", ()))
        params = {key: value for key, value in at_first_paths(flatten(config)).items() if key not in OUTSIDE_IDENTITY}
        for text, trial_id in stored["seeds"].items():
            if not is_trial_id(trial_id):
                raise ValueError(f"it names a trial {trial_id!r:.80}, which is no id")
            seed = {"seed": int(text)}
            trial_params = stored["params"] | params | seed
            tuning = stored.get("tuning", False)
            trials.append(Trial(cell, int(text), config | seed, trial_params, trial_id, values, tuning))
    return trials


def _common(configs: Sequence[Config]) -> dict[str, Any]:
    """Return the keys, at any depth, at which all the configs agree, with their values.

    >>> _common([{"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}])
    {'a': 1, 'b': {'c': 2}}
    """
    common: dict[str, Any] = dict(configs[0]) if configs else {}
    for config in configs[1:]:
        common = _agreed(common, config)
    return common


def _agreed(first: Config, second: Config) -> dict[str, Any]:
    agreed = {}
    for key in first:
        if key in second:
            mine, other = first[key], second[key]
            if isinstance(mine, Mapping) and isinstance(other, Mapping):
                agreed[key] = mine if mine is other else _agreed(mine, other)
            elif _are_identical(mine, other):
                agreed[key] = mine
    return agreed


def _beyond(config: Config, common: Config) -> dict[str, Any]:
    """Return the part of the config that is not in `common`."""
    own = {}
    for key, value in config.items():
        if key not in common:
            own[key] = value
        elif isinstance(value, Mapping):
            inner = _beyond(value, common[key])
            if inner:
                own[key] = inner
    return own


def _merged(common: Config, own: Config) -> dict[str, Any]:
    merged = dict(common)
    for key, value in own.items():
        merged[key] = _merged(merged[key], value) if isinstance(merged.get(key), Mapping) else value
    return merged


def _are_identical(first: object, second: object) -> bool:
    """Return whether the values are equal and of one type: in Python, 1 == True == 1.0."""
    return type(first) is type(second) and first == second
