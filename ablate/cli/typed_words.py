"""What the words of a line say before Hydra reads them: the folders and options that they name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

_CONFIG_DIR = ("--config-dir", "-cd")
HELP = ("--help", "-h")


def asks_for_help(words: Sequence[str]) -> bool:
    return any(word in HELP for word in words)


def folders(words: Sequence[str]) -> list[Path]:
    """Return the folders that --config-dir names."""
    named = [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    named += [value for flag, value in pairwise(words) if flag in _CONFIG_DIR]
    return [Path(name).expanduser().absolute() for name in named if name]


def chosen(words: Sequence[str]) -> dict[str, str]:
    """Return key -> value of the words that give a key a single value; the last word counts."""
    pairs = (word.lstrip("+").partition("=") for word in words if not word.startswith("-"))
    return {key: value for key, equals, value in pairs if equals and "," not in value}


def levels(words: Sequence[str]) -> dict[str, list[str]]:
    """Return key -> levels of the words that give a key one value or more, as `norm=bn,srelu` does."""
    pairs = (word.lstrip("+").partition("=") for word in words if not word.startswith("-"))
    return {key: value.split(",") for key, equals, value in pairs if equals}
