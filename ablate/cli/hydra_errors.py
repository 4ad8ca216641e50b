"""Turns errors of Hydra, OmegaConf and YAML into one line that says what is allowed."""

from __future__ import annotations

import difflib
import re
import sys

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from ablate.core.errors import UsageError
from ablate.core.expression import quoted
from ablate.core.identity import FOR_THE_PLAN_ONLY

DESIGN_KEYS = "design.fraction with design=fractional, design.cells and design.seed with design=random"

_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}

_NOT_FOR_PEOPLE = ("hydra", "_target_", "_partial_", *FOR_THE_PLAN_ONLY)


def error_line(error: BaseException, *, sweeps: bool) -> str:
    """Return one line for an error of ours, of Hydra, of OmegaConf or of YAML.

    `sweeps` says whether the command takes -m.
    """
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


def refused(typed: str, error: BaseException, owner: str | None = None) -> str:
    """Return one line for an override that OmegaConf refused: what was typed, why, and what is allowed.

    `owner` is the group's choice that lacks the key, where it is known, such as norm=bn.
    """
    cause = _first_cause(error)
    parent = getattr(cause, "parent_node", None)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(parent, DictConfig):
        keys = [str(key) for key in parent if key not in _NOT_FOR_PEOPLE]
        close = difflib.get_close_matches(str(cause.key), keys, n=1)
        hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(keys)}"
        return f"{typed}: {f'{owner} has' if owner else ''} no such key; {hint}".replace(":  ", ": ")
    return f"{typed}: {_allowed(_first(error))}"


def _allowed(reason: str) -> str:
    """Turn OmegaConf's reason for refusing a value into the values that it allows."""
    kind = re.search(r"could not be converted to (\w+)", reason)
    if kind and kind[1] in _KINDS:
        return f"allowed: {_KINDS[kind[1]]}"
    options = re.search(r"expected one of \[(.*)\]", reason)
    if options:
        return f"allowed: {options[1]}"
    if "Union[int, str]" in reason:
        return "allowed: a whole number, or auto"
    if "Union[int, float]" in reason:
        return "allowed: a number"
    if "to string" in reason:
        return "allowed: text"
    if "is not a ListConfig" in reason:
        return "allowed: a list in brackets: [a,b]"
    if "is not a valid bool" in reason:
        return "allowed: true or false"
    return "allowed: anything but null" if "is not Optional" in reason else reason


def _as_typed(key: str) -> str:
    return next((word for word in reversed(sys.argv) if word.lstrip("+~").split("=")[0] == key), key)


def _first(error: BaseException) -> str:
    """Return the first line of the error at the origin of this one."""
    cause = _first_cause(error)
    return str(cause).partition("\n")[0] or type(cause).__name__


def _first_cause(error: BaseException) -> BaseException:
    """Return OmegaConf's own error, or else the deepest cause.

    Under a debugger OmegaConf's error has causes of its own, which are incomplete.
    """
    while error.__cause__ is not None and not isinstance(error, OmegaConfBaseException):
        error = error.__cause__
    return error
