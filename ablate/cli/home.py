"""`~` in what a user types: a shell leaves it as it is after `=`, and a folder of that name is what nobody wants."""

from __future__ import annotations

import os
import re

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import flatten

_QUOTED = re.compile(r"""(?<=["'])((?:\w+:///)?)(~[\w.-]*)(?=[/"'])""")
_BARE = re.compile(r"""(?:^|(?<=[,\[(]))((?:\w+:///)?)(~[\w.-]*)((?:/[^,\[\]()"']*)?)(?=[,\])]|$)""")
_UNEXPANDED = re.compile(r"(\w+:///)?~[\w.-]*(/|$)")
_PLAIN = re.compile(r"[\w/.:+@%-]*", re.ASCII)
"""What Hydra takes without quotes."""


def expanded(word: str) -> str:
    """Return a word of the command line with the home folder in place of `~`, where a value begins so.

    Raises:
        UsageError: there is no such home folder.
    """
    key, equals, value = word.partition("=")
    if not equals or "~" not in value:
        return word

    def quoted(match: re.Match[str]) -> str:
        return match[1] + _home(match[2], word)

    def bare(match: re.Match[str]) -> str:
        path = match[1] + _home(match[2], word) + match[3]
        return path if _PLAIN.fullmatch(path) else f"'{path}'"

    return f"{key}={_BARE.sub(bare, _QUOTED.sub(quoted, value))}"


def refuse_unexpanded(config: Config) -> None:
    """Raise UsageError for a value that begins with `~`, from a file or the environment, where nothing expands it."""
    for key, value in flatten(config).items():
        if isinstance(value, str) and _UNEXPANDED.match(value):
            raise UsageError(
                f"{key}={value}: ~ stands for the home folder on the command line alone; "
                "allowed: an absolute path, or ${oc.env:HOME}/... in a file"
            )


def _home(tilde: str, word: str) -> str:
    home = os.path.expanduser(tilde)
    if home == tilde:
        raise UsageError(f"{word}: there is no home folder {tilde}; allowed: an absolute path")
    return home
