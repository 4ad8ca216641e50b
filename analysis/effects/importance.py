"""How far each factor moves the accuracy, or the margin: its two most different levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.core.levels import Level
from ablate.stats.arrays import Floats
from ablate.stats.multiple_testing import CONFIDENCE
from ablate.stats.paired import t_interval
from analysis.effects.factors import levels_of
from analysis.effects.interaction import difference, levels_with_margins
from analysis.effects.matched import MarginRow


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
