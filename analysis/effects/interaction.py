"""How a margin depends on the other factors, alone and together: contrasts of margins, paired by seed.

The seed is the block: each seed gives one value of a contrast, the mean over the complete blocks of cells that it has.
The tests are one-sample t tests over seeds, of every order of interaction and every pair of levels. They assume nothing
of the spread in an arm or in a cell, nor that cells that share a seed are independent. Source: see
`ablate.stats.interactions`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.core.levels import Level
from ablate.stats.arrays import Floats
from ablate.stats.interactions import CellContrast, adjusted_p, cell_contrasts
from ablate.stats.multiple_testing import ALPHA
from ablate.stats.seed_rule import FIXED, SeedRule
from analysis.effects.factors import levels_of
from analysis.effects.matched import MarginRow
from analysis.formats import shown


@dataclass(frozen=True)
class Pair:
    """Two levels of a moderator that are compared: `level` minus `reference`."""

    moderator: str
    level: Level
    reference: Level


@dataclass(frozen=True)
class Difference:
    """How an arm's margin differs between levels of a moderator, or of several together.

    pairs: the levels that are compared. With one pair the difference is the margin at its level minus that at its
        reference. With several it is an interaction: the margin in one half of the cells at these levels minus that in
        the other; the first half has an even number of levels that are references.
    by_seed: (n,) percentage points, one per seed: the mean over the blocks of cells that the seed has in full.
    cells: the number of those blocks, one for each combination of levels of the other factors.
    failed: the number of trials, of either arm, that failed in cells at these levels.
    seed_rule: how the study came to its number of seeds.
    """

    arm: str
    pairs: tuple[Pair, ...]
    by_seed: Floats
    cells: int
    failed: int
    seed_rule: SeedRule = FIXED

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval for the mean over seeds; None where there is none."""
        return self.seed_rule.interval(self.by_seed)

    @property
    def moderators(self) -> tuple[str, ...]:
        return tuple(pair.moderator for pair in self.pairs)

    @property
    def moderator(self) -> str:
        """The moderator, or all of them, as in "width x bits"."""
        return " x ".join(self.moderators)

    @property
    def in_words(self) -> str:
        """The levels that are compared, in words."""
        texts = [f"{shown(pair.level)} against {shown(pair.reference)}" for pair in self.pairs]
        return texts[0] if len(texts) == 1 else ", ".join(map(" ".join, zip(self.moderators, texts, strict=True)))


@dataclass(frozen=True)
class Effect:
    """A difference of margins with its 95% interval, and its p value, adjusted over all effects of a report."""

    difference: Difference
    mean_pp: float | None
    low_pp: float | None
    high_pp: float | None
    p: float | None

    @property
    def shown(self) -> bool:
        """Whether the margin is shown to depend on the moderators here."""
        return self.p is not None and self.p < ALPHA


@dataclass(frozen=True)
class Dependence:
    """How one arm's margin depends on the moderators.

    effects: for every pair of levels of every moderator, then for those of several moderators together.
    order: the largest number of moderators of an effect; interactions of more were not computed.
    incomplete: the smallest sets of moderators for which there is no complete block of cells, at two levels of each.
    moderators: those in question that vary.
    varying: the number of all moderators that vary.
    """

    effects: Sequence[Effect]
    order: int
    incomplete: Sequence[tuple[str, ...]]
    moderators: Sequence[str]
    varying: int


def effects(arms: Sequence[tuple[str, Sequence[MarginRow]]], frame: pd.DataFrame) -> list[Effect]:
    """Return the effects of every contrast, those of each contrast in turn. Arguments as in `dependences`."""
    return [effect for dependence in dependences(arms, frame) for effect in dependence.effects]


def dependences(
    arms: Sequence[tuple[str, Sequence[MarginRow]]],
    frame: pd.DataFrame,
    of: Collection[str] | None = None,
    *,
    seed_rule: SeedRule = FIXED,
) -> list[Dependence]:
    """Return how the margin of each arm depends on its moderators; p values are adjusted over all arms together.

    Args:
        arms: for each contrast its name and its margins.
        frame: the study's trials, for the order of levels.
        of: the moderators in question; effects without any of them are left out. None for all.
        seed_rule: how the study came to its number of seeds. Where that was not fixed, only the seeds count that every
            cell has: which cells have the others depends on what they showed.
    """
    of_cells = [set(row.by_seed) for _, rows in arms for row in rows if row.by_seed]
    seeds = sorted((set.union if seed_rule.is_fixed else set.intersection)(*of_cells)) if of_cells else []
    per_arm = [_differences(arm, rows, frame, seeds, of, seed_rule) for arm, rows in arms]
    all_contrasts = [contrast for _, contrasts, _ in per_arm for contrast in contrasts]
    by_seed = np.array([contrast.by_seed for contrast in all_contrasts]).reshape(len(all_contrasts), len(seeds)).T
    orders = [len(contrast.factors) for contrast in all_contrasts]
    p_values = iter(adjusted_p(by_seed, orders, seed_rule).tolist())
    return [
        Dependence([_effect(measured, next(p_values)) for measured in measured_in_arm], *rest)
        for measured_in_arm, _, rest in per_arm
    ]


def _differences(
    arm: str,
    rows: Sequence[MarginRow],
    frame: pd.DataFrame,
    seeds: Sequence[int],
    of: Collection[str] | None,
    seed_rule: SeedRule,
) -> tuple[list[Difference], list[CellContrast], tuple[int, list[tuple[str, ...]], list[str], int]]:
    """Return an arm's differences, the contrasts that they are, and the other fields of its `Dependence`."""
    moderators = list(rows[0].levels) if rows else []
    levels = [levels_with_margins(frame, rows, moderator) for moderator in moderators]
    positions = [{repr(level): index for index, level in enumerate(of_moderator)} for of_moderator in levels]
    cells = {
        tuple(at.get(repr(row.levels[key]), -1) for key, at in zip(moderators, positions, strict=True)): np.array(
            [row.by_seed.get(seed, np.nan) for seed in seeds]
        )
        for row in rows
        if row.by_seed
    }
    grid = cell_contrasts(cells)
    in_question = {index for index, key in enumerate(moderators) if of is None or key in of}
    contrasts = [contrast for contrast in grid.contrasts if in_question & {*contrast.factors}]
    differences = []
    for contrast in contrasts:
        pairs = tuple(
            Pair(moderators[factor], levels[factor][high], levels[factor][low])
            for factor, (low, high) in zip(contrast.factors, contrast.pairs, strict=True)
        )
        by_seed = contrast.by_seed[~np.isnan(contrast.by_seed)]
        differences.append(Difference(arm, pairs, by_seed, contrast.blocks, _failed(rows, pairs), seed_rule))
    varying = [index for index in sorted(in_question) if len(levels[index]) > 1]
    compared = {contrast.factors for contrast in contrasts}
    incomplete: list[tuple[int, ...]] = [(index,) for index in varying if (index,) not in compared]
    incomplete += [chosen for chosen in grid.incomplete if len(chosen) > 1 and in_question & {*chosen}]
    names = [tuple(moderators[index] for index in chosen) for chosen in incomplete]
    of_all = sum(len(of_moderator) > 1 for of_moderator in levels)
    return differences, contrasts, (grid.order, names, [moderators[index] for index in varying], of_all)


def _failed(rows: Sequence[MarginRow], pairs: Sequence[Pair]) -> int:
    """Return how many trials failed in the cells at these levels."""
    return sum(
        sum(row.failed)
        for row in rows
        if any(row.failed)
        and all(repr(row.levels[pair.moderator]) in (repr(pair.level), repr(pair.reference)) for pair in pairs)
    )


def difference(
    arm: str,
    rows: Sequence[MarginRow],
    moderator: str,
    level: Level,
    reference: Level,
    *,
    seed_rule: SeedRule = FIXED,
) -> Difference:
    """Return the rows' margins at `level` minus those at `reference`, all other factors matched.

    The rows are what `matched.margins` returns for the arm, with the moderator among their levels.
    """
    at: dict[Level, dict[str, MarginRow]] = {level: {}, reference: {}}
    for row in rows:
        if row.levels[moderator] in at:
            others = repr({key: value for key, value in row.levels.items() if key != moderator})
            at[row.levels[moderator]][others] = row
    matched = [(row, at[reference][others]) for others, row in at[level].items() if others in at[reference]]
    differences: dict[int, list[float]] = defaultdict(list)
    cells = 0
    for row, reference_row in matched:
        seeds = [seed for seed in row.by_seed if seed in reference_row.by_seed]
        cells += bool(seeds)
        for seed in seeds:
            differences[seed].append(row.by_seed[seed] - reference_row.by_seed[seed])
    by_seed = np.round([np.mean(differences[seed]) for seed in sorted(differences)], 9)
    failed = sum(sum(row.failed) for pair in matched for row in pair)
    return Difference(arm, (Pair(moderator, level, reference),), by_seed, cells, failed, seed_rule)


def levels_with_margins(frame: pd.DataFrame, rows: Sequence[MarginRow], moderator: str) -> list[Level]:
    """Return the moderator's levels at which there is a margin, or could be one had no trial failed.

    They come in the order of `levels_of`: numbers by size.
    """
    measured = [row.levels[moderator] for row in rows if moderator in row.levels and (row.margin or any(row.failed))]
    return [level for level in levels_of(frame, moderator) if level in measured]


def _effect(measured: Difference, p: float) -> Effect:
    low, high = measured.interval or (None, None)
    mean = float(np.mean(measured.by_seed)) if len(measured.by_seed) else None
    return Effect(measured, mean, low, high, None if np.isnan(p) else p)
