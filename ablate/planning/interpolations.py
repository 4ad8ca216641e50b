"""Which keys of a config its interpolations can read, told from their text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

READING_WHAT_THEY_NAME = ("oc.select", "scaled_lr")
"""Resolvers that read nothing but what their arguments name."""

_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
_ANY = "\0"
"""Stands for the value of an inner interpolation, which may be any text."""


@dataclass(frozen=True)
class Reference:
    """A dotted path that is read; with `is_start` every path that begins with this text may be."""

    path: str
    is_start: bool

    def meets(self, key: str) -> bool:
        """Whether setting `key` can change what is read: it is the path, holds it, or lies in it.

        >>> [Reference("dataset.hints", is_start=False).meets(key) for key in ("dataset", "dataset.hints.lr", "lr")]
        [True, True, False]
        >>> Reference("dataset.hints.temperature_", is_start=True).meets("dataset.hints.temperature_1bit")
        True
        """
        if self.path.startswith(f"{key}."):
            return True
        return key.startswith(self.path) if self.is_start else f"{key}.".startswith(f"{self.path}.")


def references(unresolved: Mapping[str, Any]) -> set[Reference] | None:
    """All that the interpolations of a config name; None where one of them could read anything.

    >>> [references({"lr": text}) for text in ("${scaled_lr:${..x},1}", "${${x}}", "${oc.env:HOME}")]
    [None, None, None]
    >>> sorted(one.path for one in references({"a": {"lr": "${oc.select:hints.lr_${bits},${.x}}"}}))
    ['a.x', 'bits', 'hints.lr_']
    """
    found: set[Reference] = set()
    for holder, text in _interpolations(unresolved, ()):
        named = _named(text)
        if named is None:
            return None
        for path in named:
            absolute = _absolute(path, holder)
            if absolute is None:
                return None
            found.add(absolute)
    return found


def _interpolations(value: Any, holder: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each text with an interpolation, and the path of what holds it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (
                _interpolations(inner, (*holder, str(key)))
                if isinstance(inner, Mapping | list)
                else (_interpolations(inner, holder))
            )
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _interpolations(inner, (*holder, str(place)) if isinstance(inner, Mapping | list) else holder)
    elif isinstance(value, str) and "${" in value:
        yield holder, value


def _named(text: str) -> list[str] | None:
    """The paths in one text, innermost interpolations first, each of which leaves `_ANY`."""
    paths: list[str] = []
    while found := _INNERMOST.search(text):
        body = found[1].strip()
        resolver, colon, arguments = body.partition(":")
        if colon and resolver.strip() not in READING_WHAT_THEY_NAME:
            return None
        named = [one.strip() for one in arguments.split(",")] if colon else [body]
        values = len(named) if resolver == "scaled_lr" else len(named) - 1 if colon else 0  # the last ones are values
        paths += [path for place, path in enumerate(named) if path != _ANY or place < len(named) - values]
        text = text[: found.start()] + _ANY + text[found.end() :]
    return None if "${" in text else paths


def _absolute(path: str, holder: tuple[str, ...]) -> Reference | None:
    """A path from the root; None for one that is all unknown, or that climbs above the root."""
    path = path.replace("[", ".").replace("]", "")
    plain = path.lstrip(".")
    dots = len(path) - len(plain)
    if dots - 1 > len(holder):
        return None
    above = holder[: len(holder) - (dots - 1)] if dots else ()
    start, unknown, _ = ".".join((*above, plain)).partition(_ANY)
    return Reference(start, is_start=bool(unknown)) if start else None
