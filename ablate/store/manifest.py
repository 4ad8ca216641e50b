"""The studies of a runs folder: what each was asked for, so that it can be told again without its line.

runs/studies/<name>.json     one manifest a study, merged with each line that names the study, moved into place
runs/studies/<name>.lock     held while the manifest is read and written
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate.core.errors import UsageError
from ablate.core.identity import OUTSIDE_IDENTITY, at_current_paths, at_first_paths, flatten
from ablate.core.study import Cell, Study, Trial

VERSION = 1
ENDINGS = (".json", ".lock", ".mlflow", ".mlflow.lock", ".optuna", ".optuna.lock", ".tune.lock")
"""Of the files that a study has in the folder."""


@dataclass(frozen=True)
class StoredStudy:
    """A study as its lines asked for it: every trial they named, the factors of the last one.

    `uri` is where its MLflow is, None for one that was never tracked; `requested_at` when it was asked for last; `tags`
    what its runs were tagged with; `storage` the URL of its run directories, None where they are in the folder.
    """

    study: Study
    uri: str | None
    requested_at: float
    tags: Mapping[str, str]
    storage: str | None = None


def folder(runs: Path) -> Path:
    return runs / "studies"


def save(
    study: Study, runs: Path, uri: str | None, tags: Mapping[str, str] | None = None, storage: str | None = None
) -> None:
    """Write down what the study asks for, beside what was asked under its name before."""
    folder(runs).mkdir(parents=True, exist_ok=True)
    path = folder(runs) / f"{study.name}.json"
    with FileLock(folder(runs) / f"{study.name}.lock"):
        before = _read(path) if path.exists() else None
        trials = {trial.trial_id: trial for trial in (*(before.study.trials if before else ()), *study.trials)}
        factors = {name: list(levels) for name, levels in study.factors.items()}
        contrast = [study.contrast[0], list(study.contrast[1])] if study.contrast else None
        manifest = {
            "version": VERSION,
            "name": study.name,
            "asked_at": time.time(),
            "uri": uri or (before and before.uri),
            "tags": dict(tags or {}),
            "storage": storage,
            "factors": factors,
            "derived": list(study.derived),
            "contrast": contrast,
            "terms": dict(study.metadata),
            **_packed(list(trials.values())),
        }
        temporary = path.with_suffix(".tmp")
        with temporary.open("w") as file:
            file.write(json.dumps(manifest))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def load(name: str, runs: Path) -> StoredStudy:
    """The study of that name.

    Raises:
        UsageError: there is none, naming those there are.
    """
    path = folder(runs) / f"{name}.json"
    if not name or not path.is_file():
        held = ", ".join(names(runs)) or "none yet; say a study's line first: python -m ablate.run -m ..."
        raise UsageError(f"study={name}: not in {runs}/; allowed: {held}")
    return _read(path)


def names(runs: Path) -> list[str]:
    """The names of the studies of a runs folder, sorted."""
    return sorted(path.stem for path in folder(runs).glob("*.json"))


def known(name: str, runs: Path) -> dict[str, Trial]:
    """trial_id -> trial, of everything that was asked for under the name; empty for an unknown name."""
    return {trial.trial_id: trial for trial in load(name, runs).study.trials} if name in names(runs) else {}


def shared(name: str, runs: Path) -> set[str]:
    """The ids of trials that studies other than this one ask for."""
    return {trial_id for other in names(runs) if other != name for trial_id in known(other, runs)}


def delete(name: str, runs: Path) -> None:
    """Take the manifest away; the run directories stay."""
    for path in folder(runs).iterdir():
        if path.name in [f"{name}{ending}" for ending in ENDINGS]:
            path.unlink()


def _packed(trials: Sequence[Trial]) -> dict[str, Any]:
    """Trials as JSON: what their configs share once, then a cell each with what is its own and its seeds.

    A cell can stand there twice: a later line may give the same levels another fixed value.
    """
    bare = [{key: value for key, value in trial.config.items() if key != "seed"} for trial in trials]
    common = _common(bare)
    shared = flatten(common).keys() | {"seed"}
    cells: dict[str, dict[str, Any]] = {}
    for trial, config in zip(trials, bare, strict=True):
        own, levels = _beyond(config, common), [list(pair) for pair in trial.cell.levels]
        flat = shared | flatten(own).keys()
        extra = {name: value for name, value in trial.params.items() if name not in flat}  # choices, numerics
        cell: dict[str, Any] = {
            "levels": levels,
            "config": own,
            "params": extra,
            "values": [list(pair) for pair in trial.values],
        }
        if trial.tuning:
            cell["tuning"] = True
        cells.setdefault(json.dumps(cell), {**cell, "seeds": {}})["seeds"][str(trial.seed)] = trial.trial_id
    return {"config": common, "cells": list(cells.values())}


def _unpacked(common: Mapping[str, Any], cells: Iterable[Mapping[str, Any]]) -> list[Trial]:
    trials = []
    for one in cells:
        cell = Cell(tuple((factor, level) for factor, level in one["levels"]))
        config = at_current_paths(_merged(common, one["config"]))
        values = tuple((key, value) for key, value in one.get("values", ()))
        params = {key: value for key, value in at_first_paths(flatten(config)).items() if key not in OUTSIDE_IDENTITY}
        for seed, trial_id in one["seeds"].items():
            own = {"seed": int(seed)}
            trials.append(
                Trial(
                    cell,
                    int(seed),
                    config | own,
                    one["params"] | params | own,
                    trial_id,
                    values,
                    one.get("tuning", False),
                )
            )
    return trials


def _read(path: Path) -> StoredStudy:
    try:
        said = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path}: damaged ({error}); remove it, and say the study's lines again") from error
    if said["version"] > VERSION:
        raise UsageError(f"{path}: written by a later release; allowed: version {VERSION}")
    contrast = (said["contrast"][0], said["contrast"][1]) if said["contrast"] else None
    trials = _unpacked(said["config"], said["cells"])
    study = Study(said["name"], said["factors"], trials, said["derived"], contrast, said.get("terms", {}))
    return StoredStudy(study, said["uri"], said["asked_at"], said["tags"], said.get("storage"))


def _common(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys, at any depth, at which all the configs agree.

    >>> _common([{"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}])
    {'a': 1, 'b': {'c': 2}}
    """
    common: dict[str, Any] = dict(configs[0]) if configs else {}
    for config in configs[1:]:
        common = _agreed(common, config)
    return common


def _agreed(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    agreed = {}
    for key in first:
        if key in second:
            one, other = first[key], second[key]
            if isinstance(one, Mapping) and isinstance(other, Mapping):
                agreed[key] = one if one is other else _agreed(one, other)
            elif _same(one, other):
                agreed[key] = one
    return agreed


def _beyond(config: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """What `common` lacks of the config."""
    own = {}
    for key, value in config.items():
        if key not in common:
            own[key] = value
        elif isinstance(value, Mapping):
            inner = _beyond(value, common[key])
            if inner:
                own[key] = inner
    return own


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(common)
    for key, value in own.items():
        merged[key] = _merged(merged[key], value) if isinstance(merged.get(key), Mapping) else value
    return merged


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one type: 1 == True == 1.0 in Python."""
    return type(one) is type(other) and one == other
