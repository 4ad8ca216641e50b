"""A trial that has run is run again from its stored config, in a folder of its own, and its numbers are compared."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.core import folders, hardware, identity, provenance
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.events import Done, Epoch, Event, Failed, Started, from_dict
from ablate.core.identity import ADDED_LATER, CODE, trial_id
from ablate.core.study import Cell, Trial
from ablate.core.text import printable
from ablate.core.trust import HOOKS, Trust
from ablate.driver import earlier_code
from ablate.driver.progress import Display
from ablate.driver.replay_comparison import Comparison, compared
from ablate.driver.terminal import Terminal
from ablate.planning import command_line, own_code, parts
from ablate.store import event_log, lookup, manifest, mirror, opening, run_directory
from ablate.store.text_log import logged
from ablate.tasks import image_classification
from ablate.training.checkpoint_policy import CheckpointPolicy

REPLAYS = "replays"
"""The folder of replays in a runs folder."""


@dataclass(frozen=True)
class _Recorded:
    """What is known of a trial that has run: its config, its history, its last start, and the code that ran it."""

    trial: Trial
    history: Sequence[Event]
    started: Started
    code_versions: Sequence[str]


def run_again(
    typed: str,
    typed_runs: str,
    trust: Trust,
    *,
    to: str | None,
    threads: int | None,
    device: str | None,
    root: str | None,
) -> int:
    """Run a trial again and say whether its numbers are equal; return exit status 0 where they are, otherwise 1.

    Neither the trial's run directory nor MLflow is touched.

    Args:
        typed: the trial's id, or at least 6 characters of it.
        typed_runs: folder of the run directories.
        trust: the code that its config may name.
        to: new folder for the replay; None for the next in the folder of replays.
        threads: for torch; None for as many as the trial had.
        device: "cpu" or "cuda"; None for what the trial ran on.
        root: the folder of the data; None for where they were.

    Raises:
        UsageError: there is no such trial, it has no numbers yet, it cannot run here, or it names code that is not
            trusted.
    """
    terminal, runs = Terminal(), Path(typed_runs).absolute()
    recorded = _recorded(typed, runs, terminal)
    trial = recorded.trial
    config = _with_root(trial, root)
    trust.check(config, f"trial={trial.trial_id}: {runs / trial.trial_id / run_directory.CONFIG}")
    parts.check_targets(config)
    device = device or recorded.started.device.partition(":")[0]
    if device == "cuda" and not hardware.gpu_bytes():
        raise UsageError(f"trial={trial.trial_id}: it ran on a GPU, and there is none here; allowed: device=cpu")
    if threads is not None and threads < 1:
        raise UsageError(f"threads={threads}: allowed: 1 or more")
    threads = threads or recorded.started.threads
    if warning := hardware.check_recipe(config["recipe"], device):
        terminal.warn(warning)
    _check_data(trial.trial_id, config, trust, terminal)
    earlier_code.warn_if_edited(trial.trial_id, trial.config)
    directory = _new_folder(trial.trial_id, runs, to)
    terminal.line(f"{trial.trial_id} again, in {folders.as_typed_here(directory)}, on {device}, threads={threads}")
    again = Trial(trial.cell, trial.seed, config, trial.params, trial.trial_id)
    events = _replayed(again, directory, recorded.history, terminal, device=device, threads=threads)
    return _tell(recorded, compared(recorded.history, events), events, terminal)


def _recorded(typed: str, runs: Path, terminal: Terminal) -> _Recorded:
    wanted_id = lookup.full_id(typed, runs)
    directory, config = runs / wanted_id, lookup.stored_config(wanted_id, runs)
    trial = Trial(Cell(()), config["seed"], _with_later_keys(config), {}, wanted_id)
    store = opening.open_to_read(mirror.root(directory), [trial], runs, terminal.warn)
    with opening.unavailable_is_usage_error(store):
        history = store.history(trial)
    events = [from_dict(line) for line in event_log.lines(directory / run_directory.LOG)]
    starts = [event for event in events if isinstance(event, Started)]
    if not starts or not any(isinstance(event, Epoch | Done) or _is_failure(event) for event in history):
        raise UsageError(
            f"trial={wanted_id}: it has no numbers to compare yet; allowed: a trial that is done, failed, or has "
            "ended an epoch"
        )
    stored, damaged = manifest.readable(runs)
    for damage in damaged:
        terminal.warn(damage)
    versions = [
        study.tags.get("code_version") for study in stored if wanted_id in {t.trial_id for t in study.study.trials}
    ]
    return _Recorded(trial, history, starts[-1], [version for version in versions if version])


def _with_later_keys(config: Config) -> Config:
    """Return the config of an older trial with the keys that came later, at the values that were in effect."""
    later = {key: value for key, value in ADDED_LATER.items() if "." not in key}
    recipe = {key.partition(".")[2]: value for key, value in ADDED_LATER.items() if key.startswith("recipe.")}
    return {**later, **config, "recipe": {**recipe, **config["recipe"]}}


def _is_failure(event: Event) -> bool:
    """Return whether the trial would fail again: what only interrupts a trial is left out."""
    return isinstance(event, Failed) and event.kind in ("diverged", "error")


def _with_root(trial: Trial, root: str | None) -> Config:
    if root is None:
        return trial.config
    if "root" not in trial.config["dataset"]:
        raise UsageError(f"dataset.root={root}: its data set is in no folder; allowed: without dataset.root")
    return {**trial.config, "dataset": {**trial.config["dataset"], "root": root}}


def _check_data(wanted_id: str, config: Config, trust: Trust, terminal: Terminal) -> None:
    """Raise UsageError where the data are not there, or are not those that the trial was trained on.

    The YAML of a data set of one's own is looked for in all folders here: its functions need trust as the config does.
    """
    dataset = config["dataset"]
    try:
        whole = {"dataset": {**command_line.values_of_option("dataset", config), **dataset}}
    except UsageError:
        if dataset.get("content") is not None:
            terminal.warn("Whether its data are the same is not known: the YAML of its data set is not in this folder.")
        return
    named = {key: whole["dataset"][key] for key in HOOKS if key in whole["dataset"]}
    trust.check({"dataset": named}, f"trial={wanted_id}: the YAML of its data set")
    for hook in (*parts.hooks(whole, "check"), *parts.hooks(whole, "prepare")):
        hook({**config, **whole})
    for identify in parts.hooks(whole, "identify"):
        content = identify({**config, **whole})
        if content != dataset.get("content"):
            before, now = (value or "as published" for value in (dataset.get("content"), content))
            raise UsageError(
                f"trial={wanted_id}: its data have changed: {before} before, {now} now; "
                "allowed: the same data, in dataset.root=FOLDER"
            )


def _new_folder(wanted_id: str, runs: Path, to: str | None) -> Path:
    if to is not None:
        folder = Path(to).absolute()
        if folder.exists():
            raise UsageError(f"to={to}: there is such a file or folder; allowed: a name for a new one")
        folders.check_writable("to", to, folder)
    else:
        folders.check_writable("runs", str(runs), runs)
        number = 1
        while (folder := runs / REPLAYS / f"{wanted_id}-{number}").exists():
            number += 1
    folder.mkdir(parents=True)
    return folder


def _replayed(
    trial: Trial, directory: Path, history: Sequence[Event], terminal: Terminal, *, device: str, threads: int
) -> list[Event]:
    """Return the events of the replay, as far as there is something to compare them with."""
    run: Any = functools.partial(
        image_classification.run, threads=threads, device=device, policy=CheckpointPolicy(), cost=False
    )
    events: list[Event] = []
    ended = not history or isinstance(history[-1], Done) or _is_failure(history[-1])
    last = max((event.epoch for event in history if isinstance(event, Epoch)), default=0)
    with Display(terminal.console, [trial]) as display:
        for event in _events(logged(run, "python"), trial, directory):
            display.show(trial, event)
            events.append(event)
            if not ended and isinstance(event, Epoch) and event.epoch == last:
                break
    return events


def _events(run: run_directory.Run, trial: Trial, directory: Path) -> Iterator[Event]:
    with run_directory.full_disk_reported(directory):
        yield from run_directory.events(run, trial, directory, None, True)


def _tell(recorded: _Recorded, comparison: Comparison, events: Sequence[Event], terminal: Terminal) -> int:
    """Say whether the numbers are equal, and where not, what else differs; return the exit status."""
    what = ", ".join(comparison.compared)
    if not comparison.differences:
        terminal.line(f"equal to the last bit: {what}", "green")
        return 0
    first, *others = comparison.differences
    terminal.fail(f"not equal: {printable(str(first))}")
    more = [difference for difference in others if not difference.where.startswith("epoch ")]
    for difference in more:
        terminal.fail(f"           {printable(str(difference))}")
    curve = len(others) - len(more)
    if curve:
        terminal.fail(f"           and {curve} more number{'s' * (curve > 1)} of the curve")
    terminal.line(f"compared: {what}")
    started = next((event for event in events if isinstance(event, Started)), None)
    changed = _changes(recorded, started) if started else []
    for line in changed:
        terminal.line(f"differs: {line}")
    if not changed:
        terminal.line("Nothing else that is recorded differs: neither the machine, nor versions, threads or code.")
    return 1


def _changes(recorded: _Recorded, now: Started) -> list[str]:
    """Return what differs between the trial's last attempt and now: machine, versions, threads and code."""
    before, config = recorded.started, recorded.trial.config
    pairs = {"host": (before.host, now.host), "device": (before.device, now.device)}
    pairs["threads"] = str(before.threads), str(now.threads)
    for name in sorted(before.machine.keys() | now.machine.keys()):
        if before.machine:
            pairs[name] = before.machine.get(name, "none"), now.machine.get(name, "none")
    lines = [f"{name}: {first} before, {second} now" for name, (first, second) in pairs.items() if first != second]
    if not before.machine:
        lines.append("versions: not known of so early a trial")
    code_version = provenance.code_version()
    if recorded.code_versions and code_version not in recorded.code_versions:
        lines.append(f"ablate: {', '.join(dict.fromkeys(recorded.code_versions))} before, {code_version} now")
    if trial_id(config) != recorded.trial.trial_id:
        lines.append(f"numerics: earlier ones before, version {identity.NUMERICS} now")
    for name in parts.GROUPS_WITH_A_TARGET:
        code = own_code.of(str(config[name]["_target_"])) if CODE in config[name] else None
        if code is not None and code.fingerprint != config[name][CODE]:
            files = shlex.join(file.name for file in code.modules.values())
            lines.append(f"code of {files}: {config[name][CODE]} before, {code.fingerprint} now")
    return lines
