"""Completion of lines that begin with `ablate`: commands, keys, options and levels, read from conf/ at each request.

The shells' own part is in shells/: it sends the line up to the cursor, and receives candidates. Hydra's completion does
not serve: it completes nothing after `python -m`, composes the config at each request, and knows no levels.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablate.cli import keys, typed_words
from ablate.cli.commands import COMMANDS, FLAGS, Command
from ablate.cli.keys import Key

SHELLS = ("bash", "zsh", "fish")
NAME = "completion"
_NEXT_WORDS = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
_FOLDER_FLAGS = ("--config-dir", "-cd")
_FOR_SHELL = re.compile(r"([^\w./,:=@%+~-])")


@dataclass(frozen=True)
class Candidate:
    """A word that the line could go on with.

    Attributes:
        text: the whole word, without quotes.
        is_open: whether more of the word may follow, so that the shell adds no blank.
    """

    text: str
    meaning: str = ""
    is_open: bool = False


def script(shell: str) -> str:
    """Return what a shell has to read for the completion."""
    return (Path(__file__).parent / "shells" / f"ablate.{shell}").read_text(encoding="utf-8")


def answer(shell: str, line: str, word_breaks: str = "") -> str:
    """Return the candidates in the form that the shell's part reads, one a line.

    Args:
        shell: one of `SHELLS`.
        line: what was typed up to the cursor.
        word_breaks: bash's COMP_WORDBREAKS. Bash replaces what follows the last of them only.
    """
    words, word, quote = split(line)
    try:
        candidates = [candidate for candidate in complete(words, word) if candidate.text.startswith(word)]
    except Exception:  # of a file of the user's, whatever is in it: the command names it when the line is run
        return ""
    if shell != "bash":
        rows = ((each.text, each.meaning, "open" * each.is_open) for each in candidates)
        return "".join("\t".join(row) + "\n" for row in rows)
    breaks = [char for char in word_breaks if not char.isspace()]  # a blank inside the word was escaped
    kept = max((word.rfind(char) + 1 for char in breaks), default=0)
    lines = []
    for candidate in candidates:
        if quote:  # bash's word begins after it, and bash closes it
            lines.append(candidate.text)
        else:
            lines.append(_FOR_SHELL.sub(r"\\\1", candidate.text[kept:]) + " " * (not candidate.is_open))
    return "".join(f"{text}\n" for text in lines)


def split(line: str) -> tuple[list[str], str, str]:
    """Return the whole words after `ablate`, the word at the end without quotes, and the quote that is open in it.

    >>> split("x=1 /bin/ablate run -m 'norm=b")
    (['run', '-m'], 'norm=b', "'")
    """
    start, quote, is_escaped = 0, "", False
    for position, char in enumerate(line):
        if is_escaped:
            is_escaped = False
        elif char == "\\" and quote != "'":
            is_escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            start = position + 1
    words = shlex.split(line[:start])
    programs = [index for index, typed in enumerate(words) if Path(typed).name == "ablate"]
    try:
        word = "".join(shlex.split(line[start:] + quote))
    except ValueError:  # a backslash at the end
        word = line[start:].rstrip("\\")
    return words[programs[0] + 1 :] if programs else [], word, quote


def complete(words: Sequence[str], word: str) -> Iterator[Candidate]:
    """Yield what the last word of a line may become; the shell leaves out what does not begin as it does.

    Args:
        words: those after `ablate`, up to the last.
        word: the last, which may be empty.
    """
    if not words:
        yield from (Candidate(name, command.summary) for name, command in COMMANDS.items())
        yield from (Candidate(NAME, "completion for your shell"), Candidate("--help"), Candidate("--version"))
    elif words[0] == NAME:
        yield from map(Candidate, SHELLS)
    elif words[0] in COMMANDS:
        yield from _of_command(COMMANDS[words[0]], words[1:], word)


def _of_command(command: Command, words: Sequence[str], word: str) -> Iterator[Candidate]:
    before = words[-1] if words else ""
    if before in _NEXT_WORDS:
        yield from map(Candidate, _NEXT_WORDS[before])
        return
    if before in _FOLDER_FLAGS:
        yield from _paths("", word, folders_only=True)
        return
    if word.startswith("--config-dir="):
        yield from _paths("--config-dir=", word.partition("=")[2], folders_only=True)
        return
    if word.startswith("-"):
        for flag, shown, meaning in FLAGS:
            if command.sweeps or shown != "-m":
                yield Candidate(flag, meaning, is_open=flag.endswith("="))
        return
    known = keys.read(command.config, typed_words.folders(words))
    signs = word[: len(word) - len(word.lstrip("+~"))]
    typed = word[len(signs) :]
    name, equals, value = typed.partition("=")
    offered = _values(known, name, value, words) if equals else _names(known, name, words)
    for candidate in offered:
        yield replace(candidate, text=signs + candidate.text)


def _names(known: Sequence[Key], word: str, words: Sequence[str]) -> Iterator[Candidate]:
    """Yield keys. Those inside another, such as `recipe.lr`, are shown once its name and the dot are typed."""
    for prefix in _open_prefixes(known):
        if word.startswith(prefix):
            inner = _names(known, word.removeprefix(prefix), words)
            yield from (replace(candidate, text=prefix + candidate.text) for candidate in inner)
            return
    chosen = typed_words.levels(words)
    shown = set()
    for key in known:
        top, dot, _ = key.name.partition(".")
        if key.owners and chosen.get(top) and not set(chosen[top]) & set(key.owners):
            continue
        is_inside = bool(dot) and not word.startswith(f"{top}.")
        if not is_inside and not key.name.endswith(f".{keys.ANY_KEY}"):
            yield Candidate(f"{key.name}=", key.words, is_open=True)
        elif is_inside and all(other.name != top for other in known) and top not in shown:
            shown.add(top)
            yield Candidate(f"{top}.", key.words if key.name.endswith(f".{keys.ANY_KEY}") else "", is_open=True)
        elif not is_inside and f"{key.name.removesuffix(keys.ANY_KEY)}" in _open_prefixes(known):
            yield Candidate(key.name.removesuffix(keys.ANY_KEY), key.words, is_open=True)


def _open_prefixes(known: Sequence[Key]) -> list[str]:
    """Return what takes any key after it: `nuisance.`, `tune.space.`. A data set's hints are no such keys."""
    names = (key.name for key in known if key.name.endswith(f".{keys.ANY_KEY}"))
    return [name.removesuffix(keys.ANY_KEY) for name in names if not name.startswith("dataset.")]


def _values(known: Sequence[Key], name: str, value: str, words: Sequence[str]) -> Iterator[Candidate]:
    """Yield the levels of a key, after those that stand before the last comma already."""
    prefix = next((prefix for prefix in _open_prefixes(known) if name.startswith(prefix)), "")
    if prefix == "when.":  # takes a condition
        return
    key = next((key for key in known if key.name == name.removeprefix(prefix)), None)
    if key is None:
        return
    before, comma, last = value.rpartition(",")
    typed = set(before.split(",")) if comma else set()
    start = f"{name}={before}{comma}"
    is_factor = bool(prefix) or bool({"-m", "--multirun"} & set(words))
    meanings = key.options or {}
    for level in key.levels:
        if level in ("FILE", "FOLDER"):
            yield from _paths(start, last, folders_only=level == "FOLDER")
        elif level in ("STUDY", "TRIAL"):
            yield from (Candidate(start + text) for text in _in_runs(level, words))
        elif not level.isupper() and level not in typed:
            yield Candidate(start + level, meanings.get(level, ""), is_open=is_factor)


def _in_runs(kind: str, words: Sequence[str]) -> list[str]:
    """Return the names of the studies, or the ids of the trials, of the runs folder that the line names."""
    runs = Path(typed_words.chosen(words).get("runs", "runs")).expanduser()
    if kind == "STUDY":
        return sorted(file.stem for file in (runs / "studies").glob("*.json"))
    return sorted(file.parent.name for file in runs.glob("*/config.json"))


def _paths(start: str, typed: str, *, folders_only: bool) -> Iterator[Candidate]:
    parent, slash, name = typed.rpartition("/")
    folder = Path(parent + slash or ".").expanduser()
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith(".") and not name.startswith("."):
            continue
        if path.is_dir():
            yield Candidate(f"{start}{parent}{slash}{path.name}/", is_open=True)
        elif not folders_only:
            yield Candidate(f"{start}{parent}{slash}{path.name}")
