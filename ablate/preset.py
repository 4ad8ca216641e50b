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

from ablate.design import Level, Mistake

KEYS = ("grids", "common", "smoke", "follows", "contrast")


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
        Mistake: the file lacks `grids`, or has another key or form than those above.
    """
    held = _checked(name, values)
    grids = [shlex.split(grid) for grid in held["grids"]]
    common = shlex.split(held.get("common") or "")
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
    where = f"preset={name}"
    if not isinstance(values, Mapping) or not values.get("grids"):
        raise Mistake(f"{where}: its file has no grids: a list of lines as typed after -m")
    for key in values:
        if key not in KEYS:
            raise Mistake(f"{where}: its file has no key {key}; allowed: {', '.join(KEYS)}")
    if not all(isinstance(grid, str) for grid in values["grids"]):
        raise Mistake(f"{where}: its grids are no list of lines as typed after -m")
    contrast = values.get("contrast")
    if contrast is not None and (not isinstance(contrast, Mapping) or set(contrast) != {"factor", "levels"}):
        raise Mistake(f"{where}: its contrast is {contrast}; allowed: a factor, and two of its levels")
    return values


def _smoke(name: str, held: Any, grids: int) -> Sequence[Sequence[str]]:
    if not held:
        raise Mistake(f"scale=smoke: preset={name} has no smoke form; allowed: scale=full")
    lines = [held] * grids if isinstance(held, str) else list(held)
    if len(lines) != grids:
        raise Mistake(f"preset={name}: {len(lines)} smoke lines, {grids} grids; allowed: one a grid, or one for all")
    return [shlex.split(line) for line in lines]


def _last_of_each_key(words: Sequence[str]) -> list[str]:
    """The words, a later one in the place of an earlier one for the same key."""
    last: dict[str, str] = {}
    for word in words:
        key = re.split(r"[=@]", word.lstrip("+~"), maxsplit=1)[0]
        last[key] = word
    return list(last.values())
