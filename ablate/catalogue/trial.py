"""One trial of a runs folder: its config, its curve, the end of its log, its files, and the lines that make it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from ablate.catalogue.states import state
from ablate.core import invocation, urls
from ablate.core.config import Config
from ablate.core.errors import StorageUnavailable, UsageError
from ablate.core.events import Done, Epoch, Event, Failed, Notice, Outcome, Started, from_dict
from ablate.core.folders import as_typed_here
from ablate.core.study import Cell, Trial
from ablate.core.text import counted, file_size, printable
from ablate.core.trust import modules_to_trust
from ablate.driver.terminal import Terminal
from ablate.planning import command_line
from ablate.store import event_log, lookup, manifest, mirror, opening, run_directory, text_log
from ablate.tracking import runs_of_trial

SHOWN_EPOCHS = 8
SHOWN_LINES = 10
"""Of a trial's log."""

COLUMNS = {
    "train_loss": "train loss",
    "train_acc": "train",
    "valid_loss": "valid loss",
    "valid_acc": "valid",
    "restart_test_acc": "test",
    "wall_s": "seconds",
}
"""The metrics of an epoch that are shown -> the heads of their columns."""


def show_trial(terminal: Terminal, typed: str, runs: Path, uri: str | None) -> None:
    """Show a trial by its id, or by the first characters of it.

    Args:
        terminal: where to print.
        typed: an id, or at least 6 characters of one.
        runs: the runs folder.
        uri: the MLflow to look in; None for those that its studies were tracked in.

    Raises:
        UsageError: there is no such trial, or several.
    """
    readable, damaged = manifest.readable(runs)
    for damage in damaged:
        terminal.warn(damage)
    studies = lookup.requests_by_id(readable)
    trial_id = lookup.full_id(typed, runs, studies)
    as_requested = studies.get(trial_id, {})
    trial = next(iter(as_requested.values()), None) or _unrequested(trial_id, runs)
    directory = runs / trial_id
    stored = {study.study.name: study for study in readable if study.study.name in as_requested}
    storage = next((study.storage for study in stored.values() if study.storage), None) or mirror.root(directory)
    store = opening.open_to_read(storage, [trial], runs, terminal.warn)
    try:
        log = store.text_log(trial_id)
        leased = store.leased([trial_id])
    except StorageUnavailable as unavailable:
        terminal.warn(f"storage={storage}: {unavailable}; using what was last known")
        log, leased = store.local.text_log(trial_id), set()
    end = store.local.outcome(trial)
    terminal.line(f"trial {trial_id}")
    names = [f"{name} ({levels})" if (levels := _levels(part)) else name for name, part in as_requested.items()]
    _field(terminal, "studies", names or ["none: no study of this folder requests it"])
    _field(terminal, "outcome", _outcome(state(trial, end, leased), end, _events(directory)))
    _field(terminal, "config", _config(trial.config, directory))
    _show_curve(terminal, run_directory.history(trial, runs), trial.config)
    if log is not None:
        _field(terminal, "log", [as_typed_here(log), *(f"| {line}" for line in text_log.tail(log, SHOWN_LINES))])
    _field(terminal, "files", _files(directory, storage))
    _field(terminal, "MLflow", _tracked(trial_id, {uri} if uri else {study.uri for study in stored.values()}))
    _field(terminal, "made by", [_line(trial.config, runs)])
    where = "" if runs == Path("runs").absolute() else f" runs={shlex.quote(as_typed_here(runs))}"
    modules = ",".join(modules_to_trust(trial.config))
    trust = f" trust={shlex.quote(f'[{modules}]') if ',' in modules else modules}" if modules else ""
    _field(terminal, "again", [f"{invocation.command('run')} trial={trial_id}{where}{trust}"])


def _unrequested(trial_id: str, runs: Path) -> Trial:
    """Return a trial that has a run directory, and is in no study's manifest."""
    config = lookup.stored_config(trial_id, runs)
    return Trial(Cell(()), config["seed"], config, {}, trial_id)


def _levels(trial: Trial) -> str:
    tuning = "tried by its tuning" * trial.tuning
    return ", ".join(part for part in (str(Cell((*trial.cell.levels, *trial.values))), tuning) if part)


def _field(terminal: Terminal, name: str, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        terminal.line(f"{'' if number else name:<10}{printable(line)}")


def _events(directory: Path) -> list[Event]:
    """Return every event of every attempt, as it was logged."""
    return [from_dict(line) for line in event_log.lines(directory / run_directory.LOG)]


def _outcome(state_name: str, end: Outcome | None, events: Sequence[Event]) -> list[str]:
    """Return how the trial ended, when, and on what it ran."""
    lines = [state_name]
    if isinstance(end, Done):
        lines = [", ".join(["done", *_scores(end.metrics)])]
    elif isinstance(end, Failed):
        lines = [f"{state_name}, {end.kind}: {end.reason}" if state_name != "failed" else f"{end.kind}: {end.reason}"]
    starts = [event for event in events if isinstance(event, Started)]
    if starts:
        last = starts[-1]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime((end or last).time))
        attempts = f", {counted(len(starts), 'attempt')}" if len(starts) > 1 else ""
        threads = counted(last.threads, "thread")
        lines.append(f"{'' if end else 'since '}{when} on {last.host}, {last.device}, {threads}{attempts}")
    return lines + [f"notice: {event.text}" for event in events if isinstance(event, Notice)]


def _scores(metrics: Mapping[str, float]) -> Iterator[str]:
    if "test_acc" in metrics:
        counts = f" ({metrics['test_correct']:.0f} of {metrics['test_items']:.0f})" if "test_items" in metrics else ""
        yield f"test accuracy {metrics['test_acc']:.2%}{counts}"
    if "wall_s" in metrics:
        yield f"{metrics['wall_s']:.1f} s"


def _config(config: Config, directory: Path) -> list[str]:
    """Return what differs from the defaults, and the file of the whole config."""
    try:
        words = command_line.differences(config)
    except UsageError as error:
        words = [f"({error})"]
    file = directory / run_directory.CONFIG
    whole = f"all of it: {as_typed_here(file)}" if file.is_file() else "not begun yet"
    return [f"{shlex.join(words) or 'as the defaults'}", whole]


def _show_curve(terminal: Terminal, events: Sequence[Event], config: Config) -> None:
    """Show some of the epochs, the first and the last among them."""
    epochs = [event for event in events if isinstance(event, Epoch)]
    if not epochs:
        return
    last = len(epochs) - 1
    chosen = sorted({round(n * last / (SHOWN_EPOCHS - 1)) for n in range(SHOWN_EPOCHS)})
    metrics = [name for name in COLUMNS if any(name in event.metrics for event in epochs)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("epoch", *(COLUMNS[name] for name in metrics)):
        table.add_column(column, justify="right")
    for event in (epochs[n] for n in chosen):
        table.add_row(f"{event.epoch}/{config['recipe']['epochs']}", *(_shown(name, event.metrics) for name in metrics))
    terminal.console.print(table)


def _shown(name: str, metrics: Mapping[str, float]) -> str:
    if name not in metrics:
        return ""
    return f"{metrics[name]:.2%}" if name.endswith("_acc") else f"{metrics[name]:.{1 if name == 'wall_s' else 4}f}"


def _files(directory: Path, storage: str | None) -> list[str]:
    lines = [f"in {storage}/{directory.name}/, and as last brought:"] if storage else []
    files = sorted(path for path in directory.iterdir() if path.is_file()) if directory.is_dir() else []
    sizes = (f"{path.name} {file_size(path.stat().st_size)}" for path in files if path.stat().st_size)
    return [*lines, f"{as_typed_here(directory)}{os.sep}", ", ".join(sizes) or "no files yet"]


def _tracked(trial_id: str, uris: set[str | None]) -> list[str]:
    """Return where MLflow shows the trial; a line for each of its studies."""
    known = sorted(uri for uri in uris if uri is not None)
    try:
        known_runs = [(uri, run) for uri in known for run in runs_of_trial.runs_of_trial(uri, trial_id)]
    except UsageError as error:
        return [str(error)]
    lines = []
    for uri, run in known_runs:
        is_server = uri.startswith("http")
        where = "" if is_server else f", in {as_typed_here(Path(uri.removeprefix(urls.SQLITE)))}"
        page = f"{uri.rstrip('/') if is_server else 'mlflow ui, then http://127.0.0.1:5000'}/#/experiments"
        lines.append(f"run {run.run_id} of {run.experiment}{where}")
        lines.append(f"{page}/{run.experiment_id}/runs/{run.run_id}")
    return lines or ["no run"]


def _line(config: Config, runs: Path) -> str:
    where = {} if runs == Path("runs").absolute() else {"runs": as_typed_here(runs)}
    try:
        return f"{invocation.command('run')} {command_line.line({**config, **where})}"
    except UsageError as error:
        return f"no line in this folder: {error}"
