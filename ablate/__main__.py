"""All commands by one name: `ablate run`, `ablate report`, ...; `python -m ablate run` is the same."""

from __future__ import annotations

import difflib
import importlib
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from ablate import __version__
from ablate.cli import completion, help_text, streams
from ablate.cli.commands import COMMANDS

HELP = ("--help", "-h")


def main() -> None:
    """Run the command that the first word names; exit with its status."""
    with streams.lasting():
        name = _command(sys.argv[1:])
        if name == completion.NAME:
            _complete(sys.argv[2:])
        del sys.argv[1]
        help_text.answer(name)
        _import_from_here(name)
    module = importlib.import_module(COMMANDS[name].module)
    module.main()


def _command(words: list[str]) -> str:
    """Return the name of the command. Exit where there is none: what stands there is answered here, or refused."""
    first = words[0] if words else "--help"
    if first in HELP:
        return _print(help_text.overview())
    if first == "--version":
        return _print(f"ablate {__version__}")
    names = [*COMMANDS, completion.NAME]
    if first in names:
        return first
    if first.startswith("-") or "=" in first:
        example = shlex.join(["ablate", "run", *words])
        return _refuse(f"{first}: a command comes first; allowed: {', '.join(names)}; did you mean {example}?")
    close = difflib.get_close_matches(first, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(names)}"
    return _refuse(f"{first}: no such command; {hint}")


def _complete(words: list[str]) -> NoReturn:
    """Print a shell's script, or with --line the candidates for a line."""
    if words and words[0] in HELP:
        _print(help_text.COMPLETION)
    if not words or words[0] not in completion.SHELLS:
        _refuse(f"{' '.join([completion.NAME, *words])}: allowed: {completion.NAME} bash, zsh or fish")
    options = dict(zip(words[1::2], words[2::2], strict=False))
    if len(words) == 1:
        _print(completion.script(words[0]).rstrip())
    if "--line" not in options or set(options) - {"--line", "--breaks"}:
        _refuse(f"{' '.join([completion.NAME, *words])}: allowed: {completion.NAME} {words[0]}")
    sys.stdout.write(completion.answer(words[0], options["--line"], options.get("--breaks", "")))
    sys.exit(0)


def _import_from_here(name: str) -> None:
    """Let a user's own parts be imported from the working directory, first of all, as `python -m` does.

    What is loaded already, such as this package, stays what it is.
    """
    script = Path(sys.argv[0]).resolve()
    if sys.flags.safe_path or script.name == "__main__.py":  # python -m ablate: Python did it, or was told not to
        return
    here, ours = Path.cwd(), Path(__file__).resolve().parent
    if sys.path and Path(sys.path[0]).resolve() == script.parent:
        sys.path[0] = str(here)  # in place of the folder of scripts
    else:
        sys.path.insert(0, str(here))
    for theirs in (here / "ablate" / "__init__.py", here / "ablate.py"):
        if name == "run" and theirs.is_file() and theirs.parent.resolve() != ours:
            _refuse(
                f"ablate run: {theirs} has the name of the installed {ours}, and Ray's workers would import it; "
                "allowed: python -m ablate.run, which runs what is here, or another working directory"
            )


def _print(text: str) -> NoReturn:
    sys.stdout.write(f"{text}\n")
    sys.exit(0)


def _refuse(line: str) -> NoReturn:
    sys.stderr.write(f"{line}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
