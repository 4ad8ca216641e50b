"""Hydra's command line -> the trials of a study."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ablate.cli.app import Composed
from ablate.core.errors import UsageError
from ablate.core.identity import FOR_A_STUDY, OUTSIDE_IDENTITY
from ablate.core.levels import Level, show
from ablate.core.study import Cell, Study, Trial
from ablate.planning import adaptive
from ablate.planning.adaptive import Auto, TrialFactory
from ablate.planning.compose import Combination, Grid, grid, ours, resolved, settled
from ablate.planning.contrasts import Pair, pairs
from ablate.planning.presets import Preset, read
from ablate.planning.search_space import Space
from ablate.planning.settings import Settings
from ablate.planning.tuning import TunedCell, Tuning


@dataclass(frozen=True)
class Plan:
    """A study, and the settings that say where and how it runs, never what it computes.

    `configs` holds one resolved config a cell, `prepare` keys included. A study that tunes, or that adds seeds where
    they decide, has further trials once results are there, made by `maker`; with `tuning` it begins with none.
    `seeds`: of each cell, to begin with.
    """

    study: Study
    settings: Settings
    configs: Mapping[Cell, Mapping[str, Any]]
    maker: TrialFactory
    seeds: Mapping[Cell, int]
    tuning: Tuning | None = None
    tuned: Sequence[TunedCell] = ()
    auto: Auto | None = None

    @property
    def cell_configs(self) -> list[Mapping[str, Any]]:
        return list(self.configs.values())

    @property
    def is_adaptive(self) -> bool:
        """Whether results decide on further trials."""
        return bool(self.tuning or self.auto)

    @property
    def coming(self) -> dict[Cell, int]:
        """Trials of each cell that are known only once results are there, where their number is fixed."""
        return adaptive.coming(self.tuning, self.tuned, self.seeds)

    @property
    def notes(self) -> list[str]:
        """How the trials come about that are not in `study` yet."""
        seeds, drawn = max(self.seeds.values()), self.maker.drawn
        later = adaptive.notes(self.tuning, self.tuned, drawn, self.auto, seeds, len(self.configs))
        return [*_of_design(self.study.metadata.get("design", {})), *later]


def one_trial(composed: Composed) -> Plan:
    """The plan of a line without -m: one trial, with `seed`."""
    for typed in composed.typed:
        key = re.split(r"[=@]", typed.lstrip("+~"), maxsplit=1)[0].split(".")[0]
        if key == "seeds":
            raise UsageError(f"{typed}: seeds is for a study, with -m; without -m there is one trial, and seed=N")
        if key in FOR_A_STUDY:
            raise UsageError(f"{typed}: {key} is for a study; allowed: with -m")
    choices = ours(composed.choices)
    _refuse_smoke(resolved(composed.config)["scale"])
    config = settled(composed.config)
    if config["dispatch"]["executor"] == "cluster":
        raise UsageError("dispatch=cluster: without -m a trial runs in this process; allowed: with -m")
    workers = config["dispatch"]["workers_per_trial"]
    if workers > 1:
        raise UsageError(f"dispatch.workers_per_trial={workers}: without -m a trial runs in this process; allowed: 1")
    cell = Cell(())
    maker = TrialFactory({cell: Combination(config, choices, lambda values: config)}, {})
    trials = [maker.trial(cell, config["seed"])]
    return Plan(Study(_name(config, {}, [choices]), {}, trials), Settings.of(config), {cell: config}, maker, {cell: 1})


def sweep(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> Plan:
    """The plan of a line with -m: every combination of the levels typed, `seeds` trials each; or a preset's.

    Raises:
        UsageError: a level is of the wrong type, out of range, or of a key that cannot be a factor.
    """
    asked = _preset(loader, master, arguments)
    spaces, lines = adaptive.taken(asked.lines)
    grids = [grid(loader, master, line) for line in lines]
    combinations = [combination for one in grids for combination in one.combinations]
    factors = grids[0].swept if len(grids) == 1 else _differing(grids, asked.follows)
    cells: dict[Cell, Combination] = {}
    for combination in combinations:
        cell = Cell(tuple((name, combination.level(name)) for name in factors))
        twin = cells.setdefault(cell, combination)
        if twin.config != combination.config:
            raise UsageError(f"preset={asked.name}: {_two_in_one_cell(cell, twin, combination)}")

    config = combinations[0].config
    maker = TrialFactory(cells, adaptive.nuisance_space(spaces["nuisance"], cells, factors))
    tuning, tuned = adaptive.tuned_cells(spaces["tune.space"], config, maker, factors)
    levels = {name: list(dict.fromkeys(dict(cell.levels)[name] for cell in cells)) for name in factors}
    if len(grids) == 1:
        levels = {name: list(its) for name, its in grids[0].factors.items()}
    design = grids[0].terms if all(one.terms == grids[0].terms for one in grids) else {}
    auto = adaptive.auto(config, functools.partial(_pairs, list(cells), levels, asked.contrast, design))
    seeds = {cell: adaptive.first_seeds(one.config) for cell, one in cells.items()}
    trials = [one for cell in cells for one in maker.trials(cell, [tuning.seed] if tuning else range(seeds[cell]))]
    _refuse_twins(trials)
    how = ["tuned"] * bool(tuning) + [f"nuisance-{_digest(maker.drawn)}"] * bool(maker.drawn)
    name = _name(config, levels, [one.choices for one in cells.values()], asked.name, how)
    _refuse_idle(asked, grids)
    derived = set(asked.follows).union(*(one.derived for one in grids))
    derived &= {key for trial in trials for key in trial.params} - levels.keys()
    derived |= {key for one in tuned for key in one.space}
    terms = {**design} | adaptive.terms(tuning, tuned, maker.drawn, auto)
    study = Study(name, levels, [] if tuning else trials, sorted(derived - maker.drawn.keys()), asked.contrast, terms)
    configs = {cell: one.config for cell, one in cells.items()}
    return Plan(study, Settings.of(config), configs, maker, seeds, tuning, tuned, auto)


def _digest(space: Space) -> str:
    """Tells one space from another in a study's name: margins over one are not to be pooled with those over another."""
    return hashlib.sha256(repr(sorted(space.items())).encode()).hexdigest()[:6]


def _of_design(said: Mapping[str, Any]) -> list[str]:
    """Around which cell a study's design lies."""
    told = [
        f"{name}: {Cell(tuple(said[key].items()))}"
        for name, key in (("reference", "reference"), ("bare cell", "bare"))
        if said.get(key)
    ]
    return [f"design={said['kind']}, {', '.join(told)}"] if told else []


def _pairs(
    cells: Sequence[Cell],
    levels: Mapping[str, Sequence[Level]],
    contrast: tuple[str, Sequence[Level]] | None,
    design: Mapping[str, Any],
) -> list[Pair]:
    """The pairs of cells whose margins the study's report tells."""
    base = design.get("design", {}).get("base")
    return pairs(cells, levels, contrast, Cell(tuple(base.items())) if base else None)


def _preset(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> Preset:
    """The preset that a line asks for; without one, the line itself as the one grid of a study."""
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    asked = {one.key_or_group: one for one in overrides if one.key_or_group in ("preset", "scale")}
    twice = [word for word, one in zip(words, overrides, strict=True) if one.key_or_group == "preset"]
    if len(twice) > 1:
        raise UsageError(f"{' '.join(twice)}: allowed: one preset for a study")
    for name, one in asked.items():
        if one.is_sweep_override():
            raise UsageError(f"{one.input_line}: {name} is one for a study; allowed: one of its levels")
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
            raise UsageError(f"preset={asked.name}: its file names {key}, which none of its lines sets")


def _refuse_smoke(scale: Any) -> None:
    if scale == "smoke":
        raise UsageError("scale=smoke: for a preset; allowed: with -m preset=NAME")


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
            raise UsageError(f"{twin.cell} and {trial.cell} are the same network and recipe; drop one of them")


def _name(
    config: Mapping[str, Any],
    factors: Mapping[str, Sequence[Level]],
    choices: Iterable[Mapping[str, str]],
    preset: str | None = None,
    how: Sequence[str] = (),
) -> str:
    """`study`, or the preset, or the data set and the swept factors, so that unlike studies don't pool."""
    name: str | None = config["study"] or preset
    if name is None:
        datasets = "+".join(dict.fromkeys(choice["dataset"] for choice in choices))
        kind = config["design"]["kind"]
        varied = sorted(factor for factor in factors if factor != "dataset")
        return "-".join([datasets, *varied, *([kind] * (kind != "full")), *how])
    if not re.fullmatch(r"\w[\w.+-]{,99}", name):
        raise UsageError(f"study={show(name)}: allowed: up to 100 letters, digits, and _ . + - after the first")
    return name
