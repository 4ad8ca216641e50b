"""The event log of a trial: one JSON object a line, only ever appended to."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
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
    """Return every whole line; no line when there is no log."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line for line in map(parsed, content.split(b"\n")) if line]


def last(path: Path) -> dict[str, Any] | None:
    """Return the last whole line without reading those before it; None when there is none."""
    try:
        with path.open("rb") as log:
            return last_whole(log)
    except FileNotFoundError:
        return None


def last_of(content: bytes) -> dict[str, Any] | None:
    """Return the last whole line of a log that is at hand; None when there is none."""
    return last_whole(io.BytesIO(content))


def last_whole(log: IO[bytes]) -> dict[str, Any] | None:
    """Return the last whole line, read from the log's end; None when there is none.

    A killed process leaves a torn line behind it, and a power loss NULs. Every reader skips both, so that all of them
    agree on how a trial ended: as the last whole line says.
    """
    return next((line for line in map(parsed, _from_the_end(log)) if line), None)


def _from_the_end(log: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines, the last one first, each read only when it is wanted."""
    start = log.seek(0, os.SEEK_END)
    blocks: list[bytes] = []  # of the line that is being read, the last one first
    while start:
        size = min(start, _BLOCK_BYTES)
        start -= size
        log.seek(start)
        first, *others = log.read(size).split(b"\n")
        for part in reversed(others):
            yield b"".join((part, *reversed(blocks)))
            blocks = []
        blocks.append(first)
    yield b"".join(reversed(blocks))


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return what a line of the log holds; None for one that is not whole.

    NULs around it are of blocks that a power loss kept from the disk. JSON has none.
    """
    try:
        content = json.loads(line.strip(b"\0"))
    except ValueError:
        return None
    return content if isinstance(content, dict) and "event" in content else None


def _byte_before_end(file: IO[bytes]) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)
