"""The studies of a runs folder: `python -m ablate.studies`; `study=NAME` shows one, `remove=NAME` removes one.

With `jobs=http://HOST:8265` those sent to a cluster, too: `follow=NAME` tells what one says, `stop=NAME` stops it.
"""

from __future__ import annotations

import collections
import dataclasses
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING
from rich import box
from rich.console import Console
from rich.table import Table

from ablate.cli import app
from ablate.core import folders, urls
from ablate.core.errors import UsageError
from ablate.core.events import Done, Failed, Outcome
from ablate.core.levels import show
from ablate.core.study import Study, Trial
from ablate.core.text import counted, file_size
from ablate.dispatch.jobs import Job, Jobs
from ablate.store import manifest, opening, run_directory
from ablate.store.run_store import RunStore
from ablate.tracking import address
from ablate.tracking.remove import remove_experiment

MOST_LOGS = 20
"""Of studies that were sent: a look at each takes a moment."""

STATES = ("done", "failed", "running", "to do")


@dataclass
class WhereConfig:
    uri: str | None = None


@dataclass
class StudiesConfig:
    """The root of conf/studies.yaml."""

    study: str | None = None
    remove: str | None = None
    jobs: str | None = None
    follow: str | None = None
    stop: str | None = None
    yes: bool = MISSING
    runs: str = MISSING
    track: WhereConfig = field(default_factory=WhereConfig)


def main() -> None:
    ConfigStore.instance().store(name="studies_schema", node=StudiesConfig)
    app.main("studies", studies, sweeps=False)


def studies(typed: app.Composed) -> int:
    """List the studies, show one, or remove one.

    Returns the exit status: 0, or 1 where a study that is followed failed.
    """
    config = app.plain(typed, StudiesConfig)
    runs, console = Path(config["runs"]).absolute(), Console(soft_wrap=False, markup=False, emoji=False)
    typed_keys = [f"{key}={config[key]}" for key in ("study", "remove", "follow", "stop") if config[key] is not None]
    if len(typed_keys) > 1:
        raise UsageError(f"{' '.join(typed_keys)}: allowed: one of them")
    for key in ("follow", "stop"):
        if config[key] is not None:
            if config["jobs"] is None:
                raise UsageError(
                    f"{key}={config[key]}: for a study that ablate.submit sent; allowed: with jobs=http://HOST:8265"
                )
            return _sent(console, Jobs(config["jobs"], "jobs"), key, config[key])
    if config["jobs"] is not None and not typed_keys:
        show_sent(console, Jobs(config["jobs"], "jobs"))
        if not runs.is_dir():
            return 0
    if not runs.is_dir():
        raise UsageError(f"runs={config['runs']}: there is no such folder; allowed: the folder of the run directories")
    if config["remove"] is not None:
        remove(console, config["remove"], runs, config["track"]["uri"], yes=config["yes"])
    elif config["study"] is not None:
        show_study(console, manifest.load(config["study"], runs), runs)
    else:
        show_all(console, runs)
    return 0


def show_sent(console: Console, jobs: Jobs) -> None:
    """Show a line for each study sent to the cluster: its sender, its state, when it began, and its last line."""
    sent = jobs.all()
    if not sent:
        _line(console, f"no studies at {jobs.address} yet; send one: python -m ablate.submit -m norm=bn,srelu")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("sent study", "by", "state", "began", "took", "it said last"):
        table.add_column(column, no_wrap=column != "it said last")
    for position, job in enumerate(sent):
        lines = jobs.log(job).strip().splitlines() if position < MOST_LOGS else []
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.began)) if job.began else ""
        took = f"{((job.ended or time.time()) - job.began) / 60:.1f} min" if job.began else ""
        table.add_row(job.study, job.user, job.state, began, took, lines[-1].strip() if lines else "")
    console.print(table)


def _sent(console: Console, jobs: Jobs, what: str, name: str) -> int:
    """Follow, or stop, a study that was sent."""
    job = jobs.latest(name, what)
    if what == "follow":
        for text in jobs.follow(job):
            sys.stdout.write(text)
            sys.stdout.flush()
        job = jobs.job(job.job_id)
        _line(console, f"{_in_words(job)} is {job.state}")
        return 0 if job.state == "done" else 1
    if job.is_over:
        _line(console, f"{_in_words(job)} is {job.state} already")
        return 0
    _line(console, f"{_in_words(job)}: running trials write their checkpoints")
    job = jobs.stop(job)
    _line(console, f"{_in_words(job)} is {job.state}; the same line goes on")
    return 0 if job.is_over else 1


def _in_words(job: Job) -> str:
    return f"study {job.study} ({job.job_id}), sent by {job.user},"


def show_all(console: Console, runs: Path) -> None:
    """Show a line for each study: its cells, its trials by state, its size on disk, and its last activity."""
    names = manifest.names(runs)
    if not names:
        _line(console, f"No study in {runs} yet: python -m ablate.run -m norm=bn,srelu bits=1,32")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("study", overflow="fold")
    for column in ("cells", *STATES, "on disk", "last activity"):
        table.add_column(column, justify="right")
    for name in names:
        stored = manifest.load(name, runs)
        states = collections.Counter(_states(_brought(console, stored, runs), stored.study).values())
        size, last = _on_disk(stored.study.trials, runs)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(last, stored.requested_at)))
        counts = (str(states[state_name]) for state_name in STATES)
        table.add_row(name, str(len(cells_of(stored.study)[1])), *counts, file_size(size), when)
    console.print(table)


def show_study(console: Console, stored: manifest.StoredStudy, runs: Path) -> None:
    """Show the cells of a study with their trials by state, then each failure with its reason."""
    study = stored.study
    store = _brought(console, stored, runs)
    state_of = _states(store, study)
    final = dataclasses.replace(study, trials=[trial for trial in study.trials if not trial.tuning])
    factors, cells = cells_of(final)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for factor in factors:
        table.add_column(factor, overflow="fold")
    for column in STATES:
        table.add_column(column, justify="right")
    for levels, trials in cells.items():
        states = collections.Counter(state_of[trial.trial_id] for trial in trials)
        table.add_row(*levels, *(str(states[state_name]) for state_name in STATES))
    _line(console, f"study {study.name}: {counted(len(cells), 'cell')}, {counted(len(final.trials), 'trial')}")
    console.print(table)
    tried = collections.Counter(state_of[trial.trial_id] for trial in study.trials if trial.tuning)
    if tried:
        how = ", ".join(f"{tried[state_name]} {state_name}" for state_name in STATES if tried[state_name])
        _line(console, f"tuning: {counted(tried.total(), 'configuration')}: {how}")
    for trial in final.trials:
        end = store.local.outcome(trial)
        if isinstance(end, Failed):
            _line(console, f"failed  {trial.trial_id}  {trial}: {end.kind}: {end.reason}", style="red")


def cells_of(study: Study) -> tuple[list[str], dict[tuple[str, ...], list[Trial]]]:
    """Return the factors of all lines that named the study, and the trials of each combination of their levels.

    One line may have varied a key that another line fixed. The level is then the value that the trial has.
    """
    factors = list(dict.fromkeys(factor for trial in study.trials for factor, _ in trial.cell.levels))
    cells: dict[tuple[str, ...], list[Trial]] = {}
    for trial in study.trials:
        levels = dict(trial.cell.levels)
        shown = (show(levels.get(factor, trial.params.get(factor))) for factor in factors)
        cells.setdefault(tuple(shown), []).append(trial)
    return factors, cells


def remove(console: Console, name: str, runs: Path, uri: str | None, *, yes: bool) -> None:
    """Take a study away: its manifest, the run directories that no other study uses, its MLflow experiment.

    Raises:
        UsageError: a trial of it runs, there is nobody to ask, or its MLflow cannot be opened; nothing is removed.
    """
    stored = manifest.load(name, runs)
    store = opening.open_store(stored.storage, runs)
    store.check(writing=False)
    with opening.unavailable_is_usage_error(store):
        running = sorted(store.leased((trial.trial_id for trial in stored.study.trials), surely=True))
    if running:
        raise UsageError(
            f"remove={name}: {counted(len(running), 'trial')} of it run now, such as {running[0]}; stop it first"
        )
    shared = manifest.shared(name, runs)
    own = [trial for trial in stored.study.trials if trial.trial_id not in shared]
    where = uri or stored.uri or urls.MLFLOW_DEFAULT
    if not where.startswith(urls.SQLITE) or Path(where.removeprefix(urls.SQLITE)).exists():
        address.check(where, writing=True)
    _check_owner(name, own, runs)
    size, _ = _on_disk(own, runs)
    kept = len(stored.study.trials) - len(own)
    stay = f" ({counted(kept, 'trial')} that another study uses stay)" if kept else ""
    what = f"study {name}: {counted(len(own), 'trial')}, {file_size(size)}{stay}"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"remove={name}: {what}; there is no terminal to ask at; allowed: with yes=true")
        if console.input(f"Remove {what}, and its experiment in {where}? Type its name: ", markup=False) != name:
            _line(console, "Nothing is removed.")
            return
    removed = remove_experiment(where, name)
    with opening.unavailable_is_usage_error(store):
        store.remove(trial.trial_id for trial in own)
    for trial in own:
        shutil.rmtree(runs / trial.trial_id, ignore_errors=True)
    manifest.delete(name, runs)
    _line(console, f"Removed {what}{', and its experiment' if removed else ''}.")


def _check_owner(name: str, trials: Sequence[Trial], runs: Path) -> None:
    """Raise UsageError where files of the study are somebody else's, before any is removed."""
    directories = (runs / trial.trial_id for trial in trials)
    for path in (runs, *manifest.files(name, runs), *(path for path in directories if path.exists())):
        if why := folders.refusal(path):
            raise UsageError(f"remove={name}: {why}: {path}; allowed: by whoever may write there")


def _states(store: RunStore, study: Study) -> dict[str, str]:
    """Return trial_id -> one of STATES, from what the store has brought."""
    leased, outcomes = store.leased(trial.trial_id for trial in study.trials), store.local.outcomes(study.trials)
    return {trial.trial_id: state(trial, outcomes[trial.trial_id], leased) for trial in study.trials}


def state(trial: Trial, end: Outcome | None, leased: Collection[str]) -> str:
    """Return the one of STATES that the trial is in; `leased` are the trials that somebody works on.

    A lost trial is only interrupted: saying its line again goes on with it. A configuration that a tuning pruned is
    done with.
    """
    if isinstance(end, Done) or (trial.tuning and isinstance(end, Failed) and end.kind == "pruned"):
        return "done"
    if trial.trial_id in leased:
        return "running"
    return "failed" if isinstance(end, Failed) and not run_directory.to_go_on(end) else "to do"


def _brought(console: Console, stored: manifest.StoredStudy, runs: Path) -> RunStore:
    return opening.open_to_read(stored.storage, stored.study.trials, runs, lambda text: _line(console, text, "yellow"))


def _on_disk(trials: Sequence[Trial], runs: Path) -> tuple[int, float]:
    """Bytes of the run directories, and the time of the last event in them, in seconds since the epoch."""
    size, last = 0, 0.0
    for trial in trials:
        for path in (runs / trial.trial_id).rglob("*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # a checkpoint that was moved into place
                continue
            size += status.st_size
            if path.name == "events.jsonl":
                last = max(last, status.st_mtime)
    return size, last


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
