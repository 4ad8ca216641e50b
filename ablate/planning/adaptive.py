"""What a line asks for beyond a grid of trials: tuning, nuisance factors, seeds where they decide."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core import text
from ablate.core.errors import UsageError
from ablate.core.identity import NUMERICS, OUTSIDE_IDENTITY, at_first_paths, flatten, science, trial_id
from ablate.core.levels import Level
from ablate.core.study import Cell, Trial
from ablate.planning import nuisance, search_space
from ablate.planning.compose import Combination
from ablate.planning.contrasts import Pair
from ablate.planning.schema import FIRST_SEEDS
from ablate.planning.search_space import Space
from ablate.planning.tuning import TunedCell, Tuning, check

SPACES = ("tune.space", "nuisance")
"""Nodes under which any key of the config may be typed."""


@dataclass(frozen=True)
class Auto:
    """Seeds where they decide: `first` for every cell, then one more for each pair that is undecided, up to `most`."""

    first: int
    most: int
    within_pp: float
    pairs: Sequence[Pair]


class TrialFactory:
    """Makes the trials of a study's cells: with what is drawn for their seed, and with what tuning chose."""

    def __init__(self, cells: Mapping[Cell, Combination], drawn: Space) -> None:
        self.cells, self.drawn = cells, drawn
        self._shared = {cell: _shared(one.config, one.choices) for cell, one in cells.items()}

    def trial(self, cell: Cell, seed: int, values: Mapping[str, Level] | None = None, *, tuning: bool = False) -> Trial:
        """One trial; `values` replace the cell's own. Raises UsageError for one that is not allowed."""
        asked = nuisance.draw(self.drawn, seed) | dict(values or {})
        one = self.cells[cell]
        config, params = _shared(one.settle(asked), one.choices) if asked else self._shared[cell]
        seeded = config | {"seed": seed}
        own = tuple((key, params[key]) for key in asked)
        return Trial(cell, seed, seeded, params | {"seed": seed, "numerics": NUMERICS}, trial_id(seeded), own, tuning)

    def tried(self, cell: Cell, values: Mapping[str, Level], seed: int) -> Trial:
        """A trial of the cell's tuning."""
        return self.trial(cell, seed, values, tuning=True)

    def trials(self, cell: Cell, seeds: Iterable[int], values: Mapping[str, Level] | None = None) -> list[Trial]:
        return [self.trial(cell, seed, values) for seed in seeds]


def taken(lines: Sequence[Sequence[str]]) -> tuple[dict[str, Space], list[list[str]]]:
    """What the lines let tuning and nuisance factors draw from, by node, and the lines without it.

    Raises:
        UsageError: a word is of another form, or the lines of a preset differ in it.
    """
    found: dict[str, list[Space]] = {node: [] for node in SPACES}
    left = []
    for line in lines:
        rest = list(line)
        for node in SPACES:
            its, rest = search_space.taken(rest, node)
            found[node].append(its)
        left.append(rest)
    for node, spaces in found.items():
        if any(one != spaces[0] for one in spaces):
            raise UsageError(f"{node}: the preset's lines differ in it; allowed: the same for all, in its `common`")
    return {node: spaces[0] for node, spaces in found.items()}, left


def nuisance_space(drawn: Space, cells: Mapping[Cell, Combination], factors: Iterable[str]) -> Space:
    """The space, checked: every cell has its keys, and none refuses its values."""
    for key, dimension in drawn.items():
        typed = f"nuisance.{key}={dimension}"
        _check_key(typed, key, cells, factors)
        for cell, one in cells.items():
            if key not in one.flat:
                raise UsageError(
                    f"{typed}: {cell} has no such key, and every arm is to get the same; allowed: one of all"
                )
            _check_values(typed, key, dimension.ends, one)
    return drawn


def tuned_cells(
    asked: Space, config: Mapping[str, Any], maker: TrialFactory, factors: Sequence[str]
) -> tuple[Tuning | None, list[TunedCell]]:
    """What tuning a line asks for: None, and no cells, without any.

    Raises:
        UsageError: a key, a value or the budget is not allowed.
    """
    if config["tune"]["sampler"] == "none":
        if asked:
            raise UsageError(
                f"tune.space.{next(iter(asked))}: with tune=none nothing is tuned; allowed: tune=tpe, random or grid"
            )
        return None, []
    tuning, cells = Tuning.of(config["tune"]), maker.cells
    if not asked:
        raise UsageError(
            f"tune={tuning.sampler}: what may it choose from? allowed: tune.space.recipe.lr={search_space.FORMS}"
        )
    for key, dimension in asked.items():
        typed = f"tune.space.{key}={dimension}"
        _check_key(typed, key, cells, factors)
        if key in maker.drawn:
            raise UsageError(f"{typed}: nuisance.{key} draws it; allowed: one of both")
        if key.startswith("dataset."):
            raise UsageError(f"{typed}: it changes what one chooses by; allowed: keys of the network or the recipe")
        for one in cells.values():
            if key in one.flat:
                _check_values(typed, key, dimension.ends, one)
    for cell, one in cells.items():
        if one.config["dataset"].get("valid_fraction") == 0:
            raise UsageError(
                f"tune={tuning.sampler}: dataset.valid_fraction=0 leaves {cell} nothing to choose by; allowed: above 0"
            )
    ordered = sorted(asked, key=lambda key: sum(key not in one.flat for one in cells.values()))
    tuned = [
        TunedCell(
            cell,
            {key: asked[key] for key in ordered if key in one.flat},
            functools.partial(maker.tried, cell),
            one.config["recipe"]["epochs"],
        )
        for cell, one in cells.items()
    ]
    check(tuning, tuned, most_seeds(config))
    return tuning.with_budget(tuned), tuned


def most_seeds(config: Mapping[str, Any]) -> int:
    return config["max_seeds"] if config["seeds"] == "auto" else config["seeds"]


def first_seeds(config: Mapping[str, Any]) -> int:
    return FIRST_SEEDS if config["seeds"] == "auto" else config["seeds"]


def auto(config: Mapping[str, Any], pairs_of: Callable[[], Sequence[Pair]]) -> Auto | None:
    """How seeds are added; None where their number is fixed.

    Raises:
        UsageError: there is nothing to decide.
    """
    if config["seeds"] != "auto":
        return None
    pairs = pairs_of()
    if not pairs:
        kind = config["design"]["kind"]
        raise UsageError(f"seeds=auto: no two cells of design={kind} differ in one factor alone; allowed: a number")
    return Auto(FIRST_SEEDS, config["max_seeds"], config["equivalence_pp"], pairs)


def terms(tuning: Tuning | None, tuned: Sequence[TunedCell], drawn: Space, asked: Auto | None) -> dict[str, Any]:
    """What a report must know of it, as JSON-ready values."""
    found: dict[str, Any] = {}
    if tuning:
        spaces = {key: str(dimension) for one in tuned for key, dimension in one.space.items()}
        found["tune"] = {**vars(tuning), "storage": None, "space": spaces}
    if drawn:
        found["nuisance"] = {key: str(dimension) for key, dimension in drawn.items()}
    if asked:
        found["seeds"] = {"first": asked.first, "most": asked.most, "within_pp": asked.within_pp}
    return found


def notes(
    tuning: Tuning | None, tuned: Sequence[TunedCell], drawn: Space, asked: Auto | None, seeds: int, cells: int
) -> list[str]:
    """How a study's trials come about, for the one who is to pay for them."""
    found = []
    if tuning:
        budget = f"{tuning.epochs} epochs of configurations" if tuning.epochs else "every configuration"
        budget = f"{tuning.trials} configurations" if tuning.trials else budget
        keys = {f"{key} {dimension}" for one in tuned for key, dimension in one.space.items()}
        prunes = f", pruned by {tuning.pruner}" if tuning.pruner != "none" else ""
        found.append(
            f"tune={tuning.sampler}: each cell tries {budget} of {'; '.join(sorted(keys))}{prunes}, "
            f"at seed {tuning.seed}, and chooses by {tuning.metric}. "
            f"Then {text.counted(seeds, 'fresh seed')} of what it chose."
        )
    if drawn:
        keys = {f"{key} {dimension}" for key, dimension in drawn.items()}
        found.append(f"Nuisance: {'; '.join(sorted(keys))} drawn for each seed, the same in every cell.")
    if asked:
        found.append(_saving(asked, cells))
    return found


def _saving(asked: Auto, cells: int) -> str:
    from ablate.stats import sequential

    each = sequential.expected_seeds(len(asked.pairs), first=asked.first, last=asked.most, within_pp=asked.within_pp)
    needed = round(cells * each)
    return (
        f"seeds=auto: {asked.first} seeds of each cell, then one more for each of {len(asked.pairs)} margins that is "
        f"undecided, up to {asked.most}. Where margins are 0, 0.5 and 1.5 points in equal shares (sd 0.4), about "
        f"{each:.1f} seeds, {needed} trials in all; {asked.most} seeds of every cell would be {cells * asked.most}."
    )


def coming(tuning: Tuning | None, tuned: Sequence[TunedCell], seeds: Mapping[Cell, int]) -> dict[Cell, int]:
    """Trials of each cell that are known only once its tuning has results, where their number is fixed."""
    if not tuning:
        return {}
    budgets = {one.cell: tuning.budget(one) for one in tuned}
    tried = {cell: round(most) if most < math.inf else 0 for cell, most in budgets.items()}
    return {cell: count + seeds[cell] for cell, count in tried.items()}


def _check_key(typed: str, key: str, cells: Mapping[Cell, Combination], factors: Iterable[str]) -> None:
    keys = list(dict.fromkeys(name for one in cells.values() for name in one.flat))
    if key.split(".")[0] in OUTSIDE_IDENTITY or key in OUTSIDE_IDENTITY or key == "seed":
        raise UsageError(f"{typed}: it says where or how a trial runs; allowed: keys of the network or the recipe")
    if key in factors:
        raise UsageError(f"{typed}: {key} is a factor of this study; allowed: one of both")
    if any(key in one.choices for one in cells.values()):
        raise UsageError(f"{typed}: a group of options; allowed: a value, as recipe.lr is")
    if key not in keys:
        close = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean {close[0]}?" if close else "allowed: keys that --cfg job prints"
        raise UsageError(f"{typed}: no such key; {hint}")


def _check_values(typed: str, key: str, values: Iterable[Level], one: Combination) -> None:
    for value in values:
        try:
            one.settle({key: value})
        except UsageError as mistake:
            raise UsageError(f"{typed}: {mistake}") from mistake


def _shared(config: Mapping[str, Any], choices: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Level]]:
    """What the trials of a config share: what they compute with, and the same flat, with the groups' choices."""
    shared = science(config)
    chosen = {group: choice for group, choice in choices.items() if group in shared}
    flat = {key: value for key, value in at_first_paths(flatten(shared)).items() if key not in OUTSIDE_IDENTITY}
    return shared, chosen | flat
