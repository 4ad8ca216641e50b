"""Trials that collapse: how often a comparison is wrong that counts them, and one in two parts that does not.

    python benchmarks/failure_errors.py

Studies of 1 or 12 cells with 2 to 20 seeds of a spread of 0.4 points in each arm. A trial collapses to 10% accuracy,
that is chance, with a probability of .1 in one arm, in both, or in neither. "Before", every trial counts, in Student's
t. "After", the margin is that of the seeds for which both arms trained, and a verdict needs half of the seeds, and a
better arm that is not shown to fail more often: `analysis.effects.verdict`. Both with Holm over the cells.

- better, equivalent: any cell is wrongly called so; the true margin of what trains is 0, or 0.5 points, in all.
- fails more: an arm is called the one that fails more often, where neither is (exact, over all cells' seeds).
- found: the share of cells that are called better whose true margin is 1.5 points.

The exit status is 1 if an error rate after is above 6% (plus three Monte-Carlo standard errors), or if less than 94% of
margins are found after in one cell of 7 seeds with collapses in both arms. A run takes two minutes on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product

import numpy as np
from noises import Noise, normal, t3
from numpy.typing import NDArray
from rate_tables import each, print_table
from scipy import stats

from ablate.stats.arrays import Floats
from ablate.stats.failures import failures_differ, share_is_larger
from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.paired import EQUIVALENCE_PP

STUDIES = 6_000
CELLS, SEEDS = (1, 12), (2, 3, 4, 7, 10, 20)
RATES = {"none": (0.0, 0.0), "one arm": (0.1, 0.0), "both arms": (0.1, 0.1)}
SD_PP, COLLAPSE_PP, MARGIN_PP = 0.4, 87.0, 1.5
NOISES: dict[str, Noise] = {"normal": normal, "t(3)": t3}
MOST_ERRORS, LEAST_POWER = 0.06 + 3 * (0.06 * 0.94 / STUDIES) ** 0.5, 0.94
SHOWN_FAILURES = 2_000
"""Studies of which the test of the shares is simulated: it is exact, and slow."""

Hits = NDArray[np.bool_]


def main() -> None:
    rng = np.random.default_rng(0)
    rows, missed = [], []
    settings = product(CELLS, RATES.items(), NOISES.items(), SEEDS)
    for cells, (where, rates), (name, noise), n in settings:
        shape = (STUDIES, cells, n)
        trained = [rng.random(shape) >= rate for rate in rates]
        margins = SD_PP * (noise(rng, shape) - noise(rng, shape))
        before, after = (_shares(margins, trained, two_parts=two_parts) for two_parts in (False, True))
        fails_more = _fails_more(trained) if rates[0] == rates[1] > 0 else None
        cell = [f"{each(before[key])} → {each(after[key])}" for key in before]
        rows.append([f"{cells}", where, name, f"{n}", *cell, "–" if fails_more is None else each(fails_more)])
        errors = [after["better"], after["equivalent"], fails_more or 0.0]
        if max(errors) > MOST_ERRORS:
            missed.append(f"{cells} cells, {n} seeds, collapse in {where}, {name}: wrong in {each(max(errors))}%")
        if (cells, n, where) == (1, 7, "both arms") and after["found"] < LEAST_POWER:
            missed.append(f"{name}: found {each(after['found'])}%")
    print_table(["cells", "collapse in", "noise", "seeds", "better", "equivalent", "found", "fails more"], rows)
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    sys.exit(bool(missed))


def _shares(margins: Floats, trained: list[Hits], *, two_parts: bool) -> dict[str, float]:
    return {key: float(np.mean(hits)) for key, hits in _outcomes(margins, trained, two_parts=two_parts)}


def _outcomes(margins: Floats, trained: list[Hits], *, two_parts: bool) -> Iterator[tuple[str, Hits]]:
    """Yield for each name whether it is so in each study, or cell, of margins around 0."""
    for key, margin in (("better", 0.0), ("equivalent", EQUIVALENCE_PP), ("found", MARGIN_PP)):
        values = margins + margin
        if two_parts:
            counted = trained[0] & trained[1]
        else:
            counted = np.ones(values.shape, bool)
            values = np.where(trained[0], values, values - COLLAPSE_PP)
            values = np.where(trained[1], values, values + COLLAPSE_PP)
        mean, se, df = _masked(values, counted)
        if key == "equivalent":
            shown = _significant(stats.t.sf((EQUIVALENCE_PP - np.abs(mean)) / se, df))
        else:
            shown = _significant(2 * stats.t.sf(np.abs(mean) / se, df))
        if two_parts:
            shown &= 2 * counted.sum(axis=-1) >= values.shape[-1]
            shown &= ~_ahead_fails_more(mean, trained, both=key == "equivalent")
        yield key, shown.any(axis=-1) if key != "found" else shown & (mean > 0)


def _masked(values: Floats, counted: Hits) -> tuple[Floats, Floats, Floats]:
    """Return the means of those that count, their standard errors and degrees of freedom; NaN for fewer than two."""
    count = counted.sum(axis=-1)
    known = np.where(count > 1, count, np.nan)
    mean = np.where(counted, values, 0).sum(axis=-1) / known
    squares = np.where(counted, values - mean[..., None], 0) ** 2
    return mean, np.sqrt(squares.sum(axis=-1) / (known - 1) / known), known - 1


def _significant(p_values: Floats) -> Hits:
    adjusted = holms(p_values)
    return np.where(np.isnan(adjusted), False, adjusted < ALPHA)


def _ahead_fails_more(mean: Floats, trained: list[Hits], *, both: bool) -> Hits:
    """Return whether the arm that is ahead, or either, is shown to fail more often, as `verdicts` tests it."""
    n = trained[0].shape[-1]
    failed = [n - arm.sum(axis=-1) for arm in trained]
    larger = np.array([[share_is_larger(a, n, b, n) < ALPHA for b in range(n + 1)] for a in range(n + 1)])
    first, second = larger[failed[0], failed[1]], larger[failed[1], failed[0]]
    return first | second if both else np.where(mean > 0, first, second)


def _fails_more(trained: list[Hits]) -> float:
    """Return how often the arms are said to fail unequally often, over all cells."""
    excess = (trained[1].astype(int) - trained[0])[:SHOWN_FAILURES].sum(axis=1)
    return float(np.mean([failures_differ(by_seed) < ALPHA for by_seed in excess]))


if __name__ == "__main__":
    main()
