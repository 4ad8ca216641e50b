"""A study written down as a file: conf/preset/NAME.yaml -> the lines that one would type after -m.

A line is a grid, typed as after -m. A study may need several: in a table of a paper, the number of epochs depends on
the network. The keys of the file:

grids       the lines
common      words that every line has
smoke       words that replace a line's own under scale=smoke: one line for all grids, or one a grid
follows     keys that the lines set differently because of a factor, and that are no factors themselves
contrast    what the report compares: a factor and two levels
hypotheses  what the study states beforehand, in the form of hypotheses= on a line
paper       the paper whose study it is; the report then rules on the claims of arXiv 1907.06916
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablate.cli import home
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.levels import Level
from ablate.planning.typed_selection import is_list_of_text

KEYS = ("grids", "common", "smoke", "follows", "contrast", "paper", "hypotheses")

NOT_IN_A_LINE = ("preset", "scale", "study", "mode", "retry", "code", "runs", "dispatch", "track")


@dataclass(frozen=True)
class Preset:
    """The lines of a study.

    Attributes:
        lines: the words after -m, a sequence for each grid.
        name: of the study; None without a preset.
        follows: keys that differ between the lines because of a factor, and that are no factors themselves.
        contrast: the factor and the levels that the report compares; None where the file names none.
        paper: the paper whose study it is; None where the file names none.
        hypotheses: as `ablate.core.hypotheses` reads them.
    """

    lines: Sequence[Sequence[str]]
    name: str | None = None
    follows: Sequence[str] = ()
    contrast: tuple[str, Sequence[Level]] | None = None
    paper: str | None = None
    hypotheses: Sequence[str] = ()


def read(name: str, values: object, typed: Sequence[str], *, smoke: bool) -> Preset:
    """Return the lines of a preset.

    Args:
        name: of the preset.
        values: what its file holds.
        typed: the words typed beside it; they replace the same keys in every line.
        smoke: whether its small form is requested.

    Raises:
        UsageError: the file lacks `grids`, or has another key or form than those above.
    """
    file = _checked(name, values)
    grids = [_words(name, "grids", grid) for grid in file["grids"]]
    common = _words(name, "common", file.get("common") or "")
    small: Sequence[Sequence[str]] = [()] * len(grids)
    if smoke:
        small = _smoke(name, file.get("smoke"), len(grids))
    contrast = file.get("contrast")
    return Preset(
        [_last_of_each_key([*common, *grid, *fewer, *typed]) for grid, fewer in zip(grids, small, strict=True)],
        f"{name}-smoke" if smoke else name,
        tuple(file.get("follows") or ()),
        (contrast["factor"], contrast["levels"]) if contrast else None,
        file.get("paper"),
        tuple(file.get("hypotheses") or ()),
    )


def _checked(name: str, values: object) -> Config:
    where = f"preset={name}: its file's"
    if not isinstance(values, Mapping):
        raise UsageError(f"preset={name}: its file holds no keys; allowed: {', '.join(KEYS)}")
    for key in values:
        if key not in KEYS:
            raise UsageError(f"{where} {key}: no such key; allowed: {', '.join(KEYS)}")
    if not is_list_of_text(values.get("grids")) or not values["grids"]:
        raise UsageError(f"{where} grids: allowed: a list of lines as typed after -m")
    if not isinstance(values.get("common") or "", str):
        raise UsageError(f"{where} common: allowed: a line as typed after -m")
    if not is_list_of_text(values.get("hypotheses", ["none"])):
        raise UsageError(f"{where} hypotheses={values['hypotheses']}: allowed: a list of sentences")
    if not isinstance(values.get("paper", ""), str):
        raise UsageError(f"{where} paper={values['paper']}: allowed: its name, as arXiv 1907.06916")
    follows = values.get("follows")
    if follows is not None and not is_list_of_text(follows):
        raise UsageError(f"{where} follows={follows}: allowed: a list of keys, [recipe.epochs]")
    contrast = values.get("contrast")
    if contrast is not None and not _is_contrast(contrast):
        raise UsageError(f"{where} contrast={contrast}: allowed: {{factor: norm, levels: [bn, srelu]}}, two levels")
    return values


def _is_contrast(value: object) -> bool:
    if not isinstance(value, Mapping) or set(value) != {"factor", "levels"}:
        return False
    levels = value["levels"]
    return isinstance(value["factor"], str) and isinstance(levels, list) and len(levels) == 2


def _words(name: str, key: str, line: str) -> list[str]:
    """Return the words of a line; raise UsageError for one that says where, how or under which name a study runs."""
    try:
        words = [home.expanded(word) for word in shlex.split(line)]
    except ValueError as error:
        raise UsageError(f"preset={name}: its file's {key}: {line}: {error}") from error
    for word in words:
        if _key(word).split(".")[0] in NOT_IN_A_LINE:
            raise UsageError(f"preset={name}: its file's {key}: {word}: allowed: on the line that one types")
    return words


def _smoke(name: str, smoke: object, grids: int) -> Sequence[Sequence[str]]:
    if not smoke:
        raise UsageError(f"scale=smoke: preset={name} has no smoke form; allowed: scale=full")
    lines = [smoke] * grids if isinstance(smoke, str) else smoke
    if not is_list_of_text(lines):
        raise UsageError(f"preset={name}: its file's smoke: allowed: a line as typed after -m, or one a grid")
    if len(lines) != grids:
        raise UsageError(f"preset={name}: {len(lines)} smoke lines, {grids} grids; allowed: one a grid, or one for all")
    return [_words(name, "smoke", line) for line in lines]


def _key(word: str) -> str:
    return re.split(r"[=@]", word.lstrip("+~"), maxsplit=1)[0]


def _last_of_each_key(words: Sequence[str]) -> list[str]:
    """Return the words; for each key the last word, where the key was typed first."""
    last: dict[str, str] = {}
    for word in words:
        last[_key(word)] = word
    return list(last.values())
