"""Hydra's command line -> the trials of a study. Composes once per combination of groups."""

from __future__ import annotations

import itertools
import re
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
from ablate.cli import Composed, refused
from ablate.design import (
    FOR_THE_PLAN_ONLY,
    NUMERICS,
    OUTSIDE_IDENTITY,
    Cell,
    Level,
    Mistake,
    Study,
    Trial,
    flatten,
    show,
    trial_id,
)

GROUPS = ("model", "norm", "dataset", "recipe", "dispatch", "track")


@dataclass(frozen=True)
class Plan:
    """A study, and the settings that say where and how it runs, never what it computes.

    `cell_configs` holds one resolved config a cell, `prepare` keys included.
    """

    study: Study
    settings: Mapping[str, Any]
    cell_configs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Factor:
    name: str
    levels: Sequence[Any]
    is_group: bool
    may_add: bool


def one_trial(composed: Composed) -> Plan:
    """The plan of a line without -m: one trial, with `seed`."""
    for typed in composed.typed:
        if typed.startswith("seeds="):
            raise Mistake(f"{typed}: seeds is for a study, with -m; without -m there is one trial, and seed=N")
    choices = _ours(composed.choices)
    config = _resolved(composed.config)
    schema.check(config)
    trial = _trial(Cell(()), config, choices, config["seed"])
    return Plan(Study(_name(config, {}, [choices]), {}, [trial]), _settings(config), [config])


def sweep(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> Plan:
    """The plan of a line with -m: every combination of the levels typed, `seeds` trials each.

    Raises:
        Mistake: a level is of the wrong type, out of range, or of a key that cannot be a factor.
    """
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    _refuse_seed(overrides)
    factors = [_factor(loader, override) for override in overrides if override.is_sweep_override()]
    fixed = [typed for typed, override in zip(arguments, overrides, strict=True) if not override.is_sweep_override()]
    groups = [factor for factor in factors if factor.is_group]

    composed: dict[tuple[Any, ...], tuple[DictConfig, dict[str, str]]] = {}
    derived: set[str] = set()
    cells: dict[Cell, tuple[dict[str, Any], dict[str, str]]] = {}
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
        config = _resolved(cfg)
        schema.check(config)
        flat = flatten(config)
        typed = {f.name: level_of[f.name] if f.is_group else _level(flat, f.name) for f in factors}
        cells.setdefault(Cell(tuple(typed.items())), (config, choices))

    config = next(iter(cells.values()))[0]
    trials = [
        _trial(cell, config, choices, seed)
        for cell, (config, choices) in cells.items()
        for seed in range(config["seeds"])
    ]
    _refuse_twins(trials)
    levels = {factor.name: list(dict.fromkeys(dict(cell.levels)[factor.name] for cell in cells)) for factor in factors}
    name = _name(config, levels, [choices for _, choices in cells.values()])
    derived &= {key for trial in trials for key in trial.params} - levels.keys()
    study = Study(name, levels, trials, sorted(derived))
    return Plan(study, _settings(config), [config for config, _ in cells.values()])


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


def _refuse_twins(trials: Iterable[Trial]) -> None:
    """Two cells that resolve to the same config would silently be one."""
    seen: dict[str, Trial] = {}
    for trial in trials:
        twin = seen.setdefault(trial.trial_id, trial)
        if twin.cell != trial.cell:
            raise Mistake(f"{twin.cell} and {trial.cell} are the same network and recipe; drop one of them")


def _set(cfg: DictConfig, factor: _Factor, value: Any, choices: Mapping[str, str]) -> None:
    try:
        OmegaConf.update(cfg, factor.name, value, merge=False, force_add=factor.may_add)
    except OmegaConfBaseException as error:
        group = factor.name.partition(".")[0]
        holder = f"{group}={choices[group]}" if group in choices else None
        raise Mistake(refused(f"{factor.name}={show(value)}", error, holder)) from error


def _level(flat: Mapping[str, Any], name: str) -> Level:
    value = flat.get(name)
    return value if isinstance(value, Level) else show(value)


def _without_hydra(composed: DictConfig) -> tuple[DictConfig, dict[str, str]]:
    """A config of the app's own keys, and what was chosen for each of its groups."""
    choices = _ours(composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    return composed, choices


def _ours(choices: Mapping[str, str]) -> dict[str, str]:
    ours = {group: choice for group, choice in choices.items() if choice and not group.startswith("hydra/")}
    for group in GROUPS:
        if group not in ours:  # taken out with ~, or several options in brackets, which Hydra merges into one config
            raise Mistake(f"{group}: allowed: one of its options; levels of a factor are -m {group}=a,b")
    return ours


def _resolved(cfg: DictConfig) -> dict[str, Any]:
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


def _trial(cell: Cell, config: Mapping[str, Any], choices: Mapping[str, str], seed: int) -> Trial:
    science = {
        key: {k: v for k, v in value.items() if k not in FOR_THE_PLAN_ONLY} if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in OUTSIDE_IDENTITY
    }
    science["seed"] = seed
    chosen = {group: choice for group, choice in choices.items() if group in science}
    return Trial(cell, seed, science, chosen | flatten(science) | {"numerics": NUMERICS}, trial_id(science))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in OUTSIDE_IDENTITY if key in config}


def _name(
    config: Mapping[str, Any], factors: Mapping[str, Sequence[Level]], choices: Iterable[Mapping[str, str]]
) -> str:
    """`study`, or the data set and the swept factors, so that unlike studies don't pool."""
    name: str | None = config["study"]
    if name is None:
        datasets = "+".join(dict.fromkeys(choice["dataset"] for choice in choices))
        return "-".join([datasets, *sorted(factor for factor in factors if factor != "dataset")])
    if not re.fullmatch(r"\w[\w.+-]{,99}", name):
        raise Mistake(f"study={show(name)}: allowed: up to 100 letters, digits, and _ . + - after the first")
    return name
