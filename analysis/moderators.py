"""How a margin changes with another factor: differences of margins, paired by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.contrasts import MarginRow, levels_of


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
    by_seed: NDArray[np.float64]
    cells: int
    diverged: int


def difference(arm: str, rows: Sequence[MarginRow], moderator: str, level: Any, reference: Any) -> Difference:
    """The rows' margins at `level` minus those at `reference`, all other factors matched.

    The rows are what `contrasts.margins` gives for the arm, with the moderator among their levels.
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
