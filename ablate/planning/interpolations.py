"""Which keys of a config its interpolations (`${...}`) read, found in their text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ablate.core.config import Config

READING_WHAT_THEY_NAME = ("oc.select", "scaled_lr")
"""Resolvers that read nothing but the keys that their arguments name."""

_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
_ANY = "\0"
"""Stands for the value of an inner interpolation, which may be any text."""


@dataclass(frozen=True)
class Reference:
    """A dotted path that is read; with `is_start` any path that begins with this text may be read."""

    path: str
    is_start: bool

    def meets(self, key: str) -> bool:
        """Return whether setting `key` can change what is read: it is the path, holds it, or lies in it.

        >>> [Reference("dataset.hints", is_start=False).meets(key) for key in ("dataset", "dataset.hints.lr", "lr")]
        [True, True, False]
        >>> Reference("dataset.hints.temperature_", is_start=True).meets("dataset.hints.temperature_1bit")
        True
        """
        if self.path.startswith(f"{key}."):
            return True
        return key.startswith(self.path) if self.is_start else f"{key}.".startswith(f"{self.path}.")


def references(unresolved: Config) -> set[Reference] | None:
    """Return all that the interpolations of a config name; None where one of them could read anything.

    >>> [references({"lr": text}) for text in ("${scaled_lr:${..x},1}", "${${x}}", "${oc.env:HOME}")]
    [None, None, None]
    >>> sorted(reference.path for reference in references({"a": {"lr": "${oc.select:hints.lr_${bits},${.x}}"}}))
    ['a.x', 'bits', 'hints.lr_']
    """
    read: set[Reference] = set()
    for holder, text in _interpolations(unresolved, ()):
        named = _named(text)
        if named is None:
            return None
        for path in named:
            absolute = _absolute(path, holder)
            if absolute is None:
                return None
            read.add(absolute)
    return read


def _interpolations(value: object, holder: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each text with an interpolation, and the path of the node that holds it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (
                _interpolations(inner, (*holder, str(key)))
                if isinstance(inner, Mapping | list)
                else (_interpolations(inner, holder))
            )
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _interpolations(inner, (*holder, str(index)) if isinstance(inner, Mapping | list) else holder)
    elif isinstance(value, str) and "${" in value:
        yield holder, value


def _named(text: str) -> list[str] | None:
    """Return the paths in one text, innermost interpolations first; each leaves `_ANY` where it stood.

    Return None where a resolver may read anything.
    """
    paths: list[str] = []
    while match := _INNERMOST.search(text):
        body = match[1].strip()
        resolver, colon, arguments = body.partition(":")
        if colon and resolver.strip() not in READING_WHAT_THEY_NAME:
            return None
        named = [argument.strip() for argument in arguments.split(",")] if colon else [body]
        values = len(named) if resolver == "scaled_lr" else len(named) - 1 if colon else 0  # the last ones are values
        paths += [path for index, path in enumerate(named) if path != _ANY or index < len(named) - values]
        text = text[: match.start()] + _ANY + text[match.end() :]
    return None if "${" in text else paths


def _absolute(path: str, holder: tuple[str, ...]) -> Reference | None:
    """Return a path from the root; None where nothing of it is known, or where it climbs above the root."""
    path = path.replace("[", ".").replace("]", "")
    plain = path.lstrip(".")
    dots = len(path) - len(plain)
    if dots - 1 > len(holder):
        return None
    above = holder[: len(holder) - (dots - 1)] if dots else ()
    start, unknown, _ = ".".join((*above, plain)).partition(_ANY)
    return Reference(start, is_start=bool(unknown)) if start else None
