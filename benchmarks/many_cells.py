"""Margins of many cells with few seeds: how often they are wrong, and how often found, before and after.

    python benchmarks/many_cells.py

Each setting has 70, 144 or 432 cells with 3 to 20 seeds, of a standard deviation of 0.5 points for a seed's margin.
With 2 seeds nothing is moderated. "Before" is Student's t in each cell, "after" the moderated t test
(ablate/stats/moderated.py), both with Holm over the cells. The noise is normal or t(3), one arm three times as noisy
as the other, shared in part by a seed's cells, or of a spread that differs from cell to cell by a factor of up to 4.

- better, equivalent: any cell of a study is wrongly called so; the true margin is 0, or 0.5 points, in all.
- covers: the share of cells whose 95% interval holds the true margin.
- found: the share of cells that are called better, of those with a true margin of 2 points.

The exit status is 1 if an error rate after is above 6% (plus three Monte-Carlo standard errors), if an interval after
covers less than 93% or more than 97.5%, or if less than 40% of margins are found in 432 cells of 3 seeds with normal
noise. A run takes about eight minutes on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product

import numpy as np
from noises import Noise, Shape, normal, t3
from rate_tables import each, print_table
from scipy import stats

from ablate.stats.arrays import Floats
from ablate.stats.moderated import FROM_CELLS, moderated_variances
from ablate.stats.multiple_testing import ALPHA, CONFIDENCE, holms
from ablate.stats.paired import EQUIVALENCE_PP

STUDIES, AT_ONCE = 6_000, 500
CELLS = (FROM_CELLS, 144, 432)
SEEDS = (3, 4, 7, 10, 20)
SD_PP, MARGIN_PP = 0.5, 2.0
MOST_ERRORS = 0.06 + 3 * (0.06 * 0.94 / STUDIES) ** 0.5
COVERS, LEAST_POWER = (0.93, 0.975), 0.4


def unequal_arms(rng: np.random.Generator, shape: Shape) -> Floats:
    """Draw differences of two arms with normal noise, one of them three times as noisy as the other."""
    return (rng.standard_normal(shape) - 3 * rng.standard_normal(shape)) / 10**0.5


def shared(rng: np.random.Generator, shape: Shape) -> Floats:
    """Draw noise half of whose variance all cells of a seed share."""
    return (rng.standard_normal(shape) + rng.standard_normal((shape[0], 1, shape[2]))) / 2**0.5


def uneven(rng: np.random.Generator, shape: Shape) -> Floats:
    """Draw noise whose spread goes from half to twice the usual one over the cells."""
    return np.geomspace(0.5, 2, shape[1])[:, None] * rng.standard_normal(shape)


NOISES: dict[str, Noise] = {
    "normal": normal,
    "t(3)": t3,
    "unequal arms": unequal_arms,
    "shared by cells": shared,
    "uneven cells": uneven,
}


def main() -> None:
    rng = np.random.default_rng(0)
    rows, missed = [], []
    for cells, (name, noise), n in product(CELLS, NOISES.items(), SEEDS):
        rates = _rates(cells, n, noise, rng)
        rows.append([f"{cells}", f"{n}", name, *(f"{each(rates[0][key])} → {each(rates[1][key])}" for key in rates[0])])
        missed += [f"{cells} cells, {n} seeds, {name}: {text}" for text in _misses(rates[1], cells, n, name)]
    print_table(["cells", "seeds", "noise", "better", "equivalent", "covers", "found"], rows)
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    sys.exit(bool(missed))


def _misses(rates: dict[str, float], cells: int, n: int, noise: str) -> Iterator[str]:
    yield from (f"{key} in {each(rates[key])}%" for key in ("better", "equivalent") if rates[key] > MOST_ERRORS)
    if not COVERS[0] <= rates["covers"] <= COVERS[1]:
        yield f"covers {each(rates['covers'])}%"
    if (cells, n, noise) == (432, 3, "normal") and rates["found"] < LEAST_POWER:
        yield f"found {each(rates['found'])}%"


def _rates(cells: int, n: int, noise: Noise, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
    """Return the rates before and after."""
    hits: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
    for _ in range(STUDIES // AT_ONCE):
        values = SD_PP * noise(rng, (AT_ONCE, cells, n))
        means, variances = values.mean(axis=-1), values.var(axis=-1, ddof=1)
        df = np.full(variances.shape, n - 1.0)
        after = moderated_variances(values)
        for tally, (variance, degrees) in zip(hits, ((variances, df), after), strict=True):
            for key, hit in _outcomes(means, np.sqrt(variance / n), degrees):
                tally.setdefault(key, []).append(float(hit.mean()))
    before, now = ({key: float(np.mean(shares)) for key, shares in tally.items()} for tally in hits)
    return before, now


def _outcomes(means: Floats, se: Floats, df: Floats) -> Iterator[tuple[str, np.ndarray]]:
    """Yield for each name whether it is so, of (studies, cells) means around 0."""
    yield "better", (holms(2 * stats.t.sf(np.abs(means) / se, df)) < ALPHA).any(axis=-1)
    at_limit = np.abs(means + EQUIVALENCE_PP)
    yield "equivalent", (holms(stats.t.sf((EQUIVALENCE_PP - at_limit) / se, df)) < ALPHA).any(axis=-1)
    yield "covers", np.abs(means) <= stats.t.isf((1 - CONFIDENCE) / 2, df) * se
    yield "found", holms(2 * stats.t.sf(np.abs(means + MARGIN_PP) / se, df)) < ALPHA


if __name__ == "__main__":
    main()
