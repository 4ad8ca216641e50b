"""The text log of a trial: what its code prints, warns and logs, attempt after attempt, for people.

runs/<trial_id>/log.txt    beside the event log; no result is read from it

Every write goes to the file at once, so that the last lines of a process that was killed are there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self, TextIO, cast

from ablate.core.errors import AblateError
from ablate.core.events import Event
from ablate.core.text import printable

TEXT_LOG = "log.txt"
MOST_BYTES = 10_000_000
KEPT_AT_BEGINNING, KEPT_AT_END = 1_000_000, 4_000_000
"""Bytes that stay of a log that has grown beyond MOST_BYTES."""
SECONDS_BETWEEN_LOOKS = 1.0
_TAIL_BYTES = 65536


Captures = Literal["process", "python", "nothing"]
"""What goes to a log: all that is written to a process's file descriptors, by Python or not, and then nowhere else; or
what Python code writes, which goes to the terminal as well, as without a log; or only headings and exceptions.
"""


def logged(
    run: Callable[..., Iterator[Event]], captures: Captures, *, mark: str = ""
) -> Callable[..., Iterator[Event]]:
    """Return the run, with a log in the run directory of what its code writes to stdout and stderr.

    Only what is written while the run makes its next event is captured. An exception that it raises is in the log with
    its stack.

    Args:
        run: is given a config, the run directory, and options.
        captures: "process" where the process is there for the trial alone.
        mark: stands before each line that Python code writes, such as "[rank 1] ", where another process of the trial
            writes to the log too.
    """

    def run_logged(config: Any, directory: Path, **options: Any) -> Iterator[Event]:
        with TextLog(directory / TEXT_LOG, captures, mark) as log:
            try:
                events = run(config, directory, **options)
                while True:
                    with log.capturing():
                        event = next(events, None)
                    if event is None:
                        return
                    yield event
            except AblateError as error:
                log.write(f"{type(error).__name__}: {error}".rstrip(": ") + "\n")
                raise
            except Exception:
                log.write(traceback.format_exc())
                raise

    return run_logged


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log, without control characters; none where there is no log.

    Of a line that a progress bar wrote again and again, its last state.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            content = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    last = content.removesuffix("\n").split("\n")[-lines:]
    return [printable(line.rstrip("\r").rpartition("\r")[2]) for line in last]


class TextLog:
    """A log that is open to append to it: each attempt, and each process of one, begins with a heading.

    Args:
        path: of the file.
        captures: as in `logged`.
        mark: as in `logged`. A log with marks is kept short by the process that writes to it without any.
    """

    def __init__(self, path: Path, captures: Captures, mark: str) -> None:
        self.path, self.captures, self.mark = path, captures, mark
        self.file = -1
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._keep_short, daemon=True)

    def __enter__(self) -> Self:
        self.file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        when = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        self.write(f"==== {when}, host {platform.node()}, pid {os.getpid()} ====\n")
        with warnings.catch_warnings():
            pass  # this alone lets warnings be shown again that were shown in this process before, in another trial
        if not self.mark:
            self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if not self.mark:
            self._watching.join()
        for stream in _STREAMS:
            stream.leave(self)
        os.close(self.file)

    def write(self, text: str) -> None:
        """Append text, each line behind the mark."""
        content = re.sub(r"(?m)^(?=.)", self.mark, text) if self.mark else text
        left = content.encode(errors="backslashreplace")
        while left:
            left = left[os.write(self.file, left) :]

    @contextlib.contextmanager
    def capturing(self) -> Iterator[None]:
        """Have sys.stdout and sys.stderr write here, and with `captures="process"` file descriptors 1 and 2."""
        if self.captures == "nothing":
            yield
            return
        before = sys.stdout, sys.stderr
        for stream, behind in zip(_STREAMS, before, strict=True):
            stream.enter(self, behind)
        sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in _STREAMS)
        try:
            with self._descriptors() if self.captures == "process" else contextlib.nullcontext():
                yield
        finally:
            for stream in _STREAMS:
                stream.leave(self)
            sys.stdout, sys.stderr = before

    @contextlib.contextmanager
    def _descriptors(self) -> Iterator[None]:
        saved = {number: os.dup(number) for number in (1, 2)}
        _flush_all()
        for number in saved:
            os.dup2(self.file, number)
        try:
            yield
        finally:
            _flush_all()
            for number, descriptor in saved.items():
                os.dup2(descriptor, number)
                os.close(descriptor)

    def _keep_short(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._over.wait(SECONDS_BETWEEN_LOOKS)
            if os.fstat(self.file).st_size > MOST_BYTES:
                self._shorten()

    def _shorten(self) -> None:
        """Take out the middle. What is written in the meantime may be lost with it: it is a flood of lines."""
        with self.path.open("r+b") as file:
            file.seek(-KEPT_AT_END, os.SEEK_END)
            end = file.read()
            file.truncate(KEPT_AT_BEGINNING)
        cut = f"\n[cut here: a log of more than {MOST_BYTES:,} bytes keeps its beginning and its end]\n"
        os.write(self.file, cut.encode() + end[end.find(b"\n") + 1 :])


class _Stream:
    """Stands for sys.stdout or sys.stderr in a process: writes to the log of the trial that runs, if one does.

    It outlives the trial, since a handler of `logging` that a trial's code made keeps it.
    """

    def __init__(self) -> None:
        self._log: TextLog | None = None
        self._behind: TextIO | None = None
        self._begun = ""
        """Of a marked line that is not whole yet: other processes write their lines between its parts."""

    def enter(self, log: TextLog, behind: TextIO) -> None:
        self._log = log
        if cast(object, behind) is not self:
            self._behind = behind

    def leave(self, log: TextLog) -> None:
        if self._log is log:
            self.flush()
            self._log = None

    def write(self, text: str) -> int:
        if self._log is not None:
            whole, newline, self._begun = (self._begun + text).rpartition("\n") if self._log.mark else (text, "", "")
            self._log.write(whole + newline)
        if self._behind is not None and (self._log is None or self._log.captures != "process"):
            self._behind.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._log is not None and self._begun:
            begun, self._begun = self._begun, ""
            self._log.write(f"{begun}\n")
        if self._behind is not None:
            self._behind.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


_STREAMS = _Stream(), _Stream()
"""For sys.stdout and sys.stderr."""


def _flush_all() -> None:
    """Have Python's and C's streams write what they hold: it belongs to where their descriptors lead now."""
    for stream in _STREAMS:
        stream.flush()
    ctypes.CDLL(None).fflush(None)
