"""A trained trial by its id: its config and run directory, or the line that trains it."""

from __future__ import annotations

import shlex
from pathlib import Path

from ablate.core import invocation
from ablate.core.config import Config
from ablate.core.errors import StorageUnavailable, UsageError
from ablate.core.events import Done, Failed
from ablate.core.levels import show
from ablate.core.study import Cell, Trial
from ablate.core.trust import Trust
from ablate.planning.command_line import line
from ablate.store import lookup, mirror, run_directory

NETWORKS = {"WideResNet": "wide ResNet", "ImageNetResNet": "ImageNet's ResNet"}


def find_trained(trial_id: str, runs: Path, trust: Trust) -> tuple[Config, Path]:
    """Return the config and the run directory of the trial with this id, or this beginning of one, that has weights.

    Weights that are in an object store are fetched the first time that they are needed.

    Raises:
        UsageError: there is no such trial in `runs`, or it has no weights, or they cannot be fetched; or its config
            names code that is not trusted.
    """
    trial_id = lookup.full_id(trial_id, runs)
    config, directory = lookup.stored_config(trial_id, runs), runs / trial_id
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


def _without_weights(trial_id: str, config: Config, runs: Path) -> str:
    elsewhere = mirror.root(runs / trial_id)
    where = {"runs": str(runs)} | ({"storage": elsewhere} if elsewhere else {})
    try:
        again = f"{invocation.command('run')} {line({**config, **where})}"
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
