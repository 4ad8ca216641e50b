"""Folders that belong to somebody else, or that cannot be written to: told before anything starts, in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.core.errors import UsageError

PATH_KEYS = ("runs", "out", "to", "path", "weights", "dataset.root", "tune.storage", "track.uri")
"""Keys that name a folder or a file, in the config of one command or another."""

_ALLOWED = {
    errno.ENOSPC: "one with space left",
    errno.EDQUOT: "one with space left",
    errno.ENAMETOOLONG: "a shorter name",
    errno.ENOENT: "one that is there",
}


def check_writable(key: str, typed: str, folder: Path) -> None:
    """Raise UsageError where the folder cannot be written to, or cannot be made.

    Args:
        key: names the folder on the command line.
        typed: its value there.
        folder: the folder, which need not exist.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"{key}={typed}: {existing} is a file; allowed: a folder, or a name for a new one")
    if why := refusal(existing):
        raise UsageError(
            f"{key}={typed}: {why}: {existing}; allowed: a folder in which you may write, or a name for a new one"
        )


def refusal(path: Path) -> str | None:
    """Return why an existing folder or file cannot be written to; None where it can."""
    rights = os.W_OK | (os.X_OK if path.is_dir() else 0)
    if os.access(path, rights, effective_ids=os.access in os.supports_effective_ids):
        return None
    is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    return os.strerror(errno.EROFS if is_read_only else errno.EACCES)


def error_line(error: OSError, values: Mapping[str, Any]) -> str:
    """Return one line for what the system refused: the key whose folder or file it is, why, and what is allowed.

    >>> error_line(PermissionError(13, "Permission denied", "/lab/reports/a.csv"), {"out": "/lab/reports"})
    'out=/lab/reports: Permission denied: /lab/reports/a.csv; allowed: one that you may read, and write to'

    Args:
        error: has a file's name.
        values: key -> value, of the command's config, flat.
    """
    file = Path(os.fsdecode(error.filename)).absolute()
    typed = {key: str(values[key]) for key in PATH_KEYS if values.get(key) is not None}
    owners = [key for key, value in typed.items() if file.is_relative_to(_path(value))]
    key = max(owners, key=lambda owner: len(str(_path(typed[owner]))), default=None)
    start = f"{key}={typed[key]}: {error.strerror}: {file}" if key else f"{file}: {error.strerror}"
    return f"{start}; allowed: {_ALLOWED.get(error.errno or 0, 'one that you may read, and write to')}"


def as_typed_here(path: Path) -> str:
    """Return a path as one would type it: relative to the working directory where it lies below that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _path(value: str) -> Path:
    return Path(value.removeprefix("sqlite:///")).absolute()
