"""The lock of a study: its drivers share it for as long as they run, and whoever removes or renames it holds it alone.

The leases of trials do not do for that: a driver that starts has none yet.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ablate.core.errors import UsageError
from ablate.store import manifest

_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system answers that has no locks; a study there is on its own."""


@contextlib.contextmanager
def shared(name: str, runs: Path) -> Iterator[None]:
    """Hold the study's lock together with its other drivers.

    Raises:
        UsageError: somebody removes or renames the study just now. What was planned may be out of date after that.
    """
    manifest.folder(runs).mkdir(parents=True, exist_ok=True)
    try:
        with _locked(_path(name, runs), fcntl.LOCK_SH | fcntl.LOCK_NB):
            yield
    except BlockingIOError as error:
        raise UsageError(f"study={name}: somebody removes or renames it now; say the line again") from error


@contextlib.contextmanager
def alone(typed: str, name: str, runs: Path) -> Iterator[None]:
    """Hold the study's lock alone.

    Raises:
        UsageError: a driver runs the study; the message begins with what was typed.
    """
    try:
        with _locked(_path(name, runs), fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield
    except BlockingIOError as error:
        raise UsageError(f"{typed}: a line of study {name} runs now; stop it first") from error


def _path(name: str, runs: Path) -> Path:
    return manifest.folder(runs) / f"{name}{manifest.IN_USE}"


@contextlib.contextmanager
def _locked(path: Path, operation: int) -> Iterator[None]:
    writing = os.O_RDWR if operation & fcntl.LOCK_EX else os.O_RDONLY  # who may read another's study may run it
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_CLOEXEC | writing, 0o666)
        try:
            _lock(descriptor, operation)
            if _is_at(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)
        # the file was removed, with its study, between the two


def _lock(descriptor: int, operation: int) -> None:
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
