"""Counts, durations and sizes as text for people."""

from __future__ import annotations

import hashlib
import re


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the singular or the plural.

    >>> counted(1, "trial"), counted(2, "trial")
    ('1 trial', '2 trials')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration in hours, or in minutes below one hour.

    >>> duration(90), duration(7200)
    ('1.5 min', '2.0 h')
    """
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def size(count: float) -> str:
    """Return a number of bytes in MB, GB or TB, with three significant digits.

    >>> size(4_200_000_000)
    '4.2 GB'
    """
    unit, name = next((unit, name) for unit, name in ((1e12, "TB"), (1e9, "GB"), (0, "MB")) if count >= unit)
    return f"{count / (unit or 1e6):.3g} {name}"


def file_size(count: float) -> str:
    """Return a number of bytes in the largest unit that leaves a number of at least 1.

    >>> file_size(999), file_size(12_345), file_size(4_200_000_000)
    ('999 B', '12.3 kB', '4.2 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


_ESCAPE_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\].*?(?:\x07|\x1b\\)|.)")


def printable(text: str) -> str:
    r"""Return text as a terminal may be given it, whoever wrote it: no control character is left but the tab.

    >>> printable("\x1b[31mred\x1b[0m\x07 and\ttab\x9b")
    'red and\ttab'
    """
    text = _ESCAPE_SEQUENCES.sub("", text)
    return "".join(letter for letter in text if letter == "\t" or letter.isprintable())


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class where it has none."""
    return str(error).partition("\n")[0].rstrip(":") or type(error).__name__


def shortened(text: str, most_bytes: int) -> str:
    """Return the text; one of more bytes in UTF-8 is cut, and ends in a digest that tells it from others cut so.

    >>> shortened("digits-norm", 11), shortened("digits-norm-bits", 15)
    ('digits-norm', 'digits-1f479910')
    """
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    digest = f"-{hashlib.sha256(encoded).hexdigest()[:8]}"
    return encoded[: most_bytes - len(digest)].decode(errors="ignore").rstrip(" -.+_=") + digest
