"""One config that Hydra composed, and its copies with other values of the scalar factors.

Resolving interpolations costs milliseconds, so it is done once for many combinations: see `Composition`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate.cli.hydra_errors import refused
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import flatten
from ablate.core.levels import Level, show
from ablate.planning import own_code, parts, schema
from ablate.planning.cells import exactly
from ablate.planning.interpolations import references


@dataclass(frozen=True)
class Factor:
    """A key with several levels on a line.

    Attributes:
        name: the key.
        levels: as Hydra parsed them.
        is_group: whether the key is a group of the config, and its levels are options.
        may_add: whether the key was typed with +, and may be new to the config.
    """

    name: str
    levels: Sequence[Any]
    is_group: bool
    may_add: bool


class Composition:
    """A config that Hydra composed for one combination of groups; gives the config at any levels of the scalars.

    A scalar that no interpolation can read is free: its level is put into a copy of a config that was resolved for
    other levels of it, as OmegaConf converted the level the first time. Interpolations are resolved once for each
    combination of the other scalars. Where that fails, the config is resolved for its own levels: so every error is the
    one that resolving each cell gives.

    Args:
        cfg: what Hydra composed.
        choices: the option chosen for each group.
        factors: the scalar factors that are set in it.
        identified: data sets that were identified, by their config; the compositions of a line share it, so that
            files are listed once for many cells.
    """

    def __init__(
        self, cfg: DictConfig, choices: Mapping[str, str], factors: Sequence[Factor], identified: dict[str, Config]
    ) -> None:
        unresolved = _plain(cfg, resolve=False)
        self.cfg, self.choices, self.factors, self.identified = cfg, choices, factors, identified
        self.derived = {key for key, value in flatten(unresolved).items() if _is_derived(value)}
        self._free = _free(factors, unresolved)
        self._bound = [factor for factor in factors if factor not in self._free]
        self._resolved: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._converted: dict[tuple[str, Any], Any] = {}

    def resolved(self, level_of: Mapping[str, Any]) -> Config:
        """Return the resolved config at these levels, checked. It shares with others what is equal in them.

        Raises:
            UsageError: a value is not allowed.
        """
        try:
            return _checked(self._patched(level_of), self.identified)
        except (UsageError, OmegaConfBaseException):
            self._set_all(self.cfg, level_of)
            return _checked(interpolated(self.cfg), self.identified)

    def resolved_with(self, level_of: Mapping[str, Any], values: Mapping[str, Level]) -> Config:
        """Return the same with further keys at these values; raise UsageError for a value that is not allowed."""
        cfg = copy.deepcopy(self.cfg)
        self._set_all(cfg, level_of)
        for key, value in values.items():
            _set(cfg, Factor(key, (), is_group=False, may_add=False), value, self.choices)
        return _checked(interpolated(cfg), self.identified)

    def _patched(self, level_of: Mapping[str, Any]) -> dict[str, Any]:
        key = tuple(exactly(level_of[factor.name]) for factor in self._bound)
        if key not in self._resolved:
            self._set_all(self.cfg, level_of)
            self._resolved[key] = interpolated(self.cfg)
        config = dict(self._resolved[key])
        copied: dict[str, dict[str, Any]] = {"": config}
        for factor in self._free:
            above, _, last = factor.name.rpartition(".")
            _own(copied, above)[last] = self._convert(factor, level_of[factor.name])
        return config

    def _convert(self, factor: Factor, level: Any) -> Any:
        """Return the level as its key holds it: 1e-2 typed for a number is 0.01, and 1 for a float is 1.0."""
        key = (factor.name, exactly(level))
        if key not in self._converted:
            _set(self.cfg, factor, level, self.choices)
            value = OmegaConf.select(self.cfg, factor.name, throw_on_missing=True)
            self._converted[key] = value.name if isinstance(value, Enum) else value
        return self._converted[key]

    def _set_all(self, cfg: DictConfig, level_of: Mapping[str, Any]) -> None:
        for factor in self.factors:
            _set(cfg, factor, level_of[factor.name], self.choices)


def resolve(cfg: DictConfig) -> Config:
    """Return the resolved config, checked, with the content that identifies a data set of a user's own files.

    Raises:
        UsageError: a value is not allowed.
    """
    return _checked(interpolated(cfg), {})


def interpolated(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain values, with its interpolations resolved; it is not checked yet."""
    return _plain(cfg, resolve=True)


def _checked(config: dict[str, Any], identified: dict[str, Config]) -> Config:
    """Check a config, and fill in what identifies its code and its data; `identified` keeps it for other cells."""
    schema.check(config)
    for name in parts.GROUPS_WITH_A_TARGET:
        key = f"code of {config[name]['_target_']}"
        if key not in identified:
            identified[key] = own_code.fingerprint_of(config[name])
        if identified[key]:
            config[name] = config[name] | identified[key]
    for identify in parts.hooks({"dataset": config["dataset"]}, "identify"):
        key = repr(config["dataset"])
        if key not in identified:
            content = identify(config)
            # where the group has no such key, a known data set has none either: its trials keep their identity
            added = {"content": content} if content is not None or "content" in config["dataset"] else {}
            identified[key] = config["dataset"] | added
        config["dataset"] = identified[key]
    return config


def _plain(cfg: DictConfig, *, resolve: bool) -> dict[str, Any]:
    config = OmegaConf.to_container(cfg, resolve=resolve, throw_on_missing=True, enum_to_str=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def _is_derived(value: object) -> bool:
    """Return whether the value follows from another choice.

    One that follows from `dispatch` does not count: no margin is made of how many processes train a trial.
    """
    return isinstance(value, str) and "${" in value.replace("${dispatch.", "")


def _own(copied: dict[str, dict[str, Any]], path: str) -> dict[str, Any]:
    """Return the mapping at a dotted path of `copied[""]`, after copying it and the mappings that hold it."""
    if path not in copied:
        above, _, last = path.rpartition(".")
        holder = _own(copied, above)
        holder[last] = copied[path] = dict(holder[last])
    return copied[path]


def _free(factors: Sequence[Factor], unresolved: Config) -> list[Factor]:
    """Return the factors whose levels are plain, and that no interpolation and no other factor can read."""
    read = references(unresolved)
    names = [factor.name for factor in factors]
    if read is None or any("${" in repr(level) for factor in factors for level in factor.levels):
        return []
    return [
        factor
        for factor in factors
        if re.fullmatch(r"\w+(\.\w+)*", factor.name)
        and all(isinstance(level, Level) and level != "???" for level in factor.levels)
        and not any(reference.meets(factor.name) for reference in read)
        and sum(f"{name}.".startswith(f"{factor.name}.") or factor.name.startswith(f"{name}.") for name in names) == 1
    ]


def _set(cfg: DictConfig, factor: Factor, value: Any, choices: Mapping[str, str]) -> None:
    try:
        OmegaConf.update(cfg, factor.name, value, merge=False, force_add=factor.may_add)
    except OmegaConfBaseException as error:
        group = factor.name.partition(".")[0]
        holder = f"{group}={choices[group]}" if group in choices else None
        raise UsageError(refused(f"{factor.name}={show(value)}", error, holder)) from error
