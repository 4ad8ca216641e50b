"""Open the run directories that `storage=` and `runs=` name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ablate.core.errors import StorageUnavailable, UsageError
from ablate.core.study import Trial
from ablate.store.bucket import BucketStore
from ablate.store.folder import FolderStore
from ablate.store.object_store import check_url
from ablate.store.run_store import RunStore


def open_store(url: str | None, runs: Path) -> RunStore:
    """Return the store at the URL, or for None the folder `runs`. Nothing is asked there yet.

    Raises:
        UsageError: it is not a URL at which trials can be stored.
    """
    if url is None:
        return FolderStore(runs)
    check_url(url)
    return BucketStore(url, runs)


def open_to_read(url: str | None, trials: Iterable[Trial], runs: Path, say: Callable[[str], None]) -> RunStore:
    """Return the store with these trials brought into `runs`; where it does not answer, `runs` as it was last brought.

    For commands that only read: what was last known is better than nothing. The reason is said in one line.
    """
    store = open_store(url, runs)
    try:
        store.check(writing=False)
        store.outcomes(trials)
    except (UsageError, StorageUnavailable) as error:
        say(f"{error}; using what was last known")
        return FolderStore(runs)
    return store


@contextlib.contextmanager
def unavailable_is_usage_error(store: RunStore) -> Iterator[None]:
    """Raise UsageError, in one line, where an object store is unavailable for so long that a command gives up."""
    try:
        yield
    except StorageUnavailable as unavailable:
        raise UsageError(
            f"storage={store.url}: {unavailable}; allowed: to say it again when it answers"
        ) from unavailable
