"""One line after -m -> every combination of its levels. Composes once per combination of groups."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ablate import schema
from ablate.cli import refused
from ablate.design import OUTSIDE_IDENTITY, Level, Mistake, flatten, show

GROUPS = ("model", "norm", "dataset", "recipe", "dispatch", "track")


@dataclass(frozen=True)
class Combination:
    """One level of every swept key of a grid: its resolved config, and what was chosen for each group."""

    config: Mapping[str, Any]
    flat: Mapping[str, Any]
    choices: Mapping[str, str]

    def level(self, name: str) -> Level:
        """The level of a factor here; None for a key that this config does not have."""
        if name in self.choices:
            return self.choices[name]
        value = self.flat.get(name)
        return value if isinstance(value, Level) else show(value)


@dataclass(frozen=True)
class Grid:
    """swept: the keys with levels typed. typed: those and the fixed ones. derived: see `Study`."""

    combinations: Sequence[Combination]
    swept: Sequence[str]
    typed: Sequence[str]
    derived: set[str]


def grid(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> Grid:
    """Every combination of the levels in one line, composed once per combination of groups."""
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    _refuse_seed(overrides)
    factors = [_factor(loader, override) for override in overrides if override.is_sweep_override()]
    fixed = [typed for typed, override in zip(words, overrides, strict=True) if not override.is_sweep_override()]
    groups = [factor for factor in factors if factor.is_group]

    composed: dict[tuple[Any, ...], tuple[DictConfig, dict[str, str]]] = {}
    derived: set[str] = set()
    combinations: list[Combination] = []
    identified: dict[str, str | None] = {}
    for combination in itertools.product(*(factor.levels for factor in factors)):
        level_of = dict(zip((factor.name for factor in factors), combination, strict=True))
        key = tuple(level_of[group.name] for group in groups)
        if key not in composed:
            chosen = [f"{group.name}={level_of[group.name]}" for group in groups]
            composed[key] = _without_hydra(loader.load_sweep_config(master, [*fixed, *chosen]))
            derived |= _derived(composed[key][0])
        cfg, choices = composed[key]
        for factor in factors:
            if not factor.is_group:
                _set(cfg, factor, level_of[factor.name], choices)
        config = settled(cfg, identified)
        combinations.append(Combination(config, flatten(config), choices))
    return Grid(
        combinations, [factor.name for factor in factors], [override.key_or_group for override in overrides], derived
    )


@dataclass(frozen=True)
class _Factor:
    name: str
    levels: Sequence[Any]
    is_group: bool
    may_add: bool


def _factor(loader: ConfigLoader, override: Override) -> _Factor:
    name = override.key_or_group
    if name == "seeds":
        raise Mistake(f"{override.input_line}: seeds is the number of replicates; allowed: one whole number")
    if name.split(".")[0] in OUTSIDE_IDENTITY or name in OUTSIDE_IDENTITY:
        raise Mistake(f"{override.input_line}: {name} says where or how a trial runs; it cannot be a factor")
    if not override.is_discrete_sweep():
        raise Mistake(f"{override.input_line}: allowed: a,b  range(1,4)  choice(a,b)  glob(*)")
    is_group = bool(loader.get_group_options(name, ObjectType.CONFIG))
    texts = list(dict.fromkeys(override.sweep_string_iterator()))
    if not texts:
        options = loader.get_group_options(name, ObjectType.CONFIG)
        raise Mistake(f"{override.input_line}: no level matches; allowed: {', '.join(sorted(options))}")
    if is_group:
        return _Factor(name, texts, is_group=True, may_add=False)
    parser = OverridesParser.create()
    values = [parser.parse_override(f"{name}={text}").value() for text in texts]
    return _Factor(name, values, is_group=False, may_add=override.is_add() or override.is_force_add())


def _refuse_seed(overrides: Iterable[Override]) -> None:
    for override in overrides:
        if override.key_or_group == "seed":
            raise Mistake(f"{override.input_line}: seed is for one trial, without -m; with -m say seeds=N")


def _set(cfg: DictConfig, factor: _Factor, value: Any, choices: Mapping[str, str]) -> None:
    try:
        OmegaConf.update(cfg, factor.name, value, merge=False, force_add=factor.may_add)
    except OmegaConfBaseException as error:
        group = factor.name.partition(".")[0]
        holder = f"{group}={choices[group]}" if group in choices else None
        raise Mistake(refused(f"{factor.name}={show(value)}", error, holder)) from error


def _without_hydra(composed: DictConfig) -> tuple[DictConfig, dict[str, str]]:
    """A config of the app's own keys, and what was chosen for each of its groups."""
    choices = ours(composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    return composed, choices


def ours(choices: Mapping[str, str]) -> dict[str, str]:
    ours = {group: choice for group, choice in choices.items() if choice and not group.startswith("hydra/")}
    for group in GROUPS:
        if group not in ours:  # taken out with ~, or several options in brackets, which Hydra merges into one config
            raise Mistake(f"{group}: allowed: one of its options; levels of a factor are -m {group}=a,b")
    return ours


def settled(cfg: DictConfig, identified: dict[str, str | None] | None = None) -> dict[str, Any]:
    """The resolved config, checked, with what identifies a data set of somebody's own files.

    `identified` keeps what was found, so that the files are listed once for many cells.

    Raises:
        Mistake: a value is not allowed.
    """
    config = resolved(cfg)
    schema.check(config)
    known = {} if identified is None else identified
    for identify in schema.hooks({"dataset": config["dataset"]}, "identify"):
        asked = repr(config["dataset"])
        if asked not in known:
            known[asked] = identify(config)
        config["dataset"]["content"] = known[asked]
    return config


def resolved(cfg: DictConfig) -> dict[str, Any]:
    return _plain(cfg, resolve=True)


def _plain(cfg: DictConfig, *, resolve: bool) -> dict[str, Any]:
    config = OmegaConf.to_container(cfg, resolve=resolve, throw_on_missing=True, enum_to_str=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def _derived(cfg: DictConfig) -> set[str]:
    """The dotted keys whose values are interpolations of others."""
    return {
        key for key, value in flatten(_plain(cfg, resolve=False)).items() if isinstance(value, str) and "${" in value
    }
