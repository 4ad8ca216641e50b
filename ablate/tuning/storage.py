"""The storage of a study's tuning: a journal in a file of its own, or a database. To check it needs no Optuna."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ablate.core import databases, folders
from ablate.core.errors import UsageError
from ablate.planning.tuning import MOST_BYTES_OF_NAME

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

STUDIES, LOCK = "studies", ".tune.lock"
"""The folder of the studies' files in a runs folder, and the ending of the lock that a tuning driver holds."""


class _Lock:
    """A lock for Optuna's journal. A killed process leaves Optuna's own lock behind; the system frees this one.

    It has the two methods of `BaseJournalFileLock`, which Optuna does not export.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def open_storage(address: str | None, default: Path) -> BaseStorage:
    """Return the storage at a database's address or in a file; by default in the file `default`.

    Raises:
        UsageError: it cannot be opened, or has something else in it.
    """
    import optuna.storages
    from optuna.storages.journal import JournalFileBackend

    if address is not None and "://" in address:
        with _database_errors(address):
            _refuse_mlflows(address)
            return optuna.storages.RDBStorage(address)
    path = Path(address) if address is not None else default
    _check_file(path)
    with _file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(path)
        own: Any = _Lock(path.with_name(f"{path.name}.lock"))
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), own))


def check(address: str | None, study: str, runs: Path) -> None:
    """Raise UsageError where the tuning of a study cannot begin: another process does, or its storage is not usable.

    Nothing is made, and no journal is read to its end.
    """
    if (runs / STUDIES / f"{study}{LOCK}").exists():
        lock(study, runs).release()
    if address is None or "://" not in address:
        _check_file(Path(address) if address is not None else default_file(study, runs))
        return
    path_of_database = databases.sqlite_file(address)
    if path_of_database is not None and not path_of_database.exists():
        folders.check_writable("tune.storage", address, path_of_database.parent)
        return
    with _database_errors(address):
        _refuse_mlflows(address)


def check_rename(study: str, new: str, runs: Path) -> None:
    """Raise UsageError where the names of a tuning cannot be changed: another process tunes, or it is elsewhere.

    Optuna's studies are called by the study's name; one that is too long for Optuna ends in a digest of the whole.
    """
    lock(study, runs).release()
    file = default_file(study, runs)
    if not file.exists():
        raise UsageError(
            f"study={study} rename={new}: its tuning is in tune.storage, where names stay; allowed: a study whose "
            f"tuning is in {file}"
        )
    from optuna import get_all_study_names

    journal = open_storage(None, file)
    longest = max(
        (len(f"{new}{name.removeprefix(study)}".encode()) for name in get_all_study_names(journal)), default=0
    )
    if longest > MOST_BYTES_OF_NAME or not all(name.startswith(f"{study}: ") for name in get_all_study_names(journal)):
        raise UsageError(f"study={study} rename={new}: too long for the names of its tuning; allowed: a shorter name")


def rename(study: str, new: str, runs: Path) -> None:
    """Copy the tuning of a study to the file, and the names, that it has under another name of the study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    target = default_file(new, runs)
    target.unlink(missing_ok=True)  # of a renaming that was broken off
    before, after = open_storage(None, default_file(study, runs)), open_storage(None, target)
    for name in optuna.get_all_study_names(before):
        optuna.copy_study(
            from_study_name=name,
            from_storage=before,
            to_storage=after,
            to_study_name=f"{new}{name.removeprefix(study)}",
        )


def _check_file(path: Path) -> None:
    """Raise UsageError for a file in which no journal can be kept."""
    folders.check_writable("tune.storage", str(path), path.parent)
    if path.exists() and (why := folders.refusal(path)):
        raise UsageError(f"tune.storage={path}: {why}; allowed: a file that you may write to")
    with _file_errors(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        _refuse_other_files(path)


def lock(study: str, runs: Path) -> FileLock:
    """Return the lock of the study's tuning, which this process now holds; raise UsageError where another does."""
    tuning = FileLock(runs / STUDIES / f"{study}{LOCK}")
    try:
        tuning.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"study={study}: another process is tuning it; allowed: one at a time; run the line again when it ends"
        ) from None
    return tuning


def default_file(study: str, runs: Path) -> Path:
    """Return the file of a study's tuning where the user names none."""
    return runs / STUDIES / f"{study}.optuna"


@contextlib.contextmanager
def _database_errors(address: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # SQLAlchemy and each driver raise their own
        first = str(error).partition("\n")[0]
        raise UsageError(f"tune.storage={address}: {first}; allowed: a database's address, or a file") from error


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"tune.storage={path}: {error}; allowed: a file that Optuna's journal is kept in") from error


def _refuse_mlflows(address: str) -> None:
    """Raise UsageError for a database in which MLflow has its tables: Optuna's would spoil it."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(address)
    try:
        databases.refuse_other(
            "tune.storage", address, databases.owners(sqlalchemy.inspect(engine).get_table_names()), "Optuna"
        )
    finally:
        engine.dispose()


def _refuse_other_files(path: Path) -> None:
    """Raise ValueError for a file that is no journal: to open one, its last line may be cut off."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if not file.read(1024).lstrip(b"\0").startswith(b"{"):
                raise ValueError("there is another file of that name")


def _drop_torn_line(path: Path) -> None:
    """Delete a last line that a full disk or a loss of power has cut short."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
