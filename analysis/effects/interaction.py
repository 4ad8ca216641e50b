"""How a margin changes with another factor: differences of margins, paired by seed.

The seed is the block: each seed gives one difference, the mean over the cells that it has at both levels. The test is a
one-sample t over seeds. It assumes nothing of the spread in an arm or in a cell, nor that cells that share a seed are
independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.core.levels import Level
from ablate.stats.arrays import Floats
from ablate.stats.multiple_testing import ALPHA, CONFIDENCE, holm
from ablate.stats.paired import t_interval, t_test
from analysis.effects.factors import levels_of
from analysis.effects.matched import MarginRow


@dataclass(frozen=True)
class Difference:
    """An arm's margin at one level of a moderator minus that at a reference level of it.

    by_seed: (n,) percentage points, one per seed: the mean over the cells that the seed has at both levels.
    cells: the number of cells of the other factors that have a seed at both levels.
    diverged: the number of trials, of either arm, that diverged in the cells of both levels.
    """

    arm: str
    moderator: str
    level: Level
    reference: Level
    by_seed: Floats
    cells: int
    diverged: int


@dataclass(frozen=True)
class Effect:
    """A difference of margins with its 95% interval, and its p value, adjusted by Holm over the effects of a report."""

    difference: Difference
    mean_pp: float | None
    low_pp: float | None
    high_pp: float | None
    p: float | None

    @property
    def shown(self) -> bool:
        """Whether the margin is shown to depend on the moderator here."""
        return self.p is not None and self.p < ALPHA


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
    """Return the effect of every moderator of every contrast: each level of the moderator against its first one.

    Args:
        arms: for each contrast its name and its margins.
        frame: the study's trials, for the order of levels.
    """
    differences = []
    for arm, rows in arms:
        for moderator in rows[0].levels if rows else ():
            levels = levels_with_margins(frame, rows, moderator)
            differences += [difference(arm, rows, moderator, level, levels[0]) for level in levels[1:]]
    p_values = holm([t_test(measured.by_seed) for measured in differences])
    return [_effect(measured, p) for measured, p in zip(differences, p_values, strict=True)]


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


def difference(arm: str, rows: Sequence[MarginRow], moderator: str, level: Level, reference: Level) -> Difference:
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
    diverged = sum(sum(row.failed) for pair in matched for row in pair)
    return Difference(arm, moderator, level, reference, by_seed, cells, diverged)


def levels_with_margins(frame: pd.DataFrame, rows: Sequence[MarginRow], moderator: str) -> list[Level]:
    """Return the moderator's levels at which there is a margin, or could be one had no trial diverged.

    They come in the order of `levels_of`: numbers by size.
    """
    measured = [row.levels[moderator] for row in rows if moderator in row.levels and (row.margin or any(row.failed))]
    return [level for level in levels_of(frame, moderator) if level in measured]


def _effect(measured: Difference, p: float | None) -> Effect:
    mean = float(np.mean(measured.by_seed)) if len(measured.by_seed) else None
    low, high = t_interval(measured.by_seed) or (None, None)
    return Effect(measured, mean, low, high, p)


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
