"""A reader of pickles that makes plain values alone: numbers, text, bytes, tuples, lists and dicts.

Python's own `pickle.load` calls what a file names, and NumPy takes what a file says of an array's memory at its word:
bytes of the file become pointers. Here an array is only a record of what the file says, and is built by us.
"""

from __future__ import annotations

import math
import pickle
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


class Record:
    """What a pickle says of one object: the arguments that it would be made with, and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def load(file: IO[bytes]) -> Any:
    """Return the value that a pickle holds, with text of Python 2 as bytes, and NumPy arrays and types as records.

    Raises:
        pickle.UnpicklingError: it names something else.
        Exception: the file is damaged; the reader raises whatever it trips over.
    """

    class Array(Record):
        """Made anew for each file, so that no file can change what the next one is read with."""

    class Type(Record):
        """As `Array`."""

    def array(*_arguments: Any) -> Array:
        return Array()

    def encoded(text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it holds text encoded in {encoding!r}")
        return text.encode("latin1")

    names: dict[str, dict[str, Any]] = {
        "numpy": {"ndarray": Array, "dtype": Type, "_reconstruct": array},
        "_codecs": {"encode": encoded},  # how Python 3 writes bytes where Python 2 may read them
    }

    class Reader(pickle._Unpickler):  # in Python: that in C takes memory as a file tells it to
        def find_class(self, module: str, name: str) -> Any:
            try:
                return names[module.partition(".")[0]][name]
            except KeyError:
                raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array") from None

    return Reader(file, encoding="bytes").load()


def uint8_array(value: Any) -> NDArray[np.uint8]:
    """Return the array that a record is of.

    Raises:
        ValueError: it is no record of an array of unsigned bytes in C's order.
    """
    try:
        _, shape, kind, is_fortran, content = value.state
        (code, *_), order = kind.arguments, kind.state[1]
    except (AttributeError, TypeError, ValueError, LookupError):
        raise ValueError("no array of unsigned bytes") from None
    if code not in ("u1", b"u1", "uint8", b"uint8") or order not in ("|", b"|") or is_fortran:
        raise ValueError(f"an array of type {code!r}, order {order!r}; allowed: unsigned bytes")
    if not isinstance(content, bytes) or not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise ValueError("an array of no bytes")
    if min(shape, default=0) < 0 or math.prod(shape) != len(content):
        raise ValueError(f"{len(content)} bytes where an array of shape {shape} belongs")
    return np.frombuffer(content, np.uint8).reshape(shape).copy()
