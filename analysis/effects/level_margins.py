"""The margin at each level of each factor: per data set, per size, per number of bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.core.levels import Level
from ablate.stats.arrays import Floats
from ablate.stats.seed_rule import FIXED, SeedRule
from analysis.effects.factors import levels_of
from analysis.effects.matched import MarginRow


@dataclass(frozen=True)
class LevelMargin:
    """The mean margin over the cells at one level of a factor.

    by_seed: (n,) percentage points, one per seed that is done in both arms of all these cells: the mean over the cells.
    planned: how many seeds the cell with most of them has.
    cells: the number of cells that have a margin; cells_without: those that have none.
    low_pp, high_pp: the 95% interval over seeds; None with fewer than two seeds, or without a spread.
    """

    factor: str
    level: Level
    by_seed: Floats
    planned: int
    cells: int
    cells_without: int
    low_pp: float | None
    high_pp: float | None

    @property
    def mean_pp(self) -> float | None:
        return float(np.mean(self.by_seed)) if len(self.by_seed) else None


def level_margins(rows: Sequence[MarginRow], frame: pd.DataFrame, seed_rule: SeedRule = FIXED) -> list[LevelMargin]:
    """Return the margin at each level of each factor that varies among the rows, in the order of the rows' factors.

    Each seed gives one value, the mean over the cells at the level, so that cells that share a seed are not taken for
    independent. A seed that lacks one of the cells is left out: its mean would be over others.

    Args:
        rows: a contrast's margins, one per cell.
        frame: one row per trial; it orders the levels.
        seed_rule: how the study came to its number of seeds.
    """
    margins = []
    for factor in rows[0].levels if rows else ():
        levels = [level for level in levels_of(frame, factor) if any(_is(row, factor, level) for row in rows)]
        if len(levels) > 1:
            at_levels = [[row for row in rows if _is(row, factor, level)] for level in levels]
            margins += [_at(factor, level, at, seed_rule) for level, at in zip(levels, at_levels, strict=True)]
    return margins


def _at(factor: str, level: Level, rows: Sequence[MarginRow], seed_rule: SeedRule) -> LevelMargin:
    known = [row for row in rows if row.by_seed]
    seeds = sorted(set.intersection(*(set(row.by_seed) for row in known))) if known else []
    by_seed = np.round([np.mean([row.by_seed[seed] for row in known]) for seed in seeds], 9)
    low_pp, high_pp = (seed_rule.interval(by_seed) if len(seeds) > 1 else None) or (None, None)
    planned = max(row.planned for row in rows)
    return LevelMargin(factor, level, by_seed, planned, len(known), len(rows) - len(known), low_pp, high_pp)


def _is(row: MarginRow, factor: str, level: Level) -> bool:
    return repr(row.levels.get(factor)) == repr(level)
