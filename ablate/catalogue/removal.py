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
from ablate.store import manifest, opening, study_lock
from ablate.tracking import address
from ablate.tracking.remove import remove_experiment


def remove(terminal: Terminal, name: str, runs: Path, uri: str | None, *, yes: bool) -> None:
    """Take a study away: its manifest, the run directories that no other study uses, its MLflow experiment.

    Raises:
        UsageError: a line or a trial of it runs, there is nobody to ask, or its MLflow cannot be opened; nothing is
            removed. Or a run directory cannot be removed: then the manifest stays, so that the line can be said again.
    """
    stored = manifest.load(name, runs)
    _check_owner(name, _own(stored, runs), runs)
    with study_lock.alone(f"remove={name}", name, runs):
        _remove(terminal, stored, runs, uri, yes=yes)


def _remove(terminal: Terminal, stored: manifest.StoredStudy, runs: Path, uri: str | None, *, yes: bool) -> None:
    name = stored.study.name
    store = opening.open_store(stored.storage, runs)
    store.check(writing=False)
    with opening.unavailable_is_usage_error(store):
        running = sorted(store.leased((trial.trial_id for trial in stored.study.trials), surely=True))
    if running:
        raise UsageError(
            f"remove={name}: {counted(len(running), 'trial')} of it run now, such as {running[0]}; stop it first"
        )
    own = _own(stored, runs)
    where = uri or stored.uri or urls.MLFLOW_DEFAULT
    if not where.startswith(urls.SQLITE) or Path(where.removeprefix(urls.SQLITE)).exists():
        address.check(where, writing=True)
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
        if {trial.trial_id for trial in _own(stored, runs)} != {trial.trial_id for trial in own}:
            raise UsageError(f"remove={name}: another study took trials of it meanwhile; say the line again")
    removed = remove_experiment(where, name)
    with opening.unavailable_is_usage_error(store):
        store.remove(trial.trial_id for trial in own)
    left = [error for trial in own for error in _delete(runs / trial.trial_id)]
    if left:
        raise UsageError(
            f"remove={name}: {counted(len(left), 'file')} could not be removed, such as {left[0].filename} "
            f"({left[0].strerror}); the study stays on the list; allowed: the same line, once they can be"
        )
    manifest.delete(name, runs)
    terminal.line(f"Removed {what}{', and its experiment' if removed else ''}.")


def _delete(directory: Path) -> list[OSError]:
    """Delete a run directory; of a link, the link alone. Return what the system refused."""
    refused: list[OSError] = []

    def keep(_function: object, path: str, info: tuple[type[BaseException], BaseException, object]) -> None:
        error = info[1]
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            refused.append(OSError(error.errno, error.strerror, path))

    if directory.is_symlink():
        directory.unlink()
    else:
        shutil.rmtree(directory, onerror=keep)
    return refused


def _own(stored: manifest.StoredStudy, runs: Path) -> list[Trial]:
    """Return the trials of the study that no other one requests."""
    shared = manifest.shared(stored.study.name, runs)
    return [trial for trial in stored.study.trials if trial.trial_id not in shared]


def _check_owner(name: str, trials: Sequence[Trial], runs: Path) -> None:
    """Raise UsageError where files of the study are somebody else's, before any is removed."""
    directories = (runs / trial.trial_id for trial in trials)
    for path in (runs, *manifest.files(name, runs), *(path for path in directories if path.exists())):
        if why := folders.refusal(path):
            raise UsageError(f"remove={name}: {why}: {path}; allowed: by whoever may write there")
