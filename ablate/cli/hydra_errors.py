"""Errors of Hydra, OmegaConf and YAML, each as one line that says what is allowed."""

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


def one_line(error: BaseException, *, sweeps: bool) -> str:
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
