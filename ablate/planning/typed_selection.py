"""The words of a line that select its cells: where, when, zip and reference, in the form that each takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from hydra.core.override_parser.types import Override

from ablate.core.errors import UsageError
from ablate.core.expression import quoted

KEYS = ("where", "when", "zip", "reference")


@dataclass
class TypedSelection:
    """The values that were typed for these keys, as Hydra parsed them: `Selection` checks them."""

    where: Any = None
    when: dict[str, Any] = field(default_factory=dict)
    zip: list[list[str]] = field(default_factory=list)
    reference: dict[str, Any] = field(default_factory=dict)


def typed_selection(overrides: Iterable[Override]) -> TypedSelection:
    """Return what the words of a line say of these keys; a later word replaces an earlier one.

    Raises:
        UsageError: a word does not have the form that its key takes.
    """
    selection = TypedSelection()
    for override in overrides:
        node, _, name = override.key_or_group.partition(".")
        if node in KEYS and not override.is_delete():
            typed, value = str(override.input_line), _single(override)
            if node == "where" and not name:
                selection.where = value
            elif node == "zip" and not name:
                selection.zip = _zips(typed, value)
            elif node in ("when", "reference") and (name or isinstance(value, dict)):
                getattr(selection, node).update(_by_name(name, value))
            else:
                allowed = {"where": quoted("where", "norm == bn"), "zip": "zip=[depth,width]"}
                raise UsageError(f"{typed}: allowed: {allowed.get(node, f'{node}.FACTOR=...')}")
    return selection


def _single(override: Override) -> Any:
    """Return the value of a word; raise UsageError for one with several values."""
    typed = str(override.input_line)
    node, _, text = typed.partition("=")
    if not override.is_sweep_override():
        return override.value()
    if node.lstrip("+").startswith(("where", "when.")):
        raise UsageError(f"{typed}: allowed in quotes, for the shell too: {quoted(node, text)}")
    raise UsageError(f"{typed}: allowed: one {'level' if 'reference' in node else 'list in brackets'}")


def _by_name(name: str, value: Any) -> dict[str, Any]:
    """Return the values by dotted name, {"norm.temperature": ...}, however deep they were typed."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        key: leaf
        for last, inner in value.items()
        for key, leaf in _by_name(f"{name}.{last}".lstrip("."), inner).items()
    }


def _zips(typed: str, value: Any) -> list[list[str]]:
    zips = [value] if value and is_list_of_text(value) else value
    if not isinstance(zips, list) or not all(is_list_of_text(names) and len(names) > 1 for names in zips):
        raise UsageError(f"{typed}: allowed: two factors or more, zip=[depth,width], or several such lists")
    every_name = [name for names in zips for name in names]
    for name in every_name:
        if every_name.count(name) > 1:
            raise UsageError(f"{typed}: {name} is listed twice; allowed: once")
    return zips


def is_list_of_text(value: object) -> TypeGuard[list[str]]:
    """Return whether a value is a list that holds nothing but text; an empty one is."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
