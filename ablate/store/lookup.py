"""Trials by their ids, or by the first characters of them, in a runs folder."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import at_current_paths
from ablate.core.study import Trial
from ablate.core.text import first_line
from ablate.store import run_directory
from ablate.store.manifest import StoredStudy

FEWEST_CHARACTERS = 6
"""Of an id that is not typed in full."""


def full_id(typed: str, runs: Path, requested: Iterable[str] = ()) -> str:
    """Return the id of the one trial whose id is, or begins with, what was typed.

    Args:
        typed: an id, or at least 6 characters of one.
        runs: folder of the run directories.
        requested: ids of further trials, which need no run directory.

    Raises:
        UsageError: there is no such trial, or several.
    """
    if not runs.is_dir():
        raise UsageError(f"runs={runs}: there is no such folder; allowed: the folder of the run directories")
    ids = sorted({path.parent.name for path in runs.glob(f"*/{run_directory.CONFIG}")} | set(requested))
    if typed in ids:
        return typed
    alike = [known_id for known_id in ids if known_id.startswith(typed)]
    if len(typed) >= FEWEST_CHARACTERS and len(alike) == 1:
        return alike[0]
    if len(typed) >= FEWEST_CHARACTERS and alike:
        raise UsageError(f"trial={typed}: {len(alike)} ids begin so; allowed: {', '.join(alike[:3])}, in full")
    close = difflib.get_close_matches(typed, ids) or alike[:3]
    hint = f"did you mean {' or '.join(close)}?" if close else f"its {len(ids)} trials are named by their ids"
    raise UsageError(f"trial={typed}: not in {runs}/; {hint}")


def requests_by_id(studies: Iterable[StoredStudy]) -> dict[str, dict[str, Trial]]:
    """Return trial_id -> the name of each study that requests the trial -> the trial as a part of that study."""
    by_id: dict[str, dict[str, Trial]] = {}
    for stored in studies:
        for trial in stored.study.trials:
            by_id.setdefault(trial.trial_id, {})[stored.study.name] = trial
    return by_id


def stored_config(trial_id: str, runs: Path) -> Config:
    """Return the config in the run directory of a trial, with parts at their paths of today.

    Whether the code that it names may be run is not checked here: see `core.trust`.

    Raises:
        UsageError: the file is damaged, or is something else.
    """
    path = runs / trial_id / run_directory.CONFIG
    try:
        text = path.read_text(encoding="utf-8")
        if "${" in text:
            raise ValueError("a value that is to be read from elsewhere")
        config = at_current_paths(json.loads(text))
        groups = [config[name]["_target_"] for name in ("model", "norm", "dataset")]
        sizes = [config["seed"], config["bits"], config["depth"], config["width"], config["recipe"]["epochs"]]
        if not all(isinstance(size, int | float) for size in sizes) or not all(isinstance(t, str) for t in groups):
            raise ValueError("no seed, no sizes, or no parts")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"trial={trial_id}: {path}: not the config of a trial ({why})") from error
    return config
