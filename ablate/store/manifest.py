"""The studies of a runs folder: the trials that each requests, so that a study is known without its lines.

runs/studies/<name>.json     a study's manifest, merged with each line that names the study, moved into place
runs/studies/<name>.lock     held while the manifest is read and written
"""

from __future__ import annotations

import collections
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate.core import invocation, requests
from ablate.core.errors import UsageError
from ablate.core.study import Study, Trial
from ablate.core.text import first_line, printable
from ablate.core.urls import SQLITE
from ablate.store import packing

VERSION = 1
IN_USE = ".in_use"
"""Ending of the file that a study's drivers lock: see `study_lock`."""

ENDINGS = (".json", ".lock", IN_USE, ".mlflow", ".mlflow.lock", ".optuna", ".optuna.lock", ".tune.lock")
"""Of the files that a study has in the folder."""


@dataclass(frozen=True)
class StoredStudy:
    """A study as its lines requested it: every trial that they named, and the factors of the last line.

    `uri` is its MLflow's address, None for a study that was never tracked; `requested_at` when it was last requested,
    in seconds since the epoch; `tags` what its runs were tagged with; `storage` the URL of its run directories, None
    where they are in the folder.
    """

    study: Study
    uri: str | None
    requested_at: float
    tags: Mapping[str, str]
    storage: str | None = None


def folder(runs: Path) -> Path:
    """Return the folder of the manifests."""
    return runs / "studies"


def save(
    study: Study,
    runs: Path,
    uri: str | None,
    tags: Mapping[str, str] | None = None,
    storage: str | None = None,
    *,
    had_results: bool = False,
) -> None:
    """Write down the trials that the study requests, beside those that were requested under its name before.

    Args:
        study: as this line requests it.
        runs: the runs folder.
        uri: the address of MLflow; None for the one of the last request.
        tags: what its runs are tagged with.
        storage: the URL of its run directories; None where they are in the folder.
        had_results: whether a trial had its result before this line.
    """
    folder(runs).mkdir(parents=True, exist_ok=True)
    path = folder(runs) / f"{study.name}.json"
    with FileLock(folder(runs) / f"{study.name}.lock"):
        before = _read(path) if path.exists() else None
        trials = {trial.trial_id: trial for trial in (*(before.study.trials if before else ()), *study.trials)}
        factors = {name: list(levels) for name, levels in study.factors.items()}
        contrast = [study.contrast[0], list(study.contrast[1])] if study.contrast else None
        content = {
            "version": VERSION,
            "name": study.name,
            "asked_at": time.time(),
            "uri": uri or (before and before.uri),
            "folder": str(runs.absolute()),
            "tags": dict(tags or {}),
            "storage": storage,
            "factors": factors,
            "derived": list(study.derived),
            "contrast": contrast,
            "terms": requests.merged(study.metadata, _kept(before, study), had_results=had_results),
            **packing.packed(list(trials.values())),
        }
        temporary = path.with_suffix(".tmp")
        with temporary.open("w") as file:
            file.write(json.dumps(content))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def _kept(before: StoredStudy | None, study: Study) -> dict[str, Any]:
    """Return the metadata of the earlier requests, with the number of seeds that a cell had which has more now."""
    if before is None:
        return {}
    kept = dict(before.study.metadata)
    count = requests.seeds_before(kept, _seeds_of(before.study), _seeds_of(study))
    return kept | ({} if count is None else {"seed_count": count})


def _seeds_of(study: Study) -> dict[str, int]:
    """Return cell -> the number of seeds that margins are made of."""
    return dict(collections.Counter(str(trial.cell) for trial in study.trials if not trial.tuning))


def load(name: str, runs: Path) -> StoredStudy:
    """Return the study of that name.

    Raises:
        UsageError: there is none; the message names those there are.
    """
    path = folder(runs) / f"{name}.json"
    if name not in names(runs):  # no path, such as ../x
        allowed = ", ".join(names(runs)) or f"none yet; say a study's line first: {invocation.command('run')} -m ..."
        raise UsageError(f"study={name}: not in {runs}/; allowed: {allowed}")
    return _read(path)


def readable(runs: Path) -> tuple[list[StoredStudy], list[str]]:
    """Return the studies of a runs folder by name, and a line for each manifest that is damaged."""
    studies, damaged = [], []
    for name in names(runs):
        try:
            studies.append(load(name, runs))
        except UsageError as error:
            damaged.append(printable(str(error)))
    return studies, damaged


def names(runs: Path) -> list[str]:
    """Return the names of the studies of a runs folder, sorted."""
    return sorted(path.stem for path in folder(runs).glob("*.json"))


def known(name: str, runs: Path) -> dict[str, Trial]:
    """Return trial_id -> trial, of all trials that were requested under the name; empty for an unknown name."""
    return {trial.trial_id: trial for trial in load(name, runs).study.trials} if name in names(runs) else {}


def shared(name: str, runs: Path) -> set[str]:
    """Return the ids of the trials that studies other than this one request."""
    return {trial_id for other in names(runs) if other != name for trial_id in known(other, runs)}


def files(name: str, runs: Path) -> list[Path]:
    """Return the study's files in the folder of the manifests that are there, and the folder itself, if it is."""
    paths = (folder(runs), *(folder(runs) / f"{name}{ending}" for ending in ENDINGS))
    return [path for path in paths if path.exists()]


def rename(name: str, new: str, runs: Path) -> None:
    """Give the study another name. Until it has that it has the old one, at any moment."""
    path = folder(runs) / f"{name}.json"
    with FileLock(folder(runs) / f"{name}.lock"):
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(json.loads(path.read_text()) | {"name": new}))
        temporary.replace(folder(runs) / f"{new}.json")
    delete(name, runs)


def delete(name: str, runs: Path) -> None:
    """Remove the files of the study in the folder of the manifests; the run directories stay."""
    for path in files(name, runs):
        if path != folder(runs):
            path.unlink()


def _read(path: Path) -> StoredStudy:
    """Return the study that a manifest holds.

    Raises:
        UsageError: the file is damaged, is something else, or was written by a later release.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["version"] > VERSION:
            raise UsageError(f"{path}: written by a later release; allowed: version {VERSION}")
        if stored["name"] != path.stem:
            raise ValueError(f"it is of a study {stored['name']!r:.80}")
        if not all(isinstance(stored[key], dict) for key in ("factors", "config", "tags")):
            raise ValueError("its factors, config or tags are no mapping")
        contrast = (stored["contrast"][0], stored["contrast"][1]) if stored["contrast"] else None
        trials = packing.unpacked(stored["config"], stored["cells"])
        study = Study(path.stem, stored["factors"], trials, stored["derived"], contrast, stored.get("terms", {}))
        uri = _database_now(stored["uri"], stored.get("folder"), folder_of_runs(path))
        return StoredStudy(study, uri, float(stored["asked_at"]), dict(stored["tags"]), stored.get("storage"))
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        why = first_line(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"{path}: damaged ({why}); remove it, and say the study's lines again") from error


def folder_of_runs(path: Path) -> Path:
    """Return the runs folder of a manifest."""
    return path.absolute().parent.parent


def _database_now(uri: str | None, before: str | None, runs: Path) -> str | None:
    """Return the address of MLflow, where the runs folder was moved together with MLflow's file: of where that is now.

    `before` is the runs folder when the address was written; None in manifests that did not keep it yet.
    """
    if uri is None or not uri.startswith(SQLITE):
        return uri
    file = Path(uri.removeprefix(SQLITE))
    beside = os.path.relpath(file, before) if before else Path("..", file.name)
    now = Path(os.path.normpath(runs / beside))
    return f"{SQLITE}{now}" if now.exists() and (before or not file.exists()) else uri
