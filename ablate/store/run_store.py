"""Where run directories are: in a folder, or in an object store that every worker reaches. One interface."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ablate.core.errors import StorageUnavailable, UsageError
from ablate.core.study import Trial
from ablate.store.bucket import Bucket
from ablate.store.folder import Folder
from ablate.store.mirror import bring_weights, pointer, root
from ablate.store.object_store import check_url
from ablate.store.working_copy import WorkingCopy

RunStore = Folder | Bucket

__all__ = [
    "Bucket",
    "Folder",
    "RunStore",
    "StorageUnavailable",
    "WorkingCopy",
    "away_told",
    "bring_weights",
    "brought",
    "place",
    "pointer",
    "root",
]


def place(url: str | None, runs: Path) -> RunStore:
    """The place that `storage=` names: a `Folder` for None.

    Raises:
        UsageError: not a URL at which trials can be stored; nothing was asked there yet.
    """
    if url is None:
        return Folder(runs)
    check_url(url)
    return Bucket(url, runs)


@contextlib.contextmanager
def away_told(found: RunStore) -> Iterator[None]:
    """Raises UsageError, in one line, where an object store is away for so long that a command gives up."""
    try:
        yield
    except StorageUnavailable as away:
        raise UsageError(f"storage={found.url}: {away}; allowed: to say it again when it answers") from away


def brought(url: str | None, trials: Iterable[Trial], runs: Path, say: Callable[[str], None]) -> RunStore:
    """The place of a study that was asked for before, with `runs` refreshed; what keeps it from that is told in a line.

    For commands that look: what was last known is better than nothing.
    """
    found = place(url, runs)
    try:
        found.check(writing=False)
        found.refresh(trials)
    except (UsageError, StorageUnavailable) as error:
        say(f"{error}; told is what was last known")
        return Folder(runs)
    return found
