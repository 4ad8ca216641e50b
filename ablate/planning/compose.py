"""From the words after -m to combinations of levels. Hydra composes once for each combination of groups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from ablate.cli.hydra_errors import DESIGN_KEYS
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import OUTSIDE_IDENTITY, flatten
from ablate.core.levels import Level, as_level
from ablate.planning.cells import Design, Selection
from ablate.planning.composition import Composition, Factor
from ablate.planning.typed_selection import KEYS, typed_selection

GROUPS = ("model", "norm", "dataset", "recipe", "dispatch", "track")


@dataclass(frozen=True, slots=True)
class Combination:
    """One level of every swept key of a grid.

    Attributes:
        config: resolved. What is equal in two configs may be one object in both: never change it.
        choices: the option chosen for each group.
        resolve: takes further values by key, and returns the config with them, resolved and checked. It raises
            UsageError for a value that is not allowed here.
    """

    config: Config
    choices: Mapping[str, str]
    resolve: Callable[[Mapping[str, Level]], Config] = field(compare=False, repr=False)

    @property
    def flat(self) -> dict[str, Any]:
        """The config with dotted keys."""
        return flatten(self.config)

    def level(self, name: str) -> Level:
        """Return the level of a factor here; None for a key that this config does not have."""
        if name in self.choices:
            return self.choices[name]
        value: Any = self.config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return as_level(value if isinstance(value, Mapping) else flatten({name: value})[name])


@dataclass(frozen=True)
class Grid:
    """The cells of one line.

    Attributes:
        combinations: one for each cell, in the order of the full grid.
        factors: the keys that were typed with several levels, each with its levels in effect.
        typed: all keys that were typed, the factors and the ones with a single level.
        derived: the keys that take their values from another choice.
        design: what a report must know of the design; None for a full grid.
    """

    combinations: Sequence[Combination]
    factors: Mapping[str, Sequence[Level]]
    typed: Sequence[str]
    derived: set[str]
    design: Design | None


def grid(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> Grid:
    """Return the cells of one line, composed once per combination of groups and of the factors that are set.

    Raises:
        UsageError: a word, a level or a value is not allowed.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    _refuse_seed(parsed)
    typed, design = typed_selection(parsed), _design(loader, master, parsed)
    overrides = [override for override in parsed if _node(override) not in KEYS]
    zipped = [name for names in typed.zip for name in names]
    factor_of = {
        override.key_or_group: _factor(loader, override, zipped)
        for override in overrides
        if override.is_sweep_override()
    }
    factors = list(factor_of.values())
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    group_names = [factor.name for factor in factors if factor.is_group]
    selection = Selection({factor.name: factor.levels for factor in factors}, group_names, typed, design)

    compositions: dict[tuple[Any, ...], Composition] = {}
    combinations: list[Combination] = []
    identified: dict[str, Config] = {}
    points = selection.points()
    for point in points:
        level_of = selection.levels(point)
        scalars = [factor for factor in factors if not factor.is_group and factor.name in level_of]
        key = (*(level_of[name] for name in group_names), *(scalar.name for scalar in scalars))
        if key not in compositions:
            chosen = [f"{name}={level_of[name]}" for name in group_names]
            composed = _without_hydra(loader.load_sweep_config(master, [*fixed, *chosen]))
            compositions[key] = Composition(*composed, scalars, identified)
        composition = compositions[key]
        config = composition.resolved(level_of)
        resolve = functools.partial(composition.resolved_with, level_of)
        combinations.append(Combination(config, composition.choices, resolve))
    cells = [{name: combination.level(name) for name in factor_of} for combination in combinations]
    return Grid(
        combinations=combinations,
        factors={name: selection.in_order(name, points, [cell[name] for cell in cells]) for name in factor_of},
        typed=[override.key_or_group for override in overrides if _node(override) != "design"],
        derived=set().union(*(composition.derived for composition in compositions.values())),
        design=selection.metadata(lambda point: cells[points.index(point)]),
    )


def _node(override: Override) -> str:
    """Return the first part of the key that a word sets."""
    return override.key_or_group.split(".")[0]


def _design(loader: ConfigLoader, master: DictConfig, overrides: Sequence[Override]) -> Config:
    """Return the values of the design that a line names; without one, of the full grid."""
    typed = [override for override in overrides if _node(override) == "design"]
    if not typed:
        return {"kind": "full"}
    options = ", ".join(sorted(loader.get_group_options("design", ObjectType.CONFIG)))
    for override in typed:
        if override.is_sweep_override():
            raise UsageError(f"{override.input_line}: a study has one design; allowed: one of {options}")
    named = [str(override.input_line) for override in typed if override.key_or_group == "design"]
    cfg = loader.load_sweep_config(master, named)
    choice = cfg.hydra.runtime.choices.get("design")
    values = OmegaConf.to_container(cfg.design, resolve=True) if choice and "design" in cfg else None
    if not isinstance(values, dict) or "kind" not in values:
        raise UsageError(f"{' '.join(str(override.input_line) for override in typed)}: allowed: one of {options}")
    design = {str(key): value for key, value in values.items()}
    for override in typed:
        key = override.key_or_group.partition(".")[2]
        if key and (key == "kind" or key not in design):
            raise UsageError(f"{override.input_line}: this design has no such key; allowed: {DESIGN_KEYS}")
        if key:
            design[key] = override.value()
    return design


def _factor(loader: ConfigLoader, override: Override, zipped: Collection[str]) -> Factor:
    """Return one key with its levels; a level of a zipped key may repeat."""
    name = override.key_or_group
    if name == "seeds":
        raise UsageError(f"{override.input_line}: seeds is the number of replicates; allowed: one whole number")
    if name.split(".")[0] in OUTSIDE_IDENTITY or name in OUTSIDE_IDENTITY:
        raise UsageError(f"{override.input_line}: {name} says where or how a trial runs; it cannot be a factor")
    if not override.is_discrete_sweep():
        raise UsageError(f"{override.input_line}: allowed: a,b  range(1,4)  choice(a,b)  glob(*)")
    options = loader.get_group_options(name, ObjectType.CONFIG)
    texts = list(override.sweep_string_iterator())
    if name not in zipped:
        texts = list(dict.fromkeys(texts))
    if not texts:
        raise UsageError(f"{override.input_line}: no level matches; allowed: {', '.join(sorted(options))}")
    if options:
        return Factor(name, texts, is_group=True, may_add=False)
    parser = OverridesParser.create()
    values = [parser.parse_override(f"{name}={text}").value() for text in texts]
    return Factor(name, values, is_group=False, may_add=override.is_add() or override.is_force_add())


def _refuse_seed(overrides: Iterable[Override]) -> None:
    for override in overrides:
        if override.key_or_group == "seed":
            raise UsageError(f"{override.input_line}: seed is for one trial, without -m; allowed with -m: seeds=N")


def _without_hydra(composed: DictConfig) -> tuple[DictConfig, dict[str, str]]:
    """Return a config of the app's own keys, and the option chosen for each of its groups."""
    choices = app_choices(composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    return composed, choices


def app_choices(choices: Mapping[str, str]) -> dict[str, str]:
    """Return the option chosen for each of the app's own groups.

    Raises:
        UsageError: a group has no option. It was taken out with ~, or several options were typed in brackets, which
            Hydra merges into one config.
    """
    ours = {group: choice for group, choice in choices.items() if choice and not group.startswith("hydra/")}
    for group in GROUPS:
        if group not in ours:
            raise UsageError(f"{group}: allowed: one of its options; levels of a factor are -m {group}=a,b")
    return ours
