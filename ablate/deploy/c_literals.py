"""Numbers and texts as C source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

NUMBERS_A_LINE = 16


def identifier(layer: str) -> str:
    """Return a layer's dotted name as a name in C."""
    return re.sub(r"\W", "_", layer)


def float_literal(value: float) -> str:
    """Return a float32 as C reads it. Nine digits give each float back exactly.

    >>> float_literal(2.0), float_literal(-1e-5)
    ('2.0f', '-9.99999975e-06f')
    """
    text = f"{np.float32(value):.9g}"
    return text + ("f" if set(text) & set(".e") else ".0f")


def floats(values: Sequence[float]) -> str:
    """Return float32 values as the elements of a C array, on several lines."""
    return _lines([float_literal(value) for value in values])


def integers(values: Sequence[int]) -> str:
    """Return whole numbers as the elements of a C array, on several lines."""
    return _lines([str(value) for value in values])


def _lines(words: Sequence[str]) -> str:
    rows = [", ".join(words[start : start + NUMBERS_A_LINE]) for start in range(0, len(words), NUMBERS_A_LINE)]
    return ",\n    ".join(rows)


def string_literal(text: str) -> str:
    r"""Return a C string literal of the text in UTF-8.

    >>> print(string_literal('T-shirt "é"?'))
    "T-shirt \"\303\251\"\077"
    """
    plain = {ord(char) for char in " !#$%&'()*+,-./:;<=>@[]^_`{|}~"} | set(range(48, 58)) | set(range(65, 91))
    plain |= set(range(97, 123))
    spelled: Mapping[int, str] = {34: '\\"', 92: "\\\\"}
    letters = (chr(byte) if byte in plain else spelled.get(byte, f"\\{byte:03o}") for byte in text.encode())
    return f'"{"".join(letters)}"'
