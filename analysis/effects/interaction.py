"""How a margin changes with another factor: differences of margins, paired by seed.

The seed is the block: each seed gives one difference, the mean over the cells that it has at both levels, and the test
is a one-sample t over seeds. So nothing is assumed of the spread in an arm or in a cell, nor that cells that share
a seed are independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ablate.stats.arrays import Floats
from ablate.stats.multiple_testing import holm
from ablate.stats.paired import ALPHA, CONFIDENCE, t_interval, t_test
from analysis.effects.factors import levels_of
from analysis.effects.matched import MarginRow


@dataclass(frozen=True)
class Difference:
    """An arm's margin at one level of a moderator minus that at a reference level of it.

    by_seed: (n,) percentage points, one a seed: the mean over the cells that the seed has at both levels.
    cells: how many cells of the other factors have a seed at both levels.
    diverged: trials in the cells of both levels that did, of either arm.
    """

    arm: str
    moderator: str
    level: Any
    reference: Any
    by_seed: Floats
    cells: int
    diverged: int


@dataclass(frozen=True)
class Effect:
    """A difference of margins with its 95% interval and its p value, adjusted by Holm over those of a report."""

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

    mean_pp: of the matched differences, in percentage points. low_pp, high_pp: its interval at 95% for all pairs
    of the factor's levels together (Bonferroni), since the largest was picked; None with one seed.
    """

    factor: str
    level: Any
    reference: Any
    mean_pp: float
    low_pp: float | None
    high_pp: float | None
    n: int


def effects(arms: Sequence[tuple[str, Sequence[MarginRow]]], frame: pd.DataFrame) -> list[Effect]:
    """Every moderator of every contrast: each of its levels against its first one.

    Args:
        arms: for each contrast its name and its margins.
        frame: the study's, for the order of levels.
    """
    found = []
    for arm, rows in arms:
        for moderator in rows[0].levels if rows else ():
            levels = levels_with_margins(frame, rows, moderator)
            found += [difference(arm, rows, moderator, level, levels[0]) for level in levels[1:]]
    p_values = holm([t_test(one.by_seed) for one in found])
    return [_effect(one, p) for one, p in zip(found, p_values, strict=True)]


def margin_importance(rows: Sequence[MarginRow], frame: pd.DataFrame) -> list[Importance]:
    """How far each moderator moves the margin, the one that moves it most first."""
    found = []
    for moderator in rows[0].levels if rows else ():
        levels = levels_with_margins(frame, rows, moderator)
        pairs = [(level, other) for place, other in enumerate(levels) for level in levels[place + 1 :]]
        by_seed = [difference("", rows, moderator, level, other).by_seed for level, other in pairs]
        found += _largest(moderator, pairs, by_seed)
    return sorted(found, key=lambda one: -abs(one.mean_pp))


def accuracy_importance(frame: pd.DataFrame, keys: Sequence[str]) -> list[Importance]:
    """How far each factor moves the accuracy, all others matched, the one that moves it most first.

    Args:
        frame: the study's trials.
        keys: its factors.
    """
    done = frame[(frame["outcome"] == "done") & frame["acc"].notna()]
    texts = done[list(keys)].astype(object).map(repr).assign(seed=done["seed"], acc=100 * done["acc"])
    found = []
    for factor in keys:
        others = [key for key in keys if key != factor and not key.startswith(f"{factor}.")]
        wide = texts.pivot_table(index=[*others, "seed"], columns=factor, values="acc", aggfunc="mean", observed=True)
        levels = [level for level in levels_of(frame, factor) if repr(level) in wide]
        pairs = [(level, other) for place, other in enumerate(levels) for level in levels[place + 1 :]]
        matched = [(wide[repr(level)] - wide[repr(other)]).dropna() for level, other in pairs]
        by_seed = [one.groupby(level="seed").mean().round(9).to_numpy() for one in matched]
        found += _largest(factor, pairs, by_seed)
    return sorted(found, key=lambda one: -abs(one.mean_pp))


def difference(arm: str, rows: Sequence[MarginRow], moderator: str, level: Any, reference: Any) -> Difference:
    """The rows' margins at `level` minus those at `reference`, all other factors matched.

    The rows are what `matched.margins` gives for the arm, with the moderator among their levels.
    """
    at: dict[Any, dict[str, MarginRow]] = {level: {}, reference: {}}
    for row in rows:
        if row.levels[moderator] in at:
            others = repr({key: value for key, value in row.levels.items() if key != moderator})
            at[row.levels[moderator]][others] = row
    matched = [(row, at[reference][others]) for others, row in at[level].items() if others in at[reference]]
    differences: dict[int, list[float]] = defaultdict(list)
    cells = 0
    for one, other in matched:
        seeds = [seed for seed in one.by_seed if seed in other.by_seed]
        cells += bool(seeds)
        for seed in seeds:
            differences[seed].append(one.by_seed[seed] - other.by_seed[seed])
    by_seed = np.round([np.mean(differences[seed]) for seed in sorted(differences)], 9)
    diverged = sum(sum(row.diverged) for pair in matched for row in pair)
    return Difference(arm, moderator, level, reference, by_seed, cells, diverged)


def levels_with_margins(frame: pd.DataFrame, rows: Sequence[MarginRow], moderator: str) -> list[Any]:
    """The moderator's levels at which there is a margin, or would be one had no trial diverged; numbers by size."""
    there = [row.levels[moderator] for row in rows if moderator in row.levels and (row.margin or any(row.diverged))]
    return [level for level in levels_of(frame, moderator) if level in there]


def _effect(one: Difference, p: float | None) -> Effect:
    mean = float(np.mean(one.by_seed)) if len(one.by_seed) else None
    low, high = t_interval(one.by_seed) or (None, None)
    return Effect(one, mean, low, high, p)


def _largest(factor: str, pairs: Sequence[tuple[Any, Any]], by_seed: Sequence[Floats]) -> list[Importance]:
    """The pair of levels that differ most; none where no pair is matched."""
    known = [(pair, values) for pair, values in zip(pairs, by_seed, strict=True) if len(values)]
    if not known:
        return []
    (level, reference), values = max(known, key=lambda one: abs(float(np.mean(one[1]))))
    low, high = t_interval(values, 1 - (1 - CONFIDENCE) / len(known)) or (None, None)
    return [Importance(factor, level, reference, float(np.mean(values)), low, high, len(values))]
