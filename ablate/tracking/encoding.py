"""How values are encoded in the text of MLflow's tags and params."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from ablate.core.levels import Level

Value = TypeVar("Value")

CONTINUED = "continued."
"""Prefix of the tags that continue a long value."""

MOST_CHARACTERS = 8000
"""Length of the longest tag that MLflow keeps. It cuts off the rest without an error."""


def level(text: str) -> Any:
    """Return a param as a level: a number, true, false or null where it reads as one, or else the text itself.

    >>> [level(text) for text in ("0.1", "null", "true", "bn", "1, 2")]
    [0.1, None, True, 'bn', '1, 2']
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def below(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values whose names have the prefix, by the rest of the name."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def factor_levels(text: str, *, is_json: bool) -> tuple[Level, ...]:
    """Return a factor's levels. A factor of an earlier request keeps its tag, which may be of version 0."""
    listed = level(text) if is_json else None
    return tuple(listed) if isinstance(listed, list) else tuple(level(part) for part in text.split(", "))


def split(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags with each long value cut in parts; the second part of `NAME` is in `continued.1.NAME`."""
    parts = {}
    for name, text in tags.items():
        for number, start in enumerate(range(0, len(text), MOST_CHARACTERS)):
            part_name = f"{CONTINUED}{number}.{name}" if number else name
            parts[part_name] = text[start : start + MOST_CHARACTERS]
    return parts


def joined(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags with the parts of each long value joined."""
    pattern = re.compile(rf"{re.escape(CONTINUED)}(\d+)\.(.+)")
    values = {name: text for name, text in tags.items() if not pattern.fullmatch(name)}
    matches = ((pattern.fullmatch(name), text) for name, text in tags.items())
    parts = [(int(match[1]), match[2], text) for match, text in matches if match]
    for _, name, text in sorted(parts):
        values[name] = values.get(name, "") + text
    return values
