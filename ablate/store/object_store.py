"""Objects at an fsspec URL: each is whole or not there, the last one written counts, one can be made if absent."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ablate.core.errors import StorageUnavailable, UsageError

PUT_IF_ABSENT = ("s3", "s3a", "memory")
"""Protocols at which an object can be made if absent, by one writer of many. `memory` is of one process: for tests."""

ALLOWED = "s3://BUCKET/PREFIX"
CREDENTIALS = "the environment (AWS_...), ~/.aws or the machine's role"

_S3 = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3, "mode": "standard"}}
_LONGEST_DELAY_S = 5.0
_Given = TypeVar("_Given")


class Objects:
    """The objects below a URL, by their names relative to it. Picklable; fsspec is imported at the first use.

    Every method but `check` raises StorageUnavailable when it cannot do its work. A missing object is no error.

    Args:
        url: s3://BUCKET/PREFIX, without credentials.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    @functools.cached_property
    def _at(self) -> tuple[Any, str]:
        import fsspec

        options = {"config_kwargs": _S3} if self.url.startswith("s3") else {}
        fs, root = fsspec.url_to_fs(self.url, use_listings_cache=False, **options)
        return fs, root.rstrip("/")

    def check(self, *, writing: bool) -> None:
        """Raise UsageError, in one line, when objects cannot be listed here, or made if absent."""
        try:
            self.names("probe")
            if writing:
                self._probe()
        except StorageUnavailable as away:
            raise UsageError(f"storage={self.url}: {away}; allowed: {ALLOWED} that this machine reaches") from away

    def _probe(self) -> None:
        name = f"probe/{os.uname().nodename}-{os.getpid()}-{time.time_ns()}"
        first, second = self.create(name, b"1"), self.create(name, b"2")
        self.remove([name])
        if second or not first:
            raise StorageUnavailable("it does not heed put-if-absent (If-None-Match), by which trials are claimed")

    def names(self, prefix: str = "") -> dict[str, str]:
        """Name -> a tag that changes with the content, of all objects below the prefix."""
        fs, root = self._at
        with _away():
            found = fs.find(f"{root}/{prefix}".rstrip("/"), detail=True)
        return {name[len(root) + 1 :]: _tag(info) for name, info in found.items()}

    def read(self, name: str) -> bytes | None:
        """The content; None where there is no such object."""
        fs, root = self._at
        with _away():
            try:
                return bytes(fs.cat_file(f"{root}/{name}"))
            except FileNotFoundError:
                return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Many at once, those that are there."""
        fs, root = self._at
        paths = [f"{root}/{name}" for name in names]
        if not paths:
            return {}
        with _away():
            found = fs.cat(paths, on_error="return")
            for content in found.values():
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
        return {path[len(root) + 1 :]: bytes(one) for path, one in found.items() if not isinstance(one, Exception)}

    def write(self, name: str, content: bytes) -> None:
        fs, root = self._at
        with _away():
            fs.pipe_file(f"{root}/{name}", content)

    def create(self, name: str, content: bytes) -> bool:
        """Make the object unless there is one: True for one of however many that try; `content` is told from others'.

        A request that timed out may have come through, and says at its repetition that there is one: its own.
        """
        fs, root = self._at
        with _away():
            try:
                fs.pipe_file(f"{root}/{name}", content, mode="create")
            except FileExistsError:
                return self.read(name) == content
        return True

    def upload(self, path: Path, name: str) -> None:
        """The file as it is when this begins, though another is moved to its place meanwhile."""
        fs, root = self._at
        held = path.with_name(f".{path.name}.uploading")
        held.unlink(missing_ok=True)
        os.link(path, held)
        try:
            with _away():
                fs.put_file(str(held), f"{root}/{name}")
        finally:
            held.unlink(missing_ok=True)

    def download(self, name: str, path: Path) -> bool:
        """Whether there is such an object; the file is whole, or not there."""
        fs, root = self._at
        temporary = path.with_name(f".{path.name}.{os.getpid()}.downloading")
        try:
            with _away():
                try:
                    fs.get_file(f"{root}/{name}", str(temporary))
                except FileNotFoundError:
                    return False
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def copy(self, name: str, to: str) -> bool:
        """Within the store; whether there is such an object."""
        fs, root = self._at
        with _away():
            try:
                fs.cp_file(f"{root}/{name}", f"{root}/{to}")
            except FileNotFoundError:
                return False
        return True

    def remove(self, names: Iterable[str]) -> None:
        fs, root = self._at
        for name in names:
            with _away():
                try:
                    fs.rm_file(f"{root}/{name}")
                except FileNotFoundError:
                    continue


def check_url(url: str) -> None:
    """Raise UsageError, in one line and without repeating a password, for a URL at which trials cannot be stored."""
    protocol, _, rest = url.partition("://")
    if "@" in rest or "?" in rest:
        raise UsageError(
            f"storage={protocol}://...: nothing but a place belongs in it, no user, password or question mark; "
            f"allowed: {ALLOWED}, with credentials from {CREDENTIALS}"
        )
    if not rest.strip("/"):
        raise UsageError(f"storage={url}: no URL; allowed: {ALLOWED}")
    if protocol == "file":
        raise UsageError(f"storage={url}: allowed: {ALLOWED}; for a folder, runs=FOLDER")
    from fsspec import get_filesystem_class
    from fsspec.registry import known_implementations

    if protocol not in known_implementations:
        raise UsageError(f"storage={url}: no such protocol as {protocol}://; allowed: {ALLOWED}")
    if protocol not in PUT_IF_ABSENT:
        why = f"trials are claimed by put-if-absent, which is not known to work at {protocol}://"
        raise UsageError(f"storage={url}: {why}; allowed: {ALLOWED}")
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        raise UsageError(f"storage={url}: its package is not installed; allowed: after pip install s3fs") from error


def patiently(call: Callable[[], _Given], patience_s: float) -> _Given:
    """Return what `call` returns; while it raises StorageUnavailable, try again after longer and longer delays."""
    end, delay_s = time.monotonic() + patience_s, 0.1
    while True:
        try:
            return call()
        except StorageUnavailable:
            if time.monotonic() + delay_s > end:
                raise
        time.sleep(delay_s)
        delay_s = min(2 * delay_s, _LONGEST_DELAY_S)


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """Turn errors of fsspec and its drivers into StorageUnavailable, but not the error of a full disk here."""
    try:
        yield
    except StorageUnavailable:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageUnavailable(why(error)) from error


def why(error: Exception) -> str:
    """What a driver's error comes to, in one line and without a password."""
    name, text = type(error).__name__, str(error)
    if "bucket does not exist" in text or "NoSuchBucket" in text:
        return "there is no such bucket"
    if name in ("NoCredentialsError", "PartialCredentialsError"):
        return f"no credentials found in {CREDENTIALS}"
    first = re.sub(r"//[^/@\s]*@", "//", text.partition("\n")[0]).rstrip(".") or name
    if isinstance(error, PermissionError):
        return f"access denied ({first})"
    return f"it does not answer ({first})"


def _tag(info: Mapping[str, Any]) -> str:
    return str(info.get("ETag") or (info.get("size"), info.get("created")))
