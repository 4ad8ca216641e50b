"""A study beyond a grid of trials: tuning, nuisance factors, and seeds added where margins are undecided."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.core import text
from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import OUTSIDE_IDENTITY
from ablate.core.levels import Level
from ablate.core.study import Cell
from ablate.planning import search_space
from ablate.planning.compose import Combination
from ablate.planning.contrasts import Pair
from ablate.planning.schema import FIRST_SEEDS
from ablate.planning.search_space import Space
from ablate.planning.trial_factory import TrialFactory
from ablate.planning.tuning import TunedCell, Tuning, check

SPACES = ("tune.space", "nuisance")
"""Nodes under which any key of the config may be typed."""


@dataclass(frozen=True)
class AutoSeeds:
    """How seeds=auto adds seeds to cells.

    Attributes:
        first: seeds that every cell begins with.
        most: seeds that a cell has at most.
        within_pp: the smallest difference of interest, in percentage points.
        pairs: the pairs of cells that are compared. As long as one is undecided, its cells get one more seed at a time.
    """

    first: int
    most: int
    within_pp: float
    pairs: Sequence[Pair]


def split_spaces(lines: Sequence[Sequence[str]]) -> tuple[dict[str, Space], list[list[str]]]:
    """Return the spaces of tuning and of nuisance factors by node, and the lines without the words that span them.

    Raises:
        UsageError: a word has another form, or the lines of a preset span different spaces.
    """
    spaces_of: dict[str, list[Space]] = {node: [] for node in SPACES}
    remaining_lines = []
    for line in lines:
        words = list(line)
        for node, spaces in spaces_of.items():
            space, words = search_space.split(words, node)
            spaces.append(space)
        remaining_lines.append(words)
    for node, spaces in spaces_of.items():
        if any(space != spaces[0] for space in spaces):
            raise UsageError(f"{node}: the preset's lines differ in it; allowed: the same for all, in its `common`")
    return {node: spaces[0] for node, spaces in spaces_of.items()}, remaining_lines


def nuisance_space(drawn: Space, cells: Mapping[Cell, Combination], factors: Iterable[str]) -> Space:
    """Return the space of the nuisance factors, checked.

    Raises:
        UsageError: a cell lacks one of its keys, or refuses one of its values.
    """
    for key, dimension in drawn.items():
        typed = f"nuisance.{key}={dimension}"
        _check_key(typed, key, cells, factors)
        for cell, combination in cells.items():
            if key not in combination.flat:
                raise UsageError(
                    f"{typed}: {cell} has no such key, and every cell gets the same values; "
                    "allowed: a key that every cell has"
                )
            _check_values(typed, key, dimension.ends, combination)
    return drawn


def tuned_cells(
    space: Space, config: Config, factory: TrialFactory, factors: Sequence[str]
) -> tuple[Tuning | None, list[TunedCell]]:
    """Return the tuning that a line requests, and its cells; None and no cells where it requests none.

    Args:
        space: what tuning may choose from.
        config: of one of the cells; `tune`, `seeds` and `max_seeds` are the same in all.
        factory: of the study's trials.
        factors: of the study.

    Raises:
        UsageError: a key, a value or the budget is not allowed.
    """
    if config["tune"]["sampler"] == "none":
        if space:
            raise UsageError(
                f"tune.space.{next(iter(space))}: with tune=none nothing is tuned; allowed: tune=tpe, random or grid"
            )
        return None, []
    tuning, cells = Tuning.of(config["tune"]), factory.cells
    if not space:
        raise UsageError(
            f"tune={tuning.sampler}: nothing to choose from; allowed: tune.space.recipe.lr={search_space.FORMS}"
        )
    for key, dimension in space.items():
        _check_tuned_key(f"tune.space.{key}={dimension}", key, factory, factors)
        for combination in cells.values():
            if key in combination.flat:
                _check_values(f"tune.space.{key}={dimension}", key, dimension.ends, combination)
    for cell, combination in cells.items():
        if combination.config["dataset"].get("valid_fraction") == 0:
            raise UsageError(
                f"tune={tuning.sampler}: dataset.valid_fraction=0 leaves {cell} no validation images to choose by; "
                "allowed: above 0"
            )
    in_most_cells_first = sorted(space, key=lambda key: _cells_without(key, cells))
    tuned = [
        TunedCell(
            cell,
            {key: space[key] for key in in_most_cells_first if key in combination.flat},
            functools.partial(factory.tuning_trial, cell),
            combination.config["recipe"]["epochs"],
        )
        for cell, combination in cells.items()
    ]
    check(tuning, tuned, most_seeds(config), first_seeds(config))
    return tuning.with_budget(tuned), tuned


def most_seeds(config: Config) -> int:
    """Return the number of seeds that a cell has at most."""
    seeds: int = config["max_seeds"] if config["seeds"] == "auto" else config["seeds"]
    return seeds


def first_seeds(config: Config) -> int:
    """Return the number of seeds that a cell begins with."""
    seeds: int = FIRST_SEEDS if config["seeds"] == "auto" else config["seeds"]
    return seeds


def auto_seeds(config: Config, pairs_of: Callable[[], Sequence[Pair]]) -> AutoSeeds | None:
    """Return how seeds are added; None where their number is fixed.

    Raises:
        UsageError: no pair of cells is compared.
    """
    if config["seeds"] != "auto":
        return None
    pairs = pairs_of()
    if not pairs:
        kind = config["design"]["kind"]
        raise UsageError(f"seeds=auto: no two cells of design={kind} differ in one factor alone; allowed: a number")
    return AutoSeeds(FIRST_SEEDS, config["max_seeds"], config["equivalence_pp"], pairs)


def metadata(
    tuning: Tuning | None, tuned: Sequence[TunedCell], drawn: Space, auto: AutoSeeds | None
) -> dict[str, dict[str, Any]]:
    """Return what a report must know of tuning, nuisance factors and added seeds, as JSON-ready values by name."""
    by_name: dict[str, dict[str, Any]] = {}
    if tuning:
        space = {key: str(dimension) for cell in tuned for key, dimension in cell.space.items()}
        by_name["tune"] = {**vars(tuning), "storage": None, "space": space}
    if drawn:
        by_name["nuisance"] = {key: str(dimension) for key, dimension in drawn.items()}
    if auto:
        by_name["seeds"] = {"first": auto.first, "most": auto.most, "within_pp": auto.within_pp}
    return by_name


def notes(
    tuning: Tuning | None, tuned: Sequence[TunedCell], drawn: Space, auto: AutoSeeds | None, seeds: int, cells: int
) -> list[str]:
    """Return lines that tell a person how a study's trials come about, and how many there will be.

    Args:
        tuning: of the study, if any.
        tuned: its cells.
        drawn: the space of the nuisance factors.
        auto: how seeds are added, if they are.
        seeds: of each cell, to begin with.
        cells: their number.
    """
    lines = []
    if tuning:
        budget = f"{tuning.epochs} epochs of configurations" if tuning.epochs else "every configuration"
        budget = f"{tuning.trials} configurations" if tuning.trials else budget
        keys = {f"{key} {dimension}" for cell in tuned for key, dimension in cell.space.items()}
        prunes = f", pruned by {tuning.pruner}" if tuning.pruner != "none" else ""
        is_single = tuning.searches == 1
        who = "each cell" if is_single else f"each of {tuning.searches} searches of each cell"
        at = f"seed {tuning.seed}" if is_single else f"seeds {tuning.seed} to {tuning.seed + tuning.searches - 1}"
        then = "of what it chose" if is_single else "of what they chose, one for each"
        lines.append(
            f"tune={tuning.sampler}: {who} tries {budget} of {'; '.join(sorted(keys))}{prunes}, "
            f"at {at}, and chooses by {tuning.metric}. Then {text.counted(seeds, 'fresh seed')} {then}."
        )
    if drawn:
        keys = {f"{key} {dimension}" for key, dimension in drawn.items()}
        lines.append(f"Nuisance: {'; '.join(sorted(keys))} drawn for each seed, the same in every cell.")
    if auto:
        lines.append(_expected_seeds(auto, cells))
    return lines


def _expected_seeds(auto: AutoSeeds, cells: int) -> str:
    from ablate.stats import sequential

    each = sequential.expected_seeds(len(auto.pairs), first=auto.first, last=auto.most, within_pp=auto.within_pp)
    needed = round(cells * each)
    return (
        f"seeds=auto: {auto.first} seeds of each cell, then one more for each of {len(auto.pairs)} margins that is "
        f"undecided, up to {auto.most}. Where margins are 0, 0.5 and 1.5 points in equal shares (sd 0.4), about "
        f"{each:.1f} seeds, {needed} trials in all; {auto.most} seeds of every cell would be {cells * auto.most}."
    )


def coming(tuning: Tuning | None, tuned: Sequence[TunedCell], seeds: Mapping[Cell, int]) -> dict[Cell, int]:
    """Return how many trials of each cell become known only with its tuning's results, where the number is fixed."""
    if not tuning:
        return {}
    budgets = {cell.cell: tuning.budget(cell) for cell in tuned}
    return {
        cell: seeds[cell] + (tuning.searches * round(most) if most < math.inf else 0) for cell, most in budgets.items()
    }


def _cells_without(key: str, cells: Mapping[Cell, Combination]) -> int:
    return sum(key not in combination.flat for combination in cells.values())


def _check_tuned_key(typed: str, key: str, factory: TrialFactory, factors: Sequence[str]) -> None:
    _check_key(typed, key, factory.cells, factors)
    if key in factory.drawn:
        raise UsageError(f"{typed}: nuisance.{key} draws it; allowed: one of the two")
    if key.startswith("dataset."):
        raise UsageError(
            f"{typed}: it changes the images that configurations are compared on; "
            "allowed: keys of the network or the recipe"
        )


def _check_key(typed: str, key: str, cells: Mapping[Cell, Combination], factors: Iterable[str]) -> None:
    keys = list(dict.fromkeys(name for combination in cells.values() for name in combination.flat))
    if key.split(".")[0] in OUTSIDE_IDENTITY or key in OUTSIDE_IDENTITY or key == "seed":
        raise UsageError(f"{typed}: it says where or how a trial runs; allowed: keys of the network or the recipe")
    if key in factors:
        raise UsageError(f"{typed}: {key} is a factor of this study; allowed: one of the two")
    if any(key in combination.choices for combination in cells.values()):
        raise UsageError(f"{typed}: a group of options; allowed: a value, as recipe.lr is")
    if key not in keys:
        close = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean {close[0]}?" if close else "allowed: keys that --cfg job prints"
        raise UsageError(f"{typed}: no such key; {hint}")


def _check_values(typed: str, key: str, values: Iterable[Level], combination: Combination) -> None:
    for value in values:
        try:
            combination.resolve({key: value})
        except UsageError as error:
            raise UsageError(f"{typed}: {error}") from error
