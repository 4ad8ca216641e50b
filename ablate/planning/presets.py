"""A study written down as a file: conf/preset/NAME.yaml -> the lines that one would type after -m.

A line is a grid, typed as after -m. A study may need several: in a table of a paper the epochs follow the
network. Its keys:

grids       the lines
common      what stands in each of them
smoke       what replaces keys of them under scale=smoke: one line for all, or one a grid
follows     keys that the lines set differently because of a factor, and that are none themselves
contrast    what the report compares: factor and levels
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core.errors import UsageError
from ablate.core.levels import Level

KEYS = ("grids", "common", "smoke", "follows", "contrast")

NOT_IN_A_LINE = ("preset", "scale", "study", "mode", "retry", "runs", "dispatch", "track")


@dataclass(frozen=True)
class Preset:
    """lines: the words after -m, a sequence for each grid. name: what the study is called; None with no preset."""

    lines: Sequence[Sequence[str]]
    name: str | None = None
    follows: Sequence[str] = ()
    contrast: tuple[str, Sequence[Level]] | None = None


def read(name: str, values: Any, typed: Sequence[str], *, smoke: bool) -> Preset:
    """The lines of a preset, with what was `typed` beside it: that replaces the same keys in every line.

    Raises:
        UsageError: the file lacks `grids`, or has another key or form than those above.
    """
    held = _checked(name, values)
    grids = [_words(name, "grids", grid) for grid in held["grids"]]
    common = _words(name, "common", held.get("common") or "")
    small: Sequence[Sequence[str]] = [()] * len(grids)
    if smoke:
        small = _smoke(name, held.get("smoke"), len(grids))
    contrast = held.get("contrast")
    return Preset(
        [_last_of_each_key([*common, *grid, *fewer, *typed]) for grid, fewer in zip(grids, small, strict=True)],
        f"{name}-smoke" if smoke else name,
        tuple(held.get("follows") or ()),
        (contrast["factor"], contrast["levels"]) if contrast else None,
    )


def _checked(name: str, values: Any) -> Mapping[str, Any]:
    where = f"preset={name}: its file's"
    if not isinstance(values, Mapping):
        raise UsageError(f"preset={name}: its file holds no keys; allowed: {', '.join(KEYS)}")
    for key in values:
        if key not in KEYS:
            raise UsageError(f"{where} {key}: no such key; allowed: {', '.join(KEYS)}")
    if not _is_list_of_text(values.get("grids")) or not values["grids"]:
        raise UsageError(f"{where} grids: allowed: a list of lines as typed after -m")
    if not isinstance(values.get("common") or "", str):
        raise UsageError(f"{where} common: allowed: a line as typed after -m")
    follows = values.get("follows")
    if follows is not None and not _is_list_of_text(follows):
        raise UsageError(f"{where} follows={follows}: allowed: a list of keys, [recipe.epochs]")
    contrast = values.get("contrast")
    if contrast is not None and not _is_contrast(contrast):
        raise UsageError(f"{where} contrast={contrast}: allowed: {{factor: norm, levels: [bn, srelu]}}, two levels")
    return values


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_contrast(value: Any) -> bool:
    if not isinstance(value, Mapping) or set(value) != {"factor", "levels"}:
        return False
    levels = value["levels"]
    return isinstance(value["factor"], str) and isinstance(levels, list) and len(levels) == 2


def _words(name: str, key: str, line: str) -> list[str]:
    """The words of a line, none of which says where, how or under which name the study runs."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"preset={name}: its file's {key}: {line}: {error}") from error
    for word in words:
        if _key(word).split(".")[0] in NOT_IN_A_LINE:
            raise UsageError(f"preset={name}: its file's {key}: {word}: allowed: on the line that one types")
    return words


def _smoke(name: str, held: Any, grids: int) -> Sequence[Sequence[str]]:
    if not held:
        raise UsageError(f"scale=smoke: preset={name} has no smoke form; allowed: scale=full")
    lines = [held] * grids if isinstance(held, str) else held
    if not _is_list_of_text(lines):
        raise UsageError(f"preset={name}: its file's smoke: allowed: a line as typed after -m, or one a grid")
    if len(lines) != grids:
        raise UsageError(f"preset={name}: {len(lines)} smoke lines, {grids} grids; allowed: one a grid, or one for all")
    return [_words(name, "smoke", line) for line in lines]


def _key(word: str) -> str:
    return re.split(r"[=@]", word.lstrip("+~"), maxsplit=1)[0]


def _last_of_each_key(words: Sequence[str]) -> list[str]:
    """The words, a later one in the place of an earlier one for the same key."""
    last: dict[str, str] = {}
    for word in words:
        last[_key(word)] = word
    return list(last.values())
