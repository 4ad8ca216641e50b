"""YAML with its comments: of each key its value as it is written, and what the comment beside it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

_HEADING = re.compile(r"\s*# == (.+) ==\s*")
_LEVELS = re.compile(r"((?:[\w.+-]+\|)+[\w.+-]+|[A-Z][A-Z_]*)(?:: |$)")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Entry:
    """A key of a YAML file.

    Attributes:
        path: the keys from the root to it.
        text: its value as it is written; the empty text of a mapping that has keys.
        comment: the comment beside it.
        heading: the last line `# == heading ==` before it.
    """

    path: tuple[str, ...]
    text: str
    comment: str
    heading: str

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that the comment begins with, as in `# none|train: ...`. Upper case is a kind, such as FILE."""
        match = _LEVELS.match(self.comment)
        return tuple(match[1].split("|")) if match else ()


@dataclass(frozen=True)
class CommentedFile:
    """The first comment of a YAML file, and its keys in their order. A list of mappings has the keys of each."""

    title: str
    entries: tuple[Entry, ...]


@lru_cache
def read(path: Path) -> CommentedFile:
    """Read a YAML file.

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError: it is no YAML.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    first = lines[0] if lines else ""
    title = first.lstrip("# ") if first.startswith("#") and not _HEADING.fullmatch(first) else ""
    root = yaml.compose(text, _LOADER)
    return CommentedFile(title, tuple(_entries(root, (), text, lines)) if root is not None else ())


def _entries(node: yaml.Node, path: tuple[str, ...], text: str, lines: list[str]) -> Iterator[Entry]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if isinstance(item, yaml.ScalarNode):
                yield Entry((*path, item.value), "", "", "")
            else:
                yield from _entries(item, path, text, lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        inner = (*path, str(key.value))
        has_keys = isinstance(value, yaml.MappingNode) and bool(value.value)
        is_list_of_keys = isinstance(value, yaml.SequenceNode) and path == () and key.value == "defaults"
        written = "" if has_keys or is_list_of_keys else text[value.start_mark.index : value.end_mark.index].strip()
        comment = _comment(key, value, lines)
        yield Entry(inner, written, comment, _heading(key.start_mark.line, lines))
        if has_keys or is_list_of_keys:
            yield from _entries(value, inner, text, lines)


def _comment(key: yaml.Node, value: yaml.Node, lines: list[str]) -> str:
    """Return the comment right after the key's colon, or else after its value."""
    for mark, pattern in ((key.end_mark, r"\s*:\s+#\s*(.*)"), (value.end_mark, r"[\s,}\]]*#\s*(.*)")):
        rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
        if match := re.fullmatch(pattern, rest):
            return match[1].strip()
    return ""


def _heading(line: int, lines: list[str]) -> str:
    headings = (_HEADING.fullmatch(before) for before in reversed(lines[:line]))
    return next((match[1] for match in headings if match), "")
