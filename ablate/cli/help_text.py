"""The text of --help: a command's lines, and its keys in sections, each with its default, meaning and levels."""

from __future__ import annotations

import copy
import itertools
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ablate import CONF
from ablate.cli import encodings, keys, typed_words
from ablate.cli.commands import COMMANDS, FLAGS, Command
from ablate.cli.keys import Key
from ablate.core import invocation
from ablate.core.errors import UsageError

COLUMNS = 80
_WIDEST_KEY = 28
_WIDEST_LINE = 44

LEVELS = """\
With -m, a key with several levels is a factor: a,b  'x=range(1,4)'
'x=choice(a,b)'  'x=glob(*)'. Below, key=default and what the key means:
a|b: are its levels; (a, b) are the options of its group that have it."""

COMPLETION = """\
Completion of commands, keys, options and levels: norm=<Tab>, norm=bn,<Tab>

  bash   eval "$(ablate completion bash)"    in ~/.bashrc
  zsh    eval "$(ablate completion zsh)"     in ~/.zshrc
  fish   ablate completion fish | source     in ~/.config/fish/config.fish"""

MISSING = "???"
"""Hydra's default of a key that must be typed."""


def answer(name: str) -> None:
    """Print the help of a command and exit, where the line asks for it; otherwise do nothing."""
    words = sys.argv[1:]
    if not typed_words.asks_for_help(words):
        return
    try:
        for folder in typed_words.folders(words):
            if not folder.is_dir():
                raise UsageError(f"--config-dir={folder}: there is no such folder; allowed: a folder with groups")
        text = of_command(name, words)
    except Exception as error:
        from omegaconf.errors import OmegaConfBaseException

        if not isinstance(error, UsageError | OSError | ValueError | yaml.YAMLError | OmegaConfBaseException):
            raise
        line = encodings.unreadable(error) if isinstance(error, UnicodeDecodeError) else None
        sys.stderr.write(f"{line or ' '.join(str(error).split())}\n")
        sys.exit(2)
    sys.stdout.write(f"{text}\n")
    sys.exit(0)


def overview() -> str:
    """Return the text of `ablate --help`: every command with what it is for."""
    names = [*COMMANDS, "completion"]
    summaries = [command.summary for command in COMMANDS.values()] + ["Completion for bash, zsh or fish."]
    width = max(map(len, names)) + 3
    lines = [f"  {name:{width}}{summary}" for name, summary in zip(names, summaries, strict=True)]
    return "\n".join(
        [
            "Ablation studies from one line: planned, run, tracked, reported.",
            "",
            "  ablate COMMAND key=value ...",
            "",
            *lines,
            "",
            "ablate COMMAND --help lists the keys of a command. Full guide: README.md",
            "Completion of commands, keys and levels: ablate completion --help",
        ]
    )


def of_command(name: str, words: Sequence[str]) -> str:
    """Return the help of a command.

    Args:
        name: the command's in `COMMANDS`.
        words: what was typed beside --help. It may name further folders, and options whose values are shown.

    Raises:
        OSError: a file cannot be read.
        yaml.YAMLError: a file is no YAML.
    """
    command = COMMANDS[name]
    own, chosen = typed_words.folders(words), {**command.chosen, **typed_words.chosen(words)}
    known = keys.read(command.config, own, chosen)
    values = _Defaults(command.config, own, known)
    lines = [command.summary, "", *_examples(name, command), ""]
    if command.sweeps:
        lines += [*LEVELS.splitlines(), ""]
    for section, of_section in itertools.groupby(known, key=lambda key: key.section):
        lines += [section, *_section(list(of_section), values), ""]
    return "\n".join([*lines, "Flags", *_flags(command), "", "Full guide: README.md"])


def _examples(name: str, command: Command) -> Iterator[str]:
    typed = [f"{invocation.command(name)} {words}".strip() for words, _ in command.examples]
    fitting = [len(line) for line in typed if len(line) <= _WIDEST_LINE]
    width = max(fitting, default=0)
    for line, (_, meaning) in zip(typed, command.examples, strict=True):
        whole = f"  {line:{width}}  {meaning}".rstrip()
        yield from [whole] if len(whole) <= COLUMNS else [f"  {line}", f"      {meaning}"]


def _flags(command: Command) -> Iterator[str]:
    shown = [(flag, meaning) for _, flag, meaning in FLAGS if command.sweeps or flag != "-m"]
    width = max(len(flag) for flag, _ in shown)
    for flag, meaning in shown:
        yield from _row(flag, meaning, width)


def _section(known: list[Key], values: _Defaults) -> Iterator[str]:
    names = {key.name: _with_default(key.name, values.shown(key)) for key in known}
    width = min(_WIDEST_KEY, max(map(len, names.values())))
    for key in known:
        yield from _row(names[key.name], _of_owners(key, known) + _meaning(key), width)
        for option, meaning in (key.options or {}).items():
            yield from _row(f"  {option}", meaning, 2 + max(map(len, key.options or {})))


def _with_default(name: str, default: str) -> str:
    return f"{name}={default}" if default else name


def _meaning(key: Key) -> str:
    return "(required) " * (key.default == MISSING) + key.words


def _of_owners(key: Key, known: Sequence[Key]) -> str:
    """Return the options that have the key, in as few words as possible: `(bn, gn) `, or `(not bn) `."""
    if not key.owners:
        return ""
    group = next(other for other in known if other.name == key.name.partition(".")[0])
    without = [option for option in group.options or {} if option not in key.owners]
    if without == ["none"]:  # as of tune=none: nobody looks for the key there
        return ""
    having, lacking = ", ".join(key.owners), f"not {', '.join(without)}"
    return f"({min(having, lacking, key=len)}) "


def _row(left: str, right: str, width: int) -> Iterator[str]:
    """Yield a line, or more where it is wider than a terminal."""
    start = f"  {left:{width}}  "
    if len(start) + len(right) <= COLUMNS or len(start) > COLUMNS // 2:
        yield f"{start}{right}".rstrip()
        return
    yield from textwrap.wrap(
        right, COLUMNS, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
    )


class _Defaults:
    """The defaults of a command's keys as they come out: `${dataset.hints.lr}` is what the data set's file says.

    Args:
        known: all keys of the command; the default of a group is the option that is looked up.
    """

    def __init__(self, config: str, own: Sequence[Path], known: Sequence[Key]) -> None:
        self._config, self._folders, self._known = config, (CONF, *own), known
        self._root: Any = None

    def shown(self, key: Key) -> str:
        """Return the default as one would type it; nothing where it is only known once the line is composed."""
        if "${" in key.default:
            return self._resolved(key)
        return "" if key.default == MISSING else key.default.strip("\"'")

    def _resolved(self, key: Key) -> str:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        if self._root is None:
            self._root = OmegaConf.load(CONF / f"{self._config}.yaml")
            for group in self._known:
                self._choose(self._root, group.name, group.default)
        root = copy.deepcopy(self._root)
        group_name = key.name.partition(".")[0]
        if key.owners and self._group_default(group_name) not in key.owners:
            self._choose(root, group_name, key.owners[0])
        try:
            value = OmegaConf.select(root, key.name, default="")
        except OmegaConfBaseException:
            return ""
        return "null" if value is None else str(value)

    def _group_default(self, name: str) -> str:
        return next((key.default for key in self._known if key.name == name), "")

    def _choose(self, root: Any, group: str, option: str) -> None:
        from omegaconf import OmegaConf

        files = keys.files_of_option(group, option, self._folders)
        if files:
            OmegaConf.update(root, group, OmegaConf.merge(*map(OmegaConf.load, files)), merge=False)
