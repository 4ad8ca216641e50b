"""The values that a factor can take."""

from __future__ import annotations

import json

Level = str | int | float | bool | None


def show(level: Level) -> str:
    """Return a level as a user would type it.

    >>> [show(level) for level in (0.1, 10, None, True, "bn")]
    ['0.1', '10', 'null', 'true', 'bn']
    """
    return level if isinstance(level, str) else json.dumps(level)
