"""The event log of a trial: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from ablate.core.events import Done, Event, Failed, to_dict

_BLOCK_BYTES = 65536
_PREDICTIONS = ', "predicted": ['


def appending(path: Path) -> IO[str]:
    """The log, open to append; a line that a killed process left torn is closed off first."""
    with path.open("a+b") as log:
        if log.seek(0, os.SEEK_END) and _byte_before_end(log) != b"\n":
            log.write(b"\n")
    return path.open("a", encoding="utf-8")


def append(log: IO[str], attempt: int, event: Event) -> None:
    """Write one event; an outcome is on the disk, come what may, before this returns."""
    log.write(json.dumps({"attempt": attempt, **to_dict(event)}) + "\n")
    log.flush()
    if isinstance(event, Done | Failed):
        os.fsync(log.fileno())


def lines(path: Path) -> list[dict[str, Any]]:
    """Every line, without those that a killed process left torn; empty when there is no log."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in map(_parse, text.splitlines()) if line]


def last(path: Path) -> dict[str, Any] | None:
    """The last line without its predictions, and without reading the others; None when torn, or there is none."""
    try:
        with path.open("rb") as log:
            line = last_line(log).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    return _without_predictions(line)


def last_of(content: bytes) -> dict[str, Any] | None:
    """As `last`, of a log that is at hand."""
    return _without_predictions(content.rstrip(b"\n").rpartition(b"\n")[2].decode("utf-8", "replace"))


def _without_predictions(line: str) -> dict[str, Any] | None:
    start, end = line.find(_PREDICTIONS), line.rfind("]")
    return _parse(line[:start] + line[end + 1 :] if 0 <= start < end else line)


def last_line(log: IO[bytes]) -> bytes:
    """The last line, read from the log's end; empty when there is none."""
    size = log.seek(0, os.SEEK_END)
    tail = b""
    while size and tail.rstrip(b"\n").count(b"\n") == 0:
        start = max(0, size - _BLOCK_BYTES)
        log.seek(start)
        tail = log.read(size - start) + tail
        size = start
    return tail.rstrip(b"\n").rpartition(b"\n")[2]


def _byte_before_end(file: IO[bytes]) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _parse(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and "event" in found else None
