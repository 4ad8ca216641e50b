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
from ablate.stats.multiple_testing import ALPHA, CONFIDENCE
from ablate.stats.paired import t_interval
from ablate.stats.stopping import FIXED, Stopping
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
    stopping: how the study came to its number of seeds.
    """

    arm: str
    pairs: tuple[Pair, ...]
    by_seed: Floats
    cells: int
    failed: int
    stopping: Stopping = FIXED

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval for the mean over seeds; None where there is none."""
        return self.stopping.interval(self.by_seed)

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


@dataclass(frozen=True)
class Importance:
    """How far apart the two most different levels of a factor are.

    mean_pp: the mean of the matched differences, in percentage points.
    low_pp, high_pp: its interval, at 95% for all pairs of the factor's levels together (Bonferroni), since the largest
        difference was picked; None with one seed.
    n: the number of seeds.
    """

    factor: str
    level: Level
    reference: Level
    mean_pp: float
    low_pp: float | None
    high_pp: float | None
    n: int


def effects(arms: Sequence[tuple[str, Sequence[MarginRow]]], frame: pd.DataFrame) -> list[Effect]:
    """Return the effects of every contrast, those of each contrast in turn. Arguments as in `dependences`."""
    return [effect for dependence in dependences(arms, frame) for effect in dependence.effects]


def dependences(
    arms: Sequence[tuple[str, Sequence[MarginRow]]],
    frame: pd.DataFrame,
    of: Collection[str] | None = None,
    *,
    stopping: Stopping = FIXED,
) -> list[Dependence]:
    """Return how the margin of each arm depends on its moderators; p values are adjusted over all arms together.

    Args:
        arms: for each contrast its name and its margins.
        frame: the study's trials, for the order of levels.
        of: the moderators in question; effects without any of them are left out. None for all.
        stopping: how the study came to its number of seeds. Where that was not fixed, only the seeds count that every
            cell has: which cells have the others depends on what they showed.
    """
    of_cells = [set(row.by_seed) for _, rows in arms for row in rows if row.by_seed]
    seeds = sorted((set.union if stopping.is_fixed else set.intersection)(*of_cells)) if of_cells else []
    per_arm = [_differences(arm, rows, frame, seeds, of, stopping) for arm, rows in arms]
    all_contrasts = [contrast for _, contrasts, _ in per_arm for contrast in contrasts]
    by_seed = np.array([contrast.by_seed for contrast in all_contrasts]).reshape(len(all_contrasts), len(seeds)).T
    orders = [len(contrast.factors) for contrast in all_contrasts]
    p_values = iter(adjusted_p(by_seed, orders, stopping).tolist())
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
    stopping: Stopping,
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
        differences.append(Difference(arm, pairs, by_seed, contrast.blocks, _failed(rows, pairs), stopping))
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


def margin_importance(rows: Sequence[MarginRow], frame: pd.DataFrame) -> list[Importance]:
    """Return how far each moderator moves the margin, the one that moves it most first."""
    ranked = []
    for moderator in rows[0].levels if rows else ():
        levels = levels_with_margins(frame, rows, moderator)
        pairs = _pairs(levels)
        by_seed = [difference("", rows, moderator, level, other).by_seed for level, other in pairs]
        ranked += _largest(moderator, pairs, by_seed)
    return sorted(ranked, key=lambda importance: -abs(importance.mean_pp))


def accuracy_importance(frame: pd.DataFrame, keys: Sequence[str]) -> list[Importance]:
    """Return how far each factor moves the accuracy, all others matched, the one that moves it most first.

    Args:
        frame: the study's trials.
        keys: its factors.
    """
    done = frame[(frame["outcome"] == "done") & frame["acc"].notna()]
    texts = done[list(keys)].astype(object).map(repr).assign(seed=done["seed"], acc=100 * done["acc"])
    ranked = []
    for factor in keys:
        others = [key for key in keys if key != factor and not key.startswith(f"{factor}.")]
        wide = texts.pivot_table(index=[*others, "seed"], columns=factor, values="acc", aggfunc="mean", observed=True)
        levels = [level for level in levels_of(frame, factor) if repr(level) in wide]
        pairs = _pairs(levels)
        matched = [(wide[repr(level)] - wide[repr(other)]).dropna() for level, other in pairs]
        by_seed = [values.groupby(level="seed").mean().round(9).to_numpy() for values in matched]
        ranked += _largest(factor, pairs, by_seed)
    return sorted(ranked, key=lambda importance: -abs(importance.mean_pp))


def difference(
    arm: str,
    rows: Sequence[MarginRow],
    moderator: str,
    level: Level,
    reference: Level,
    *,
    stopping: Stopping = FIXED,
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
    return Difference(arm, (Pair(moderator, level, reference),), by_seed, cells, failed, stopping)


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


def _pairs(levels: Sequence[Level]) -> list[tuple[Level, Level]]:
    """Return every two of the levels, each time the later one first."""
    return [(level, other) for index, other in enumerate(levels) for level in levels[index + 1 :]]


def _largest(factor: str, pairs: Sequence[tuple[Level, Level]], by_seed: Sequence[Floats]) -> list[Importance]:
    """Return the importance of the two levels that differ most; empty where no pair of levels is matched."""
    known = [(pair, values) for pair, values in zip(pairs, by_seed, strict=True) if len(values)]
    if not known:
        return []
    (level, reference), values = max(known, key=lambda pair_and_values: abs(float(np.mean(pair_and_values[1]))))
    low, high = t_interval(values, 1 - (1 - CONFIDENCE) / len(known)) or (None, None)
    return [Importance(factor, level, reference, float(np.mean(values)), low, high, len(values))]
