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
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.hypotheses import parse
from ablate.core.identity import FOR_A_STUDY, OUTSIDE_IDENTITY
from ablate.core.levels import Level, show
from ablate.core.study import Cell, Study, Trial
from ablate.planning import adaptive, study_name
from ablate.planning.adaptive import AutoSeeds
from ablate.planning.cells import Design
from ablate.planning.compose import Combination, Grid, app_choices, grid
from ablate.planning.composition import interpolated, resolve
from ablate.planning.contrasts import Pair, pairs
from ablate.planning.presets import Preset, read
from ablate.planning.search_space import Space
from ablate.planning.settings import Settings
from ablate.planning.trial_factory import TrialFactory
from ablate.planning.tuning import TunedCell, Tuning

REGISTERED = ("equivalence_pp", "collapsed_below")
"""Keys that a study registers before its first trial: chosen after a look at the results, they would bend verdicts."""


@dataclass(frozen=True)
class Plan:
    """A study, and what is needed to run it.

    A study with tuning, or with seeds=auto, gets further trials once results are there: `factory` makes them.

    Attributes:
        study: with the trials that are known from the start; none where cells are tuned first.
        settings: where and how it runs, never what it computes.
        configs: one resolved config for each cell, with the keys that serve the plan only.
        factory: makes the trials of its cells.
        seeds: of each cell, to begin with.
        tuning: how cells are tuned; None without tuning.
        tuned: the cells that are tuned.
        auto: how seeds are added; None where their number is fixed.
    """

    study: Study
    settings: Settings
    configs: Mapping[Cell, Config]
    factory: TrialFactory
    seeds: Mapping[Cell, int]
    tuning: Tuning | None = None
    tuned: Sequence[TunedCell] = ()
    auto: AutoSeeds | None = None

    @property
    def config(self) -> Config:
        """The config of the first cell, which has the keys that all cells share."""
        return next(iter(self.configs.values()))

    @property
    def cell_configs(self) -> list[Config]:
        """The config of each cell."""
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
        """Lines that tell a person how the trials come about that are not in `study` yet."""
        seeds, drawn = max(self.seeds.values()), self.factory.drawn
        later = adaptive.notes(self.tuning, self.tuned, drawn, self.auto, seeds, len(self.configs))
        return [*_design_notes(self.study.metadata.get("design")), *later]


def single_trial(composed: Composed) -> Plan:
    """Return the plan of a line without -m: one trial, with `seed`.

    Raises:
        UsageError: a value is not allowed, or a key is for a study.
    """
    for typed in composed.typed:
        key = re.split(r"[=@]", typed.lstrip("+~"), maxsplit=1)[0].split(".")[0]
        if key == "seeds":
            raise UsageError(f"{typed}: seeds is for a study, with -m; without -m there is one trial, and seed=N")
        if key in FOR_A_STUDY:
            raise UsageError(f"{typed}: {key} is for a study; allowed: with -m")
    choices = app_choices(composed.choices)
    _refuse_smoke(interpolated(composed.config)["scale"])
    config = resolve(composed.config)
    settings = Settings.of(config)
    if settings.dispatch.executor == "cluster":
        raise UsageError("dispatch=cluster: without -m a trial runs in this process; allowed: with -m")
    workers = settings.dispatch.workers_per_trial
    if workers > 1:
        raise UsageError(f"dispatch.workers_per_trial={workers}: without -m a trial runs in this process; allowed: 1")
    cell = Cell(())
    factory = TrialFactory({cell: Combination(config, choices, lambda values: config)}, {})
    study = Study(study_name.of(config, {}, [choices]), {}, [factory.trial(cell, config["seed"])])
    return Plan(study, settings, {cell: config}, factory, {cell: 1})


def sweep(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> Plan:
    """Return the plan of a line with -m: every combination of the levels typed, `seeds` trials each; or a preset's.

    Raises:
        UsageError: a level is of the wrong type, out of range, or of a key that cannot be a factor.
    """
    preset = _preset(loader, master, arguments)
    spaces, lines = adaptive.split_spaces(preset.lines)
    grids = [grid(loader, master, line) for line in lines]
    factors = list(grids[0].factors) if len(grids) == 1 else _differing(grids, preset.follows)
    cells = _cells(grids, factors, preset)
    config = next(iter(cells.values())).config
    factory = TrialFactory(cells, adaptive.nuisance_space(spaces["nuisance"], cells, factors))
    tuning, tuned = adaptive.tuned_cells(spaces["tune.space"], config, factory, factors)
    levels = _levels(grids, factors, cells)
    design = grids[0].design if all(line.design == grids[0].design for line in grids) else None
    auto = adaptive.auto_seeds(config, functools.partial(_pairs, list(cells), levels, preset.contrast, design))
    seeds = {cell: adaptive.first_seeds(combination.config) for cell, combination in cells.items()}
    trials = [
        trial for cell in cells for trial in factory.trials(cell, [tuning.seed] if tuning else range(seeds[cell]))
    ]
    _refuse_twins(trials)
    adaptive_parts = ["tuned"] * bool(tuning) + [f"nuisance-{_digest(factory.drawn)}"] * bool(factory.drawn)
    choices = [combination.choices for combination in cells.values()]
    name = study_name.of(config, levels, choices, preset.name, adaptive_parts)
    _refuse_idle(preset, grids)
    derived = set(preset.follows).union(*(line.derived for line in grids))
    derived &= {key for trial in trials for key in trial.params} - levels.keys()
    derived |= {key for cell in tuned for key in cell.space}
    study = Study(
        name=name,
        factors=levels,
        trials=[] if tuning else trials,
        derived=sorted(derived - factory.drawn.keys()),
        contrast=preset.contrast,
        metadata=({"design": design} if design else {})
        | ({"paper": preset.paper} if preset.paper else {})
        | {"registered": _registered(config, preset, levels)}
        | ({} if auto else {"seed_count": max(seeds.values())})
        | adaptive.metadata(tuning, tuned, factory.drawn, auto),
    )
    configs = {cell: combination.config for cell, combination in cells.items()}
    return Plan(study, Settings.of(config), configs, factory, seeds, tuning, tuned, auto)


def _registered(config: Config, preset: Preset, levels: Mapping[str, Sequence[Level]]) -> dict[str, Any]:
    """Return what the study says before its first trial; raise UsageError for a hypothesis that it cannot decide."""
    hypotheses = [*preset.hypotheses, *config["hypotheses"]]
    stated = [parse(text, levels).text for text in hypotheses]
    return {key: config[key] for key in REGISTERED} | ({"hypotheses": stated} if stated else {})


def _cells(grids: Sequence[Grid], factors: Sequence[str], preset: Preset) -> dict[Cell, Combination]:
    """Return the cells of all lines; raise UsageError where two lines make one cell with different configs."""
    cells: dict[Cell, Combination] = {}
    for line in grids:
        for combination in line.combinations:
            cell = Cell(tuple((name, combination.level(name)) for name in factors))
            twin = cells.setdefault(cell, combination)
            if twin.config != combination.config:
                raise UsageError(f"preset={preset.name}: {_two_in_a_cell(cell, twin, combination)}")
    return cells


def _levels(grids: Sequence[Grid], factors: Sequence[str], cells: Iterable[Cell]) -> dict[str, list[Level]]:
    """Return the levels of each factor: in the order typed of a single line, else in the order of the cells."""
    if len(grids) == 1:
        return {name: list(levels) for name, levels in grids[0].factors.items()}
    levels_of_cells = [dict(cell.levels) for cell in cells]
    return {name: list(dict.fromkeys(levels[name] for levels in levels_of_cells)) for name in factors}


def _digest(space: Space) -> str:
    """Return a digest for the study's name: margins over one space must not be pooled with margins over another."""
    return hashlib.sha256(repr(sorted(space.items())).encode()).hexdigest()[:6]


def _design_notes(design: Design | None) -> list[str]:
    """Return a line that names the cells around which a study's design is made, if there are any."""
    if design is None:
        return []
    cells = {"reference": design.get("reference"), "bare cell": design.get("bare")}
    named = [f"{name}: {Cell(tuple(levels.items()))}" for name, levels in cells.items() if levels]
    return [f"design={design['kind']}, {', '.join(named)}"] if named else []


def _pairs(
    cells: Sequence[Cell],
    levels: Mapping[str, Sequence[Level]],
    contrast: tuple[str, Sequence[Level]] | None,
    design: Design | None,
) -> list[Pair]:
    """Return the pairs of cells whose margins the study's report shows."""
    base = design.get("base") if design else None
    return pairs(cells, levels, contrast, Cell(tuple(base.items())) if base else None)


def _preset(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> Preset:
    """Return the preset that a line names; without one, the line itself as the single grid of a study."""
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    keyed_words = [(override.key_or_group, word) for word, override in zip(words, overrides, strict=True)]
    named = {override.key_or_group: override for override in overrides if override.key_or_group in ("preset", "scale")}
    preset_words = [word for key, word in keyed_words if key == "preset"]
    if len(preset_words) > 1:
        raise UsageError(f"{' '.join(preset_words)}: allowed: one preset for a study")
    for key, override in named.items():
        if override.is_sweep_override():
            raise UsageError(f"{override.input_line}: a study has one {key}; allowed: one of its options")
    preset = named["preset"].value() if "preset" in named else None
    if preset is None:
        if "scale" in named:
            _refuse_smoke(named["scale"].value())
        return Preset([words])
    cfg = loader.load_sweep_config(master, [word for key, word in keyed_words if key in named])
    values = OmegaConf.to_container(cfg.preset, resolve=True)
    typed = [word for key, word in keyed_words if key != "preset"]
    return read(str(preset), values, typed, smoke=cfg.scale.name == "smoke")


def _refuse_idle(preset: Preset, grids: Sequence[Grid]) -> None:
    """Raise UsageError for a key of the preset that none of its lines sets: it would silently do nothing."""
    typed = {name for line in grids for name in line.typed}
    for key in (*preset.follows, *([preset.contrast[0]] if preset.contrast else [])):
        if key not in typed:
            raise UsageError(f"preset={preset.name}: its file names {key}, which none of its lines sets")


def _refuse_smoke(scale: object) -> None:
    if scale == "smoke":
        raise UsageError("scale=smoke: for a preset; allowed: with -m preset=NAME")


def _differing(grids: Sequence[Grid], follows: Sequence[str]) -> list[str]:
    """Return the keys typed in a preset's lines that differ between its cells, without those that only follow."""
    combinations = [combination for line in grids for combination in line.combinations]
    names = dict.fromkeys(name for line in grids for name in line.typed)
    return [
        name
        for name in names
        if name not in (*follows, *OUTSIDE_IDENTITY)
        and len({show(combination.level(name)) for combination in combinations}) > 1
    ]


def _two_in_a_cell(cell: Cell, first: Combination, second: Combination) -> str:
    key = next(key for key in {**first.flat, **second.flat} if first.level(key) != second.level(key))
    levels = f"{show(first.level(key))} and {show(second.level(key))}"
    where = str(cell) or "without factors"
    return f"two of its lines make the cell {where}, with {key} {levels}; allowed: one {key} for all, on this line"


def _refuse_twins(trials: Iterable[Trial]) -> None:
    """Raise UsageError where two cells resolve to the same config: they would silently be a single cell."""
    seen: dict[str, Trial] = {}
    for trial in trials:
        twin = seen.setdefault(trial.trial_id, trial)
        if twin.cell != trial.cell:
            raise UsageError(f"{twin.cell} and {trial.cell} are the same network and recipe; drop one of them")
