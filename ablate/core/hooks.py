"""Functions of a config that a group's YAML names by their paths, as in `check: package.module.function`."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from ablate.core.config import Config
from ablate.core.errors import UsageError

Hook = Callable[[Config], Any]
"""A function of a cell's resolved config."""


def hook_of(group: Config, key: str) -> Hook | None:
    """Return the function that the group names under `key`; None where the group has no such key.

    Raises:
        UsageError: there is no such function.
    """
    path = group.get(key)
    if not path:
        return None
    module, _, function = str(path).rpartition(".")
    try:
        hook: Hook = pkgutil.resolve_name(f"{module}:{function}")
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{key}: {path}: no such function ({error})") from error
    return hook
