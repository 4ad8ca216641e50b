"""Hydra's command line -> the trials of a study."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ablate.cli import Composed
from ablate.design import (
    NUMERICS,
    OUTSIDE_IDENTITY,
    Cell,
    Level,
    Mistake,
    Study,
    Trial,
    flatten,
    science,
    show,
    trial_id,
)
from ablate.grid import Combination, Grid, grid, ours, resolved, settled
from ablate.preset import Preset, read


@dataclass(frozen=True)
class Plan:
    """A study, and the settings that say where and how it runs, never what it computes.

    `cell_configs` holds one resolved config a cell, `prepare` keys included.
    """

    study: Study
    settings: Mapping[str, Any]
    cell_configs: Sequence[Mapping[str, Any]]


def one_trial(composed: Composed) -> Plan:
    """The plan of a line without -m: one trial, with `seed`."""
    for typed in composed.typed:
        if typed.startswith("seeds="):
            raise Mistake(f"{typed}: seeds is for a study, with -m; without -m there is one trial, and seed=N")
    if composed.choices.get("preset"):
        raise Mistake(f"preset={composed.choices['preset']}: a preset is a study; allowed: with -m")
    choices = ours(composed.choices)
    _refuse_smoke(resolved(composed.config)["scale"])
    config = settled(composed.config)
    trials = list(_trials(Cell(()), config, choices, [config["seed"]]))
    return Plan(Study(_name(config, {}, [choices]), {}, trials), _settings(config), [config])


def sweep(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> Plan:
    """The plan of a line with -m: every combination of the levels typed, `seeds` trials each; or a preset's.

    Raises:
        Mistake: a level is of the wrong type, out of range, or of a key that cannot be a factor.
    """
    asked = _preset(loader, master, arguments)
    grids = [grid(loader, master, line) for line in asked.lines]
    combinations = [combination for one in grids for combination in one.combinations]
    factors = grids[0].swept if len(grids) == 1 else _differing(grids, asked.follows)
    cells: dict[Cell, Combination] = {}
    for combination in combinations:
        cell = Cell(tuple((name, combination.level(name)) for name in factors))
        twin = cells.setdefault(cell, combination)
        if twin.config != combination.config:
            raise Mistake(f"preset={asked.name}: {_two_in_one_cell(cell, twin, combination)}")

    trials = [
        trial
        for cell, one in cells.items()
        for trial in _trials(cell, one.config, one.choices, range(one.config["seeds"]))
    ]
    _refuse_twins(trials)
    levels = {name: list(dict.fromkeys(dict(cell.levels)[name] for cell in cells)) for name in factors}
    config = combinations[0].config
    name = _name(config, levels, [one.choices for one in cells.values()], asked.name)
    _refuse_idle(asked, grids)
    derived = set(asked.follows).union(*(one.derived for one in grids))
    derived &= {key for trial in trials for key in trial.params} - levels.keys()
    study = Study(name, levels, trials, sorted(derived), asked.contrast)
    return Plan(study, _settings(config), [one.config for one in cells.values()])


def _preset(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> Preset:
    """The preset that a line asks for; without one, the line itself as the one grid of a study."""
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    asked = {one.key_or_group: one for one in overrides if one.key_or_group in ("preset", "scale")}
    twice = [word for word, one in zip(words, overrides, strict=True) if one.key_or_group == "preset"]
    if len(twice) > 1:
        raise Mistake(f"{' '.join(twice)}: allowed: one preset for a study")
    for name, one in asked.items():
        if one.is_sweep_override():
            raise Mistake(f"{one.input_line}: {name} is one for a study; allowed: one of its levels")
    preset = asked["preset"].value() if "preset" in asked else None
    if preset is None:
        if "scale" in asked:
            _refuse_smoke(asked["scale"].value())
        return Preset([words])
    pairs = list(zip(words, overrides, strict=True))
    cfg = loader.load_sweep_config(master, [word for word, one in pairs if one.key_or_group in asked])
    values = OmegaConf.to_container(cfg.preset, resolve=True)
    typed = [word for word, one in pairs if one.key_or_group != "preset"]
    return read(str(preset), values, typed, smoke=cfg.scale.name == "smoke")


def _refuse_idle(asked: Preset, grids: Sequence[Grid]) -> None:
    """A preset's key that names nothing in its lines would do nothing, silently."""
    typed = {name for one in grids for name in one.typed}
    for key in (*asked.follows, *([asked.contrast[0]] if asked.contrast else [])):
        if key not in typed:
            raise Mistake(f"preset={asked.name}: its file names {key}, which none of its lines sets")


def _refuse_smoke(scale: Any) -> None:
    if scale == "smoke":
        raise Mistake("scale=smoke: for a preset; allowed: with -m preset=NAME")


def _differing(grids: Sequence[Grid], follows: Sequence[str]) -> list[str]:
    """The keys typed in a preset's lines that differ between its cells, beside those that only follow."""
    combinations = [combination for one in grids for combination in one.combinations]
    names = dict.fromkeys(name for one in grids for name in one.typed)
    return [
        name
        for name in names
        if name not in (*follows, *OUTSIDE_IDENTITY) and len({show(one.level(name)) for one in combinations}) > 1
    ]


def _two_in_one_cell(cell: Cell, first: Combination, second: Combination) -> str:
    key = next(key for key in {**first.flat, **second.flat} if first.level(key) != second.level(key))
    levels = f"{show(first.level(key))} and {show(second.level(key))}"
    where = str(cell) or "without factors"
    return f"two of its lines make the cell {where}, with {key} {levels}; allowed: one {key} for all, on this line"


def _refuse_twins(trials: Iterable[Trial]) -> None:
    """Two cells that resolve to the same config would silently be one."""
    seen: dict[str, Trial] = {}
    for trial in trials:
        twin = seen.setdefault(trial.trial_id, trial)
        if twin.cell != trial.cell:
            raise Mistake(f"{twin.cell} and {trial.cell} are the same network and recipe; drop one of them")


def _trials(cell: Cell, config: Mapping[str, Any], choices: Mapping[str, str], seeds: Iterable[int]) -> Iterator[Trial]:
    """The trials of a cell; what is equal in them is one object."""
    shared = science(config)
    chosen = {group: choice for group, choice in choices.items() if group in shared}
    flat = {key: value for key, value in flatten(shared).items() if key not in OUTSIDE_IDENTITY}
    for seed in seeds:
        seeded = shared | {"seed": seed}
        yield Trial(cell, seed, seeded, chosen | flat | {"seed": seed, "numerics": NUMERICS}, trial_id(seeded))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in OUTSIDE_IDENTITY if key in config}


def _name(
    config: Mapping[str, Any],
    factors: Mapping[str, Sequence[Level]],
    choices: Iterable[Mapping[str, str]],
    preset: str | None = None,
) -> str:
    """`study`, or the preset, or the data set and the swept factors, so that unlike studies don't pool."""
    name: str | None = config["study"] or preset
    if name is None:
        datasets = "+".join(dict.fromkeys(choice["dataset"] for choice in choices))
        return "-".join([datasets, *sorted(factor for factor in factors if factor != "dataset")])
    if not re.fullmatch(r"\w[\w.+-]{,99}", name):
        raise Mistake(f"study={show(name)}: allowed: up to 100 letters, digits, and _ . + - after the first")
    return name
