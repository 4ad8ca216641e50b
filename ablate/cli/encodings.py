"""Text files that are not UTF-8: the error names neither the file nor the line, and people need both."""

from __future__ import annotations

import io
import traceback
from pathlib import Path


def unreadable(error: UnicodeDecodeError) -> str | None:
    """Return one line for a file that is not UTF-8; None where the error did not come from reading a file.

    Python's error does not say which file was read: it is the open one of the functions that the error passed.
    """
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            if isinstance(value, io.TextIOWrapper) and isinstance(value.name, str):
                return _line(Path(value.name), error)
    return None


def _line(path: Path, error: UnicodeDecodeError) -> str:
    content = path.read_bytes()
    try:
        content.decode()
        start = error.start
    except UnicodeDecodeError as first:
        start = first.start
    number = content.count(b"\n", 0, start) + 1
    return f"{path}: line {number} is not in UTF-8 (byte 0x{content[start]:02x}); allowed: the file saved as UTF-8"
