"""How values are encoded in the text of MLflow's tags and params."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import TypeVar

from ablate.core.levels import Level, as_level

Value = TypeVar("Value")

CONTINUED = "continued."
"""Prefix of the tags that continue a long value."""

MOST_CHARACTERS = 8000
"""Length of the longest tag that MLflow keeps. It cuts off the rest without an error."""


def level(text: str) -> Level:
    """Return a param as a level: a number, true, false or null where it reads as one, or else a text.

    A list or a mapping stays text, as a user would type it: a level can be compared, counted and written on an axis.

    >>> [level(text) for text in ("0.1", "null", "true", "bn", "1, 2", "[64,64]")]
    [0.1, None, True, 'bn', '1, 2', '[64, 64]']
    """
    try:
        return as_level(json.loads(text))
    except (json.JSONDecodeError, RecursionError):
        return text


def metric(value: float) -> float:
    """Return a metric as it was logged: MLflow's databases keep an infinite one as the largest number that there is.

    >>> metric(0.5), metric(-sys.float_info.max)
    (0.5, -inf)
    """
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def below(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values whose names have the prefix, by the rest of the name."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def factor_levels(text: str, *, is_json: bool) -> tuple[Level, ...]:
    """Return a factor's levels. A factor of an earlier request keeps its tag, which may be of version 0."""
    try:
        listed = json.loads(text) if is_json else None
    except json.JSONDecodeError:
        listed = None
    if not isinstance(listed, list):
        return tuple(level(part) for part in text.split(", "))
    return tuple(map(as_level, listed))


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
