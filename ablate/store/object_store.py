"""Objects at an fsspec URL: each is whole or absent, the last write counts, and an object can be made if absent."""

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
"""Protocols at which an object can be made if absent, by one writer of many. `memory`, for tests, is of one process."""

ALLOWED = "s3://BUCKET/PREFIX"
CREDENTIALS = "the environment (AWS_...), ~/.aws or the machine's role"

_S3 = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3, "mode": "standard"}}
_LONGEST_DELAY_S = 5.0
_Result = TypeVar("_Result")


class Objects:
    """The objects below a URL, by their names relative to it. It can be pickled; the first use imports fsspec.

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
        """Raise UsageError, in one line, when objects cannot be listed, or with `writing` not be made if absent."""
        try:
            self.names("probe")
            if writing:
                self._probe()
        except StorageUnavailable as error:
            raise UsageError(f"storage={self.url}: {error}; allowed: {ALLOWED} that this machine reaches") from error

    def _probe(self) -> None:
        name = f"probe/{os.uname().nodename}-{os.getpid()}-{time.time_ns()}"
        first, second = self.create(name, b"1"), self.create(name, b"2")
        self.remove([name])
        if second or not first:
            raise StorageUnavailable("it ignores put-if-absent (If-None-Match), which leases on trials need")

    def names(self, prefix: str = "") -> dict[str, str]:
        """Return name -> a tag that changes with the content, of all objects below the prefix."""
        fs, root = self._at
        with _unavailable_raised():
            infos = fs.find(f"{root}/{prefix}".rstrip("/"), detail=True)
        return {name[len(root) + 1 :]: _tag(info) for name, info in infos.items()}

    def read(self, name: str) -> bytes | None:
        """Return the content; None where there is no such object."""
        fs, root = self._at
        with _unavailable_raised():
            try:
                return bytes(fs.cat_file(f"{root}/{name}"))
            except FileNotFoundError:
                return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return name -> content, of those of the objects that there are, at once."""
        fs, root = self._at
        paths = [f"{root}/{name}" for name in names]
        if not paths:
            return {}
        with _unavailable_raised():
            contents = fs.cat(paths, on_error="return")
            for content in contents.values():
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
        return {
            path[len(root) + 1 :]: bytes(content)
            for path, content in contents.items()
            if not isinstance(content, Exception)
        }

    def write(self, name: str, content: bytes) -> None:
        """Make the object, or replace it."""
        fs, root = self._at
        with _unavailable_raised():
            fs.pipe_file(f"{root}/{name}", content)

    def create(self, name: str, content: bytes) -> bool:
        """Make the object unless there is one; return True for exactly one of those who try, however many they are.

        The content must differ from everybody else's: a request that timed out may have come through, and then its
        repetition finds an object, its own.
        """
        fs, root = self._at
        with _unavailable_raised():
            try:
                fs.pipe_file(f"{root}/{name}", content, mode="create")
            except FileExistsError:
                return self.read(name) == content
        return True

    def upload(self, path: Path, name: str) -> None:
        """Store the file as it is when this begins, even if another file is moved into its place meanwhile."""
        fs, root = self._at
        link = path.with_name(f".{path.name}.uploading")
        link.unlink(missing_ok=True)
        os.link(path, link)
        try:
            with _unavailable_raised():
                fs.put_file(str(link), f"{root}/{name}")
        finally:
            link.unlink(missing_ok=True)

    def download(self, name: str, path: Path) -> bool:
        """Bring the object into the file, whole; return whether there is such an object."""
        fs, root = self._at
        temporary = path.with_name(f".{path.name}.{os.getpid()}.downloading")
        try:
            with _unavailable_raised():
                try:
                    fs.get_file(f"{root}/{name}", str(temporary))
                except FileNotFoundError:
                    return False
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def copy(self, name: str, to: str) -> bool:
        """Copy the object within the store; return whether there is such an object."""
        fs, root = self._at
        with _unavailable_raised():
            try:
                fs.cp_file(f"{root}/{name}", f"{root}/{to}")
            except FileNotFoundError:
                return False
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of the objects that there are."""
        fs, root = self._at
        for name in names:
            with _unavailable_raised():
                try:
                    fs.rm_file(f"{root}/{name}")
                except FileNotFoundError:
                    continue


def check_url(url: str) -> None:
    """Raise UsageError, in one line and without repeating a password, for a URL at which trials cannot be stored."""
    protocol, _, rest = url.partition("://")
    if "@" in rest or "?" in rest:
        raise UsageError(
            f"storage={protocol}://...: only a bucket and a prefix belong in it, no user, password or question mark; "
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
        why = f"leases on trials need put-if-absent, which is not known to work at {protocol}://"
        raise UsageError(f"storage={url}: {why}; allowed: {ALLOWED}")
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        raise UsageError(f"storage={url}: its package is not installed; allowed: after pip install s3fs") from error


def patiently(call: Callable[[], _Result], patience_s: float) -> _Result:
    """Return what `call` returns; while it raises StorageUnavailable, try again after increasing delays."""
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
def _unavailable_raised() -> Iterator[None]:
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
    """Return what a driver's error means, in one line and without a password."""
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
