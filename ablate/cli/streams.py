"""A terminal, or a pipe, that goes away is no reason to stop: nothing more is drawn, and the command goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

_GONE = (errno.EIO, errno.EPIPE, errno.ENXIO, errno.EBADF, errno.ECONNRESET)
"""As of a terminal whose window was closed, and of `| head` that has seen enough."""


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """While this lasts, sys.stdout and sys.stderr take whatever is written, also after nobody is there to read it."""
    _fill_gaps()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Lasting(stream)) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):  # what waits in a buffer would fail when Python ends
            stream.flush()
        sys.stdout, sys.stderr = before


def _fill_gaps() -> None:
    """Open /dev/null for standard streams that are closed: a database opened next would be where messages go."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the system gives the lowest number


class _Lasting:
    """A text stream whose file is replaced by /dev/null once it is gone.

    Args:
        stream: None for a standard stream that was closed before Python started.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._gone_unnoticed():
            if self._stream is not None:
                return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._gone_unnoticed():
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _gone_unnoticed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _GONE:
                raise
            if not _leads_nowhere(self._stream):
                self._stream = None


def _leads_nowhere(stream: TextIO | None) -> bool:
    """Let the stream's file be /dev/null, which takes what its buffer still holds; return whether that was possible."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, cast(TextIO, stream).fileno())
        os.close(null)
    except (OSError, AttributeError):
        return False
    return True
