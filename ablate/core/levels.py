"""The values that a factor can take."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

Level = str | int | float | bool | None


def show(level: Level) -> str:
    """Return a level as a user would type it.

    >>> [show(level) for level in (0.1, 10, None, True, "bn")]
    ['0.1', '10', 'null', 'true', 'bn']
    """
    return level if isinstance(level, str) else json.dumps(level)


def as_level(value: Any) -> Level:
    """Return a value of a config as a level: a list or a mapping as the text that a user would type for it.

    Levels are compared, counted and written on axes, which a text can be and a list cannot.

    >>> [as_level(value) for value in (0.1, None, [64, 64], {"a": 1})]
    [0.1, None, '[64, 64]', '{"a": 1}']
    """
    return value if isinstance(value, Level) else show(value)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number. A bool is none, although Python counts it among the integers.

    >>> [is_number(value) for value in (1, 0.5, True, "1", None)]
    [True, True, False, False, False]
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer. Neither a bool nor a float such as 2.0 is one.

    >>> [is_whole(value) for value in (1, 2.0, True)]
    [True, False, False]
    """
    return isinstance(value, int) and not isinstance(value, bool)


def same(first: Level, second: Level) -> bool:
    """Return whether two levels are the same: numbers by value, all others as a user would type them.

    >>> same(1, 1.0), same("none", None), same(True, 1), same("8", 8)
    (True, False, False, True)
    """
    return first == second if is_number(first) and is_number(second) else show(first) == show(second)
