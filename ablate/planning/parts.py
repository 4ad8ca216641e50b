"""The parts of a config: the classes and functions that its groups name by their Python path."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Mapping

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.hooks import Hook, hook_of

GROUPS_WITH_A_TARGET = ("model", "norm", "dataset")


def hooks(config: Config, key: str) -> list[Hook]:
    """Return the functions that the config's groups name under a key, from every group that has the key.

    A `check` (torch-free) raises UsageError, `prepare` works before a run, `look`
    does of that what downloads nothing, `identify` returns a data set's content;
    `multiply_adds`, `parameters` and `kept_maps` return counts.

    Raises:
        UsageError: there is no such function.
    """
    groups = (value for value in config.values() if isinstance(value, Mapping))
    return [hook for group in groups if (hook := hook_of(group, key))]


def check_targets(config: Config) -> None:
    """Raise UsageError where a group names a class or function of a module that is not on the Python path."""
    for name in GROUPS_WITH_A_TARGET:
        _check_target(name, config[name])


def _check_target(name: str, group: object) -> None:
    """Look for the module that a group's `_target_` names, without importing it."""
    if not isinstance(group, Mapping) or "_target_" not in group:
        raise UsageError(f"{name}={group}: allowed: one of its options, or values with a _target_")
    target = str(group["_target_"])
    module = target.rpartition(".")[0]
    try:
        exists = bool(module) and _exists(module, tuple(sys.path), os.getcwd())
    except ImportError:
        exists = False
    if not exists:
        raise UsageError(f"{name}._target_={target}: no such module; allowed: package.module.Name, on the Python path")


@functools.lru_cache
def _exists(module: str, _path: tuple[str, ...], _cwd: str) -> bool:
    """Return True where Python finds the module. That is cached: a search costs as much as planning a cell.

    Raises:
        ImportError: Python does not find it; that is not cached.
    """
    if importlib.util.find_spec(module) is None:
        raise ImportError(module)
    return True
