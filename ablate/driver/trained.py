"""A trained trial by its id: its config and run directory, or the line that trains it."""

from __future__ import annotations

import difflib
import json
import shlex
from pathlib import Path

from ablate.core.config import Config
from ablate.core.errors import StorageUnavailable, UsageError
from ablate.core.events import Done, Failed
from ablate.core.identity import at_current_paths
from ablate.core.levels import show
from ablate.core.study import Cell, Trial
from ablate.core.text import first_line
from ablate.core.trust import Trust
from ablate.planning.command_line import line
from ablate.store import mirror, run_directory

NETWORKS = {"WideResNet": "wide ResNet", "ImageNetResNet": "ImageNet's ResNet"}


def find_trained(trial_id: str, runs: Path, trust: Trust) -> tuple[Config, Path]:
    """Return the config and the run directory of a trial whose weights are kept there.

    Weights that are in an object store are fetched the first time that they are needed.

    Raises:
        UsageError: there is no such trial in `runs`, or it has no weights, or they cannot be fetched; or its config
            names code that is not trusted.
    """
    if not runs.is_dir():
        raise UsageError(f"runs={runs}: there is no such folder; allowed: the folder of the run directories")
    ids = sorted(path.parent.name for path in runs.glob(f"*/{run_directory.CONFIG}"))
    if trial_id not in ids:
        close = (
            difflib.get_close_matches(trial_id, ids)
            or [known_id for known_id in ids if known_id.startswith(trial_id)][:3]
        )
        hint = f"did you mean {' or '.join(close)}?" if close else f"its {len(ids)} trials are named by their ids"
        raise UsageError(f"trial={trial_id}: not in {runs}/; {hint}")
    directory = runs / trial_id
    config = _config(trial_id, directory / run_directory.CONFIG)
    if not (directory / run_directory.WEIGHTS).is_file():
        try:
            mirror.bring_weights(directory)
        except StorageUnavailable as unavailable:
            raise UsageError(
                f"trial={trial_id}: its weights are at {mirror.pointer(directory)}: {unavailable}"
            ) from unavailable
    if not (directory / run_directory.WEIGHTS).is_file():
        raise UsageError(f"trial={trial_id}: {_without_weights(trial_id, config, runs)}")
    trust.check(config, f"trial={trial_id}: {directory / run_directory.CONFIG}")
    return config, directory


def _config(trial_id: str, path: Path) -> Config:
    """Return the config that a run directory keeps.

    Raises:
        UsageError: the file is damaged, or is something else.
    """
    try:
        config = at_current_paths(json.loads(path.read_text(encoding="utf-8")))
        groups = [config[name]["_target_"] for name in ("model", "norm", "dataset")]
        if not isinstance(config["seed"], int) or not all(isinstance(target, str) for target in groups):
            raise ValueError("no seed, or no parts")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"trial={trial_id}: {path}: not the config of a trial ({why})") from error
    return config


def _without_weights(trial_id: str, config: Config, runs: Path) -> str:
    elsewhere = mirror.root(runs / trial_id)
    where = {"runs": str(runs)} | ({"storage": elsewhere} if elsewhere else {})
    try:
        again = f"python -m ablate.run {line({**config, **where})}"
    except UsageError as error:
        again = f"the line that made it ({error})"
    outcome = run_directory.outcome(Trial(Cell(()), config["seed"], config, {}, trial_id), runs)
    if isinstance(outcome, Done):
        remove = f"rm -r {shlex.quote(str(runs / trial_id))}"
        if elsewhere:
            remove = f"remove {elsewhere}/{trial_id}/ and {remove}"
        return f"its weights were not kept (checkpoint.keep=none); to train it again: {remove}; {again}"
    if isinstance(outcome, Failed):
        return f"it failed ({outcome.kind}), so there are no weights; to try again: {again} retry=failed"
    return f"it has not finished, so there are no weights; to finish it: {again}"


def network_in_words(config: Config) -> str:
    """Return a line that describes a trial's network to people."""
    kind, arm, trained_on = (config[part]["_target_"].rpartition(".")[2] for part in ("model", "norm", "dataset"))
    values = ", ".join(f"{key}={show(value)}" for key, value in config["norm"].items() if key != "_target_")
    return (
        f"{NETWORKS.get(kind, kind)} {show(config['depth'])}-{show(config['width'])}, "
        f"{config['bits']} bit{'s' * (config['bits'] > 1)} per weight, norm {arm}{f' ({values})' * bool(values)}, "
        f"trained on {trained_on}"
    )
