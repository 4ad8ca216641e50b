"""The code that a line trusts: what `trust=` names, and the YAML of the folders that the line names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from ablate.core.errors import UsageError
from ablate.core.trust import Trust, paths_in
from ablate.planning.parts import GROUPS_WITH_A_TARGET


def of_line(modules: object, folders: Sequence[str]) -> Trust:
    """Return what a line trusts.

    Args:
        modules: of trust=: None, a module's name in full, or a list of such names.
        folders: of YAML files, that the line names.

    Raises:
        UsageError: `modules` is something else.
    """
    typed = [] if modules is None else modules if isinstance(modules, list) else [modules]
    names = [str(name) for name in typed]
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"trust={name}: allowed: a Python module, as trust=my_arms, or several: trust=[a,b.c]")
    return Trust(frozenset(names), frozenset(path for config in _yaml(folders) for path in paths_in(config)))


def _yaml(folders: Iterable[str]) -> Iterator[object]:
    """Yield the content of each YAML file of a group of parts; one that cannot be read trusts nothing."""
    for folder in folders:
        for group in GROUPS_WITH_A_TARGET:
            for file in sorted(Path(folder, group).rglob("*.yaml")):
                try:
                    yield yaml.safe_load(file.read_text(encoding="utf-8"))
                except (OSError, ValueError, yaml.YAMLError):
                    continue
