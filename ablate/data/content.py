"""What identifies the files of a data set: a hash of their content, which is read once and then known from a cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ablate.core.errors import UsageError

SECONDS_BEFORE_A_NOTICE = 5.0

YOUNGEST_CACHED_NS = 2_000_000_000
"""Files younger than this are not cached, since a file that changes again may keep its time."""

THREADS = 8
"""Files are read in parallel: hashing a large one, and waiting for a disk, leave Python's lock to others."""


def sha256(path: str) -> bytes:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def joined(hashes: Iterable[bytes]) -> str:
    """Return one hash, in hex, of the hashes of files in their order."""
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def identifier(listing: Any) -> str:
    """Return the identifier of a data set, "c" and 16 hex digits, from anything that JSON can hold."""
    return "c" + hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]


def group_hashes(
    root: Path, groups: Iterable[tuple[str, list[str]]], hash_of: Callable[[str], bytes] = sha256
) -> dict[str, str]:
    """Return name -> hash of the contents of a group of files, in the order of the files. Their names do not count.

    A group whose files have the paths, sizes and times that they had when it was last read is not read again. The
    hashes of groups read before an error or an interrupt are kept, too.

    Args:
        root: what the cache is kept for.
        groups: the name and the paths of each group. Links are followed.
        hash_of: returns the hash of one file.

    Raises:
        UsageError: a file cannot be read.
    """
    cache = _folder() / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]}.json"
    kept = _read(cache)
    hashes, stamps, is_new = dict[str, str](), dict[str, str](), False
    notice = _Notice(root)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            for name, paths in groups:
                stamp, is_old = _stamp(paths, hash_of)
                if kept.get(name, [None])[0] == stamp:
                    hashes[name] = kept[name][1]
                    stamps[name] = stamp
                    continue
                hashes[name] = joined(_hashed(pool, hash_of, paths))
                notice.show_if_long()
                if is_old and _stamp(paths, hash_of)[0] == stamp:
                    stamps[name], is_new = stamp, True
    except OSError as error:
        raise UsageError(f"{error.filename or root}: cannot be read: {error.strerror or error}") from error
    finally:
        if is_new:
            _write(cache, kept | {name: [stamp, hashes[name]] for name, stamp in stamps.items()})
    return hashes


class _Notice:
    """Says once that files are being read, where that takes long."""

    def __init__(self, root: Path) -> None:
        self.root, self.due = root, time.monotonic() + SECONDS_BEFORE_A_NOTICE

    def show_if_long(self) -> None:
        if time.monotonic() > self.due:
            self.due = float("inf")
            print(f"{self.root}: reading all files once, to identify the data set", file=sys.stderr)  # noqa: T201


def _hashed(pool: ThreadPoolExecutor, hash_of: Callable[[str], bytes], paths: list[str]) -> Iterator[bytes]:
    return pool.map(hash_of, paths, chunksize=64) if len(paths) > 1 else map(hash_of, paths)


def _stamp(paths: list[str], hash_of: Callable[[str], bytes]) -> tuple[str, bool]:
    """Return what changes with any of the files, and whether the youngest is old enough to be relied on."""
    states = [(path.rpartition(os.sep)[2], os.stat(path)) for path in paths]
    listing = [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in states]
    youngest = max((max(s.st_mtime_ns, s.st_ctime_ns) for _, s in states), default=0)
    stamp = hashlib.sha256(repr((hash_of.__name__, listing)).encode("utf-8", "surrogateescape")).hexdigest()
    return stamp, youngest < time.time_ns() - YOUNGEST_CACHED_NS


def _folder() -> Path:
    """Return the folder of the caches: below XDG_CACHE_HOME, or in the user's home."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home, "ablate", "content")


def _read(cache: Path) -> dict[str, list[str]]:
    """Return name -> stamp and hash; nothing where the file is missing or is not a whole cache."""
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {
        name: entry
        for name, entry in kept.items()
        if isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry)
    }


def _write(cache: Path, kept: dict[str, list[str]]) -> None:
    """Write the cache at once. Where that cannot be done, the files are read again next time, no more."""
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(kept), encoding="utf-8")
        temporary.replace(cache)
