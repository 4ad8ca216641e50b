"""One line after -m -> every combination of its levels. Composes once per combination of groups.

Resolving interpolations costs milliseconds, so that too is done once for many cells: see `_Composition`.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ablate.cli.hydra_errors import DESIGN_KEYS, refused
from ablate.core.errors import UsageError
from ablate.core.identity import OUTSIDE_IDENTITY, flatten
from ablate.core.levels import Level, show
from ablate.planning import schema
from ablate.planning.cells import KEYS, Selection, asked, exactly
from ablate.planning.interpolations import references

GROUPS = ("model", "norm", "dataset", "recipe", "dispatch", "track")


@dataclass(frozen=True, slots=True)
class Combination:
    """One level of every swept key of a grid: its resolved config, and what was chosen for each group.

    What is equal in two configs may be one object in both: never change it. `settle` gives the config with further
    values in it, resolved and checked; it raises UsageError for one that is not allowed here.
    """

    config: Mapping[str, Any]
    choices: Mapping[str, str]
    settle: Callable[[Mapping[str, Level]], Mapping[str, Any]] = field(compare=False, repr=False)

    @property
    def flat(self) -> dict[str, Any]:
        return flatten(self.config)

    def level(self, name: str) -> Level:
        """The level of a factor here; None for a key that this config does not have."""
        if name in self.choices:
            return self.choices[name]
        value: Any = self.config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            return None
        value = flatten({name: value})[name]
        return value if isinstance(value, Level) else show(value)


@dataclass(frozen=True)
class Grid:
    """factors: the keys with levels typed, with those in effect. typed: they and the fixed ones. The rest: `Study`."""

    combinations: Sequence[Combination]
    factors: Mapping[str, Sequence[Level]]
    typed: Sequence[str]
    derived: set[str]
    terms: Mapping[str, Any]

    @property
    def swept(self) -> list[str]:
        return list(self.factors)


def grid(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> Grid:
    """The cells that one line asks for, composed once per combination of groups and of the factors that are set."""
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    _refuse_seed(parsed)
    said, design = asked(parsed), _design(loader, master, parsed)
    overrides = [one for one in parsed if one.key_or_group.split(".")[0] not in KEYS]
    zipped = [name for one in said.zip for name in one]
    factors = list(
        {one.key_or_group: _factor(loader, one, zipped) for one in overrides if one.is_sweep_override()}.values()
    )
    fixed = [str(one.input_line) for one in overrides if not one.is_sweep_override()]
    groups = [factor for factor in factors if factor.is_group]
    scalars = [factor for factor in factors if not factor.is_group]
    selection = Selection({one.name: one.levels for one in factors}, [one.name for one in groups], said, design)

    composed: dict[tuple[Any, ...], _Composition] = {}
    combinations: list[Combination] = []
    identified: dict[str, Mapping[str, Any]] = {}
    points = selection.points()
    for point in points:
        level_of = selection.levels(point)
        is_set = [scalar for scalar in scalars if scalar.name in level_of]
        key = (*(level_of[group.name] for group in groups), *(scalar.name for scalar in is_set))
        if key not in composed:
            chosen = [f"{group.name}={level_of[group.name]}" for group in groups]
            composed[key] = _Composition(*_without_hydra(loader.load_sweep_config(master, [*fixed, *chosen])), is_set)
        config = composed[key].settled(level_of, identified)
        settle = functools.partial(composed[key].settled_with, level_of, identified)
        combinations.append(Combination(config, composed[key].choices, settle))
    cells = [{one.name: combination.level(one.name) for one in factors} for combination in combinations]
    return Grid(
        combinations,
        {one.name: selection.in_order(one.name, points, [cell[one.name] for cell in cells]) for one in factors},
        [one.key_or_group for one in overrides if one.key_or_group.split(".")[0] != "design"],
        set().union(*(one.derived for one in composed.values())),
        selection.terms(lambda point: cells[points.index(point)]),
    )


def _design(loader: ConfigLoader, master: DictConfig, overrides: Sequence[Override]) -> dict[str, Any]:
    """The values of the design that a line names; without one, of the full grid."""
    said = [one for one in overrides if one.key_or_group.split(".")[0] == "design"]
    if not said:
        return {"kind": "full"}
    options = ", ".join(sorted(loader.get_group_options("design", ObjectType.CONFIG)))
    for one in said:
        if one.is_sweep_override():
            raise UsageError(f"{one.input_line}: a study has one design; allowed: one of {options}")
    cfg = loader.load_sweep_config(master, [str(one.input_line) for one in said if one.key_or_group == "design"])
    choice = cfg.hydra.runtime.choices.get("design")
    values = OmegaConf.to_container(cfg.design, resolve=True) if choice and "design" in cfg else None
    if not isinstance(values, dict) or "kind" not in values:
        raise UsageError(f"{' '.join(str(one.input_line) for one in said)}: allowed: one of {options}")
    design = {str(key): value for key, value in values.items()}
    for one in said:
        key = one.key_or_group.partition(".")[2]
        if key and (key == "kind" or key not in design):
            raise UsageError(f"{one.input_line}: this design has no such key; allowed: {DESIGN_KEYS}")
        if key:
            design[key] = one.value()
    return design


@dataclass(frozen=True)
class _Factor:
    name: str
    levels: Sequence[Any]
    is_group: bool
    may_add: bool


def _is_derived(value: Any) -> bool:
    """Whether it follows another choice; how many processes train a trial is none that a margin is made of."""
    return isinstance(value, str) and "${" in value.replace("${dispatch.", "")


class _Composition:
    """What Hydra composed for one combination of groups; gives the config of each combination of the scalars.

    A scalar that no interpolation can read is free: its level is put into a copy of a config that was resolved
    for other levels of it, as OmegaConf converted it the first time. Interpolations are resolved once for each
    combination of the others. Whatever goes wrong is told by the way that resolves every cell.
    """

    def __init__(self, cfg: DictConfig, choices: Mapping[str, str], factors: Sequence[_Factor]):
        unresolved = _plain(cfg, resolve=False)
        self.cfg, self.choices, self.factors = cfg, choices, factors
        self.derived = {key for key, value in flatten(unresolved).items() if _is_derived(value)}
        self._free = _free(factors, unresolved)
        self._bound = [factor for factor in factors if factor not in self._free]
        self._resolved: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._converted: dict[tuple[str, Any], Any] = {}

    def settled(self, level_of: Mapping[str, Any], identified: dict[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The resolved config at these levels, checked. It shares with others what is equal in them."""
        try:
            return _settled(self._patched(level_of), identified)
        except (UsageError, OmegaConfBaseException):
            self._set_all(level_of)
            return _settled(resolved(self.cfg), identified)

    def settled_with(
        self, level_of: Mapping[str, Any], identified: dict[str, Mapping[str, Any]], values: Mapping[str, Level]
    ) -> dict[str, Any]:
        """As `settled`, with further keys at these values."""
        cfg = copy.deepcopy(self.cfg)
        for factor in self.factors:
            _set(cfg, factor, level_of[factor.name], self.choices)
        for key, value in values.items():
            _set(cfg, _Factor(key, (), is_group=False, may_add=False), value, self.choices)
        return _settled(resolved(cfg), identified)

    def _patched(self, level_of: Mapping[str, Any]) -> dict[str, Any]:
        key = tuple(exactly(level_of[factor.name]) for factor in self._bound)
        if key not in self._resolved:
            self._set_all(level_of)
            self._resolved[key] = resolved(self.cfg)
        config = dict(self._resolved[key])
        copied: dict[str, dict[str, Any]] = {"": config}
        for factor in self._free:
            at, _, last = factor.name.rpartition(".")
            _own(copied, at)[last] = self._convert(factor, level_of[factor.name])
        return config

    def _convert(self, factor: _Factor, level: Any) -> Any:
        """The level as its key holds it: 1e-2 typed for a number is 0.01, and 1 for one with a point is 1.0."""
        key = (factor.name, exactly(level))
        if key not in self._converted:
            _set(self.cfg, factor, level, self.choices)
            value = OmegaConf.select(self.cfg, factor.name, throw_on_missing=True)
            self._converted[key] = value.name if isinstance(value, Enum) else value
        return self._converted[key]

    def _set_all(self, level_of: Mapping[str, Any]) -> None:
        for factor in self.factors:
            _set(self.cfg, factor, level_of[factor.name], self.choices)


def _own(copied: dict[str, dict[str, Any]], path: str) -> dict[str, Any]:
    """The mapping at a dotted path of `copied[""]`, made a copy of its own, as are those that hold it."""
    if path not in copied:
        above, _, last = path.rpartition(".")
        holder = _own(copied, above)
        holder[last] = copied[path] = dict(holder[last])
    return copied[path]


def _free(factors: Sequence[_Factor], unresolved: Mapping[str, Any]) -> list[_Factor]:
    """The factors whose levels are plain, and that no interpolation, and no other factor, can read."""
    read = references(unresolved)
    names = [factor.name for factor in factors]
    if read is None or any("${" in repr(level) for factor in factors for level in factor.levels):
        return []
    return [
        factor
        for factor in factors
        if re.fullmatch(r"\w+(\.\w+)*", factor.name)
        and all(isinstance(level, Level) and level != "???" for level in factor.levels)
        and not any(one.meets(factor.name) for one in read)
        and sum(f"{name}.".startswith(f"{factor.name}.") or factor.name.startswith(f"{name}.") for name in names) == 1
    ]


def _factor(loader: ConfigLoader, override: Override, zipped: Collection[str]) -> _Factor:
    """The levels of one key; of a zipped one some may be there twice."""
    name = override.key_or_group
    if name == "seeds":
        raise UsageError(f"{override.input_line}: seeds is the number of replicates; allowed: one whole number")
    if name.split(".")[0] in OUTSIDE_IDENTITY or name in OUTSIDE_IDENTITY:
        raise UsageError(f"{override.input_line}: {name} says where or how a trial runs; it cannot be a factor")
    if not override.is_discrete_sweep():
        raise UsageError(f"{override.input_line}: allowed: a,b  range(1,4)  choice(a,b)  glob(*)")
    is_group = bool(loader.get_group_options(name, ObjectType.CONFIG))
    texts = list(override.sweep_string_iterator())
    if name not in zipped:
        texts = list(dict.fromkeys(texts))
    if not texts:
        options = loader.get_group_options(name, ObjectType.CONFIG)
        raise UsageError(f"{override.input_line}: no level matches; allowed: {', '.join(sorted(options))}")
    if is_group:
        return _Factor(name, texts, is_group=True, may_add=False)
    parser = OverridesParser.create()
    values = [parser.parse_override(f"{name}={text}").value() for text in texts]
    return _Factor(name, values, is_group=False, may_add=override.is_add() or override.is_force_add())


def _refuse_seed(overrides: Iterable[Override]) -> None:
    for override in overrides:
        if override.key_or_group == "seed":
            raise UsageError(f"{override.input_line}: seed is for one trial, without -m; with -m say seeds=N")


def _set(cfg: DictConfig, factor: _Factor, value: Any, choices: Mapping[str, str]) -> None:
    try:
        OmegaConf.update(cfg, factor.name, value, merge=False, force_add=factor.may_add)
    except OmegaConfBaseException as error:
        group = factor.name.partition(".")[0]
        holder = f"{group}={choices[group]}" if group in choices else None
        raise UsageError(refused(f"{factor.name}={show(value)}", error, holder)) from error


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
            raise UsageError(f"{group}: allowed: one of its options; levels of a factor are -m {group}=a,b")
    return ours


def settled(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config, checked, with what identifies a data set of somebody's own files.

    Raises:
        UsageError: a value is not allowed.
    """
    return _settled(resolved(cfg), {})


def _settled(config: dict[str, Any], identified: dict[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`identified` keeps what was found, so that the files are listed once for many cells."""
    schema.check(config)
    for identify in schema.hooks({"dataset": config["dataset"]}, "identify"):
        asked = repr(config["dataset"])
        if asked not in identified:
            identified[asked] = {**config["dataset"], "content": identify(config)}
        config["dataset"] = identified[asked]
    return config


def resolved(cfg: DictConfig) -> dict[str, Any]:
    return _plain(cfg, resolve=True)


def _plain(cfg: DictConfig, *, resolve: bool) -> dict[str, Any]:
    config = OmegaConf.to_container(cfg, resolve=resolve, throw_on_missing=True, enum_to_str=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}
