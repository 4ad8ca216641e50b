"""Every private API of Hydra that the command line relies on, one function each.

without_reading_mode: `Hydra.get_mode` composes the whole config of a line, to read hydra.mode from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

OF_HYDRA = ("hydra", "--config", "-cp", "-cn", "-cd")
"""What begins or is in a word that may set hydra.mode, itself or by other files."""


@contextlib.contextmanager
def without_reading_mode(words: Sequence[str]) -> Iterator[None]:
    """Keep Hydra from composing the config once more than it needs to: a quarter of what it takes for a line.

    Our configs leave hydra.mode unset, so -m alone decides. Where a word speaks of Hydra, or Hydra has no such method,
    nothing is changed.
    """
    from hydra._internal.hydra import Hydra

    reads = getattr(Hydra, "get_mode", None)
    if reads is None or any(part in word for word in words for part in OF_HYDRA):
        yield
        return
    setattr(Hydra, "get_mode", lambda *_args, **_options: None)  # noqa: B010
    try:
        yield
    finally:
        setattr(Hydra, "get_mode", reads)  # noqa: B010
