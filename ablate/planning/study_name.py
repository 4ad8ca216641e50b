"""The name of a study: as typed, or made of what it varies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.levels import Level, show
from ablate.core.text import shortened
from ablate.store.manifest import ENDINGS

MOST_LETTERS = 100
MOST_BYTES = 255 - max(map(len, ENDINGS))
"""Of a name in UTF-8: a file's name has at most 255 bytes, its ending included."""


def of(
    config: Config,
    factors: Mapping[str, Sequence[Level]],
    choices: Iterable[Mapping[str, str]],
    preset: str | None = None,
    adaptive_parts: Sequence[str] = (),
) -> str:
    """Return `study`, or the preset, or the data sets and the factors, so that different studies are not pooled.

    A name that is made of so many factors that nobody could type it is cut, and ends in a digest of the whole.

    Raises:
        UsageError: the name that was typed has too many letters, or one that is not allowed.
    """
    name: str | None = config["study"] or preset
    if name is None:
        datasets = "+".join(dict.fromkeys(choice["dataset"] for choice in choices))
        kind = config["design"]["kind"]
        varied = sorted(factor for factor in factors if factor != "dataset")
        made = "-".join([datasets, *varied, *([kind] * (kind != "full")), *adaptive_parts])
        return made if _fits(made) else shortened(made, MOST_LETTERS)
    check("study", name)
    return name


def check(key: str, name: str) -> None:
    """Raise UsageError for a name that no study can have; `key` is what it was typed for."""
    if not re.fullmatch(rf"\w[\w.+-]{{,{MOST_LETTERS - 1}}}", name):
        raise UsageError(
            f"{key}={show(name)}: allowed: up to {MOST_LETTERS} letters, digits, and _ . + - after the first"
        )
    if not _fits(name):
        raise UsageError(f"{key}={name}: {len(name.encode())} bytes in UTF-8; allowed: up to {MOST_BYTES}")


def _fits(name: str) -> bool:
    return len(name) <= MOST_LETTERS and len(name.encode()) <= MOST_BYTES
