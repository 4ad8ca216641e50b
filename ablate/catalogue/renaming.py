"""A study gets another name; its trials stay as they are, and nothing is trained again."""

from __future__ import annotations

from pathlib import Path

from ablate.core import folders, urls
from ablate.core.errors import UsageError
from ablate.core.text import counted
from ablate.driver.terminal import Terminal
from ablate.planning import study_name
from ablate.store import manifest, opening, study_lock
from ablate.tracking import address
from ablate.tracking.rename import Renaming
from ablate.tuning import storage


def rename(terminal: Terminal, name: str, new: str, runs: Path, uri: str | None) -> None:
    """Rename a study: what it asked for, the names of its tuning, and its MLflow experiment.

    The run directories, here or in a bucket, are known by their trials' ids and stay.

    Raises:
        UsageError: there is no such study, the new name is not allowed or is taken, a trial of it runs, its tuning is
            in a storage of its own, or its MLflow cannot be opened; nothing is renamed.
    """
    stored = manifest.load(name, runs)
    study_name.check("rename", new)
    if name == new:
        raise UsageError(f"study={name} rename={new}: there is a study of that name; allowed: another name")
    with study_lock.alone(f"study={name}", name, runs), study_lock.alone(f"rename={new}", new, runs):
        _rename(terminal, stored, new, runs, uri)


def _rename(terminal: Terminal, stored: manifest.StoredStudy, new: str, runs: Path, uri: str | None) -> None:
    name = stored.study.name
    typed = f"study={name} rename={new}"
    if new in manifest.names(runs):
        raise UsageError(f"{typed}: there is a study of that name; allowed: another name")
    for path in (runs, *manifest.files(name, runs)):
        if why := folders.refusal(path):
            raise UsageError(f"{typed}: {why}: {path}; allowed: by whoever may write there")
    _refuse_running(stored, name, runs)
    tuned = stored.study.metadata.get("tune") is not None
    if tuned:
        storage.check_rename(name, new, runs)
    where = uri or stored.uri or urls.MLFLOW_DEFAULT
    is_file = where.startswith(urls.SQLITE)
    renaming = None
    if not is_file or Path(where.removeprefix(urls.SQLITE)).exists():
        address.check(where, writing=True)
        renaming = Renaming(where, name, new)
    if tuned:
        storage.rename(name, new, runs)
    is_renamed = renaming is not None and renaming.do()
    manifest.rename(name, new, runs)
    experiment = f", and its experiment in {where}" if is_renamed else ""
    terminal.line(f"Study {name} is {new} now{experiment}: {counted(len(stored.study.trials), 'trial')}.")
    terminal.line(f"Its line goes on with study={new}, and trains nothing that is done.")


def _refuse_running(stored: manifest.StoredStudy, name: str, runs: Path) -> None:
    """Raise UsageError where somebody works on a trial of the study, or tunes it."""
    store = opening.open_store(stored.storage, runs)
    store.check(writing=False)
    with opening.unavailable_is_usage_error(store):
        running = sorted(store.leased((trial.trial_id for trial in stored.study.trials), surely=True))
    if running:
        raise UsageError(
            f"study={name}: {counted(len(running), 'trial')} of it run now, such as {running[0]}; stop it first"
        )
