"""The folder of an embedded Ray: its sockets, logs and spilled objects. It is short, and the user's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ablate.core import folders
from ablate.core.errors import UsageError

MOST_BYTES = 40
"""Of the folder's path: a socket's has 107 at most, of which Ray uses 67, /session_<date>_<process>/sockets/<name>."""

FALLBACKS = (Path("/tmp"), Path("/var/tmp"))


@contextlib.contextmanager
def own_folder() -> Iterator[Path | None]:
    """Yield the folder in which Ray is to run; None for the one that it chooses itself, where that is as it must be.

    It must be short, since the system bounds the paths of sockets; batch systems set a long TMPDIR. And it must be the
    user's own: of a machine's /tmp/ray the first who used Ray is the owner. A folder that is made here is removed at
    the end.

    Raises:
        UsageError: no folder is as it must be.
    """
    parent = check()
    if parent is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a process of Ray that ends late may still write to its log


def check() -> Path | None:
    """Return the folder in which one for Ray is to be made; None where the one that it chooses itself is usable.

    Raises:
        UsageError: no folder is as it must be.
    """
    if _is_usable(usual_folder()):
        return None
    parents = [parent for parent in (_temporary(), *FALLBACKS) if _is_usable_parent(parent)]
    if not parents:
        raise UsageError(
            f"dispatch=ray: its folder {usual_folder()} is too long, or somebody else's, and so are "
            f"{' and '.join(map(str, FALLBACKS))}; allowed: RAY_TMPDIR=FOLDER, of at most {MOST_BYTES - len('/ray')} "
            "letters and with the right to write there, or dispatch=in_process"
        )
    return parents[0]


def usual_folder() -> Path:
    """Return the folder that Ray chooses itself."""
    return _temporary() / "ray"


def _temporary() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def _is_usable(folder: Path) -> bool:
    """Return whether the folder is short and the user's own, or can be made."""
    if len(os.fsencode(folder.absolute())) > MOST_BYTES:
        return False
    existing = _existing(folder)
    is_own = existing != folder.absolute() or existing.lstat().st_uid == os.geteuid()
    return is_own and existing.is_dir() and folders.refusal(existing) is None


def _is_usable_parent(parent: Path) -> bool:
    """Return whether a new folder can be made there whose path is short."""
    name = "/ray-" + 8 * "x"
    is_short = len(os.fsencode(parent.absolute())) + len(name) <= MOST_BYTES
    return is_short and parent.is_dir() and folders.refusal(parent) is None


def _existing(folder: Path) -> Path:
    """Return the folder, or the first one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
