"""The event log of a trial: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from ablate.core.events import Done, Event, Failed, to_dict

_BLOCK_BYTES = 65536
_IN_A_FILE_OF_THEIR_OWN = ("predicted", "labels")


def appending(path: Path) -> IO[str]:
    """Open the log to append to it; a line that a killed process left torn is closed off first."""
    with path.open("a+b") as log:
        if log.seek(0, os.SEEK_END) and _byte_before_end(log) != b"\n":
            log.write(b"\n")
    return path.open("a", encoding="utf-8")


def append(log: IO[str], attempt: int, event: Event) -> None:
    """Write one event, without predictions; an outcome is certain to be on the disk before this returns."""
    values = to_dict(event.without_predictions() if isinstance(event, Done) else event)
    line = {name: value for name, value in values.items() if name not in _IN_A_FILE_OF_THEIR_OWN}
    log.write(json.dumps({"attempt": attempt, **line}) + "\n")
    log.flush()
    if isinstance(event, Done | Failed):
        os.fsync(log.fileno())


def lines(path: Path) -> list[dict[str, Any]]:
    """Return every line, without those that a killed process left torn; no line when there is no log."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in map(parsed, text.splitlines()) if line]


def last(path: Path) -> dict[str, Any] | None:
    """Return the last line without reading the others; None when it is torn, or there is none."""
    try:
        with path.open("rb") as log:
            return parsed(last_line(log))
    except FileNotFoundError:
        return None


def last_of(content: bytes) -> dict[str, Any] | None:
    """Return the last line of a log that is at hand; None when it is torn, or there is none."""
    return parsed(content.rstrip(b"\n").rpartition(b"\n")[2])


def last_line(log: IO[bytes]) -> bytes:
    """Return the last line, read from the log's end; empty when there is none."""
    size = log.seek(0, os.SEEK_END)
    tail = b""
    while size and tail.rstrip(b"\n").count(b"\n") == 0:
        start = max(0, size - _BLOCK_BYTES)
        log.seek(start)
        tail = log.read(size - start) + tail
        size = start
    return tail.rstrip(b"\n").rpartition(b"\n")[2]


def parsed(line: str | bytes) -> dict[str, Any] | None:
    """Return what a line of the log holds; None for a torn one."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "event" in content else None


def _byte_before_end(file: IO[bytes]) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)
