"""What every command shares: a user error is printed as one clear line, with exit status 2."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ablate import CONF
from ablate.cli import encodings, help_text, home, hydra_private, streams
from ablate.cli.commands import COMMANDS
from ablate.cli.hydra_errors import error_line
from ablate.core import folders, garbage
from ablate.core.errors import UsageError
from ablate.core.identity import flatten


@dataclass(frozen=True)
class Composed:
    """A command line without -m: its config, the option chosen for each group, and the keys as typed.

    `folders` are those of YAML files that the line names, as by --config-dir.
    """

    config: DictConfig
    choices: Mapping[str, str]
    typed: Sequence[str]
    folders: Sequence[str] = ()


def main(name: str, command: Callable[[Any], int], *, sweeps: bool) -> NoReturn:
    """Let Hydra read the command line, run `command` on the result, and exit with the command's status.

    `name` is the command's in `COMMANDS`, which names its config. --help is answered without Hydra.
    `command` receives a `Composed`, or with -m what the app's Sweeper makes of the whole line. It runs after Hydra has
    returned, so that Hydra changes neither its errors nor its exit status. Unless `sweeps` is true, -m is refused. A
    user error becomes one line on stderr and exit status 2; HYDRA_FULL_ERROR=1 shows the stack instead.
    """
    garbage.collect_seldom()
    with streams.lasting():
        help_text.answer(name)
        _main(COMMANDS[name].config, command, sweeps=sweeps)


def _main(config_name: str, command: Callable[[Any], int], *, sweeps: bool) -> NoReturn:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        sys.argv[1:] = map(home.expanded, sys.argv[1:])
        sys.exit(command(_typed(config_name)))
    try:
        if not sweeps and {"-m", "--multirun"} & set(sys.argv[1:]):
            raise UsageError("-m: this command takes no sweeps; allowed: the same line without -m")
        _refuse_hydras_completion(sys.argv[1:])
        _refuse_keys_around_m(sys.argv[1:])
        sys.argv[1:] = map(home.expanded, sys.argv[1:])
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, instead of printing and exiting with 1
        try:
            typed = _typed(config_name)
        finally:
            del os.environ["HYDRA_FULL_ERROR"]
        with _refusals_of_the_system(typed):
            sys.exit(command(typed))
    except UnicodeDecodeError as error:
        line = encodings.unreadable(error)
        if line is None:
            raise
        print(line, file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except (UsageError, HydraException, OmegaConfBaseException, YAMLError) as error:
        print(error_line(error, sweeps=sweeps), file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)


@contextlib.contextmanager
def _refusals_of_the_system(typed: Any) -> Iterator[None]:
    """Raise UsageError where the system refuses a file or a folder, such as somebody else's: this is no bug of ours."""
    try:
        yield
    except OSError as error:
        if error.filename is None or not error.errno:
            raise
        config = typed.config
        if isinstance(config, DictConfig):
            config = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        raise UsageError(folders.error_line(error, flatten(config))) from error


def plain(composed: Composed, schema: type) -> dict[str, Any]:
    """Return the resolved config, checked against `schema`, the dataclass of its root.

    The check is ours, since Hydra lets +key=value add keys that the schema lacks.

    Raises:
        UsageError: the config has a key that the schema lacks, or a path that begins with `~`.
    """
    config = OmegaConf.to_container(composed.config, resolve=True, enum_to_str=True)
    assert isinstance(config, dict)
    known = [field.name for field in fields(schema)]
    for key, value in config.items():
        if key not in known:
            raise UsageError(f"{key!s}={value}: no such key; allowed: {', '.join(known)}")
    plain_config = {str(key): value for key, value in config.items()}
    home.refuse_unexpanded(plain_config)
    return plain_config


def _refuse_keys_around_m(words: Sequence[str]) -> None:
    """Raise UsageError for keys on both sides of -m, of which Hydra's argument parser would blame a correct key."""
    flag = next((index for index, word in enumerate(words) if word in ("-m", "--multirun")), None)
    keys = ["=" in word and not word.startswith("-") for word in words]
    if flag and any(keys[:flag]) and any(keys[flag:]):
        raise UsageError("-m: keys stand before it and after it; allowed: -m first, then the keys")


def _refuse_hydras_completion(words: Sequence[str]) -> None:
    """Raise UsageError for Hydra's flag, whose completion knows neither `ablate` nor `python -m`."""
    flag = next((word for word in words if word in ("--shell-completion", "-sc")), None)
    if flag:
        raise UsageError(f'{flag}: completes nothing here; allowed: eval "$(ablate completion bash)", or zsh or fish')


def _typed(config_name: str) -> Any:
    """Return what Hydra, or our Sweeper, passes to the app. Exit where Hydra itself answers (--hydra-help, --cfg)."""
    received: list[Any] = []

    def keep(typed: Any) -> None:
        if isinstance(typed, DictConfig):
            hydra_config = HydraConfig.get()
            sources = hydra_config.runtime.config_sources
            folders = [source.path for source in sources if "command-line" in source.provider]
            typed = Composed(typed, hydra_config.runtime.choices, list(hydra_config.overrides.task), folders)
        received.append(typed)

    try:
        with hydra_private.without_reading_mode(sys.argv[1:]):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(keep)()
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # Hydra raises a bare ValueError for these
        if str(error).startswith("Config group override must be a string"):
            raise UsageError(
                f"a group cannot be null: {' '.join(sys.argv[1:])}; allowed: one of its options"
            ) from error
        if not str(error).startswith("Only one of --run"):
            raise
        raise UsageError("--cfg, --info and --run go without -m; with -m, mode=plan shows what would run") from error
    if not received:
        sys.exit(0)
    return received[0]
