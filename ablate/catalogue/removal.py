"""A study is removed: its manifest, the trials that no other study uses, its MLflow experiment."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ablate.catalogue.studies import on_disk
from ablate.core import folders, urls
from ablate.core.errors import UsageError
from ablate.core.study import Trial
from ablate.core.text import counted, file_size
from ablate.driver.terminal import Terminal
from ablate.store import manifest, opening
from ablate.tracking import address
from ablate.tracking.remove import remove_experiment


def remove(terminal: Terminal, name: str, runs: Path, uri: str | None, *, yes: bool) -> None:
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
    size, _ = on_disk(own, runs)
    kept = len(stored.study.trials) - len(own)
    stay = f" ({counted(kept, 'trial')} that another study uses stay)" if kept else ""
    what = f"study {name}: {counted(len(own), 'trial')}, {file_size(size)}{stay}"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"remove={name}: {what}; there is no terminal to ask at; allowed: with yes=true")
        question = f"Remove {what}, and its experiment in {where}? Type its name: "
        if terminal.console.input(question, markup=False) != name:
            terminal.line("Nothing is removed.")
            return
    removed = remove_experiment(where, name)
    with opening.unavailable_is_usage_error(store):
        store.remove(trial.trial_id for trial in own)
    for trial in own:
        shutil.rmtree(runs / trial.trial_id, ignore_errors=True)
    manifest.delete(name, runs)
    terminal.line(f"Removed {what}{', and its experiment' if removed else ''}.")


def _check_owner(name: str, trials: Sequence[Trial], runs: Path) -> None:
    """Raise UsageError where files of the study are somebody else's, before any is removed."""
    directories = (runs / trial.trial_id for trial in trials)
    for path in (runs, *manifest.files(name, runs), *(path for path in directories if path.exists())):
        if why := folders.refusal(path):
            raise UsageError(f"remove={name}: {why}: {path}; allowed: by whoever may write there")
