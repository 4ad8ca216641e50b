"""What every command shares: one clear line, and exit status 2, for a mistake in what was typed."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from ablate import CONF
from ablate.core.errors import UsageError
from ablate.core.expression import quoted
from ablate.core.identity import FOR_THE_PLAN_ONLY

DESIGN_KEYS = "design.fraction with design=fractional, design.cells and design.seed with design=random"
_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
_NOT_FOR_PEOPLE = ("hydra", "_target_", "_partial_", *FOR_THE_PLAN_ONLY)


@dataclass(frozen=True)
class Composed:
    """A line without -m: one config, the option chosen for each of its groups, and the keys as typed."""

    config: DictConfig
    choices: Mapping[str, str]
    typed: Sequence[str]


def main(config_name: str, command: Callable[[Any], int], *, sweeps: bool) -> NoReturn:
    """Let Hydra read the command line, run `command` on what it made of it, exit with its status.

    `command` is handed a `Composed`, or, with -m, what the app's Sweeper made of the whole line. It runs
    after Hydra has finished, so that neither its errors nor its exit status are Hydra's to change.
    Without `sweeps` the command takes no -m. A mistake becomes one line on stderr and exit status 2;
    HYDRA_FULL_ERROR=1 shows the stack instead.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        sys.exit(command(_typed(config_name)))
    try:
        if not sweeps and {"-m", "--multirun"} & set(sys.argv[1:]):
            raise UsageError("-m: this command does one thing a line; allowed: the same without -m")
        _refuse_keys_around_m(sys.argv[1:])
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, instead of printing and exiting with 1
        try:
            typed = _typed(config_name)
        finally:
            del os.environ["HYDRA_FULL_ERROR"]
        sys.exit(command(typed))
    except (UsageError, HydraException, OmegaConfBaseException, YAMLError) as error:
        print(_one_line(error, sweeps=sweeps), file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)


def plain(composed: Composed, schema: type) -> dict[str, Any]:
    """The resolved config; `schema` is the dataclass of its root, since Hydra lets +key=value in beyond it.

    Raises:
        UsageError: a key that the schema does not have.
    """
    config = OmegaConf.to_container(composed.config, resolve=True, enum_to_str=True)
    assert isinstance(config, dict)
    known = [one.name for one in fields(schema)]
    for key, value in config.items():
        if key not in known:
            raise UsageError(f"{key!s}={value}: no such key; allowed: {', '.join(known)}")
    return {str(key): value for key, value in config.items()}


def _refuse_keys_around_m(words: Sequence[str]) -> None:
    """Hydra's argument parser would blame a key that is fine."""
    at = next((place for place, word in enumerate(words) if word in ("-m", "--multirun")), None)
    keys = ["=" in word and not word.startswith("-") for word in words]
    if at and any(keys[:at]) and any(keys[at:]):
        raise UsageError("-m: keys stand before it and after it; allowed: -m first, then the keys")


def _typed(config_name: str) -> Any:
    """What Hydra, or our Sweeper, hands the app; exits where Hydra itself answers (--help, --cfg)."""
    handed: list[Any] = []

    def keep(typed: Any) -> None:
        if isinstance(typed, DictConfig):
            asked = HydraConfig.get()
            typed = Composed(typed, asked.runtime.choices, list(asked.overrides.task))
        handed.append(typed)

    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(keep)()
    except ValueError as error:  # Hydra raises a bare ValueError for these
        if str(error).startswith("Config group override must be a string"):
            raise UsageError(
                f"a group cannot be null: {' '.join(sys.argv[1:])}; allowed: one of its options"
            ) from error
        if not str(error).startswith("Only one of --run"):
            raise
        raise UsageError("--cfg, --info and --run go without -m; with -m, mode=plan shows what would run") from error
    if not handed:
        sys.exit(0)
    return handed[0]


def _one_line(error: BaseException, *, sweeps: bool) -> str:
    text = str(error)
    if isinstance(error, YAMLError):
        return f"not readable as YAML: {' '.join(text.split())}"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={option}: no such option; allowed: {', '.join(sorted(error.options))}"
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).lstrip("+").partition("=")
        if key == "where" or key.startswith("when."):
            return f"{error.override}: allowed in quotes, for the shell too: {quoted(key, value)}"
        return f"{error.override}: allowed: key=value, with quotes around a value that holds more than plain words"
    sweep = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'", text)
    if sweep:
        wanted = "several levels are a sweep, and a sweep needs -m" if sweeps else "a list stands in brackets: [a,b]"
        return f"{sweep[1]}: {wanted}"
    override = re.match(r"(?:Could not override|Error merging override) '?([^'\s=]+)", text)
    if override and override[1].startswith("design."):
        return f"{_as_typed(override[1])}: this design has no such key; allowed: {DESIGN_KEYS}"
    if override:
        return refused(_as_typed(override[1]), error)
    return " ".join(text.split()) if isinstance(error, UsageError) else " ".join(_first(error).split())


def refused(typed: str, error: BaseException, holder: str | None = None) -> str:
    """One line for an override that OmegaConf refused: what was typed, why, and what is allowed.

    `holder` is the group's choice that lacks the key, where that is known: norm=bn.
    """
    cause = _first_cause(error)
    parent = getattr(cause, "parent_node", None)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(parent, DictConfig):
        keys = [str(key) for key in parent if key not in _NOT_FOR_PEOPLE]
        close = difflib.get_close_matches(str(cause.key), keys, n=1)
        hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(keys)}"
        return f"{typed}: {f'{holder} has' if holder else ''} no such key; {hint}".replace(":  ", ": ")
    return f"{typed}: {_allowed(_first(error))}"


def _allowed(why: str) -> str:
    """OmegaConf's reason for refusing a value, turned into what it would have taken."""
    kind = re.search(r"could not be converted to (\w+)", why)
    if kind and kind[1] in _KINDS:
        return f"allowed: {_KINDS[kind[1]]}"
    options = re.search(r"expected one of \[(.*)\]", why)
    if options:
        return f"allowed: {options[1]}"
    if "Union[int, str]" in why:
        return "allowed: a whole number, or auto"
    if "Union[int, float]" in why:
        return "allowed: a number"
    if "to string" in why:
        return "allowed: text"
    if "is not a ListConfig" in why:
        return "allowed: a list in brackets: [a,b]"
    if "is not a valid bool" in why:
        return "allowed: true or false"
    return "allowed: anything but null" if "is not Optional" in why else why


def _as_typed(key: str) -> str:
    return next((word for word in reversed(sys.argv) if word.lstrip("+~").split("=")[0] == key), key)


def _first(error: BaseException) -> str:
    """The first line of the error that started it all."""
    cause = _first_cause(error)
    return str(cause).partition("\n")[0] or type(cause).__name__


def _first_cause(error: BaseException) -> BaseException:
    """OmegaConf's own error, else the deepest; under a debugger OmegaConf's has causes of its own, half made."""
    while error.__cause__ is not None and not isinstance(error, OmegaConfBaseException):
        error = error.__cause__
    return error
