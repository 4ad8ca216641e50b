"""The event log of a trial: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from ablate.events import Done, Event, Failed, to_dict

_BLOCK_BYTES = 65536


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
    """The last line, without reading the others; None when it is torn, or there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        size = file.seek(0, os.SEEK_END)
        tail = b""
        while size and tail.rstrip(b"\n").count(b"\n") == 0:
            start = max(0, size - _BLOCK_BYTES)
            file.seek(start)
            tail = file.read(size - start) + tail
            size = start
    return _parse(tail.decode("utf-8", "replace").rstrip("\n").rpartition("\n")[2])


def _byte_before_end(file: IO[bytes]) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _parse(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and "event" in found else None
