"""Configurations that diverge: which arm leads at every tuning budget, when they are left out and when they count.

    python benchmarks/budget_errors.py

Each arm of a cell tries 6, 12 or 24 configurations, whose accuracies are normal, of a spread of 1 point. In the second
arm none, a quarter or half of them diverge; the others are better than the first arm's by 0.3 points. "Before", the
curve leaves diverged configurations out, as if the search had never met them. "After", they count at chance, 10%, as
what a search ends with that tries no others (`ablate.stats.expected_best`).

- leads: how often the second arm is said to be ahead at every budget.
- truth: how often it is, in the mean over 2,000 other searches of the same budgets.
- off: the mean error of the margin at a budget of one configuration, in points.

The exit status is 1 if after the error at a budget of one is more than 2 points on average, or if where half diverge
the second arm is said to lead at every budget in more than 6% of studies. A run takes 5 s on one core.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
from rate_tables import each, print_table

from ablate.stats.arrays import Floats
from ablate.stats.expected_best import expected_best

STUDIES, OTHERS = 6_000, 2_000
CONFIGURATIONS, DIVERGED = (6, 12, 24), (0.0, 0.25, 0.5)
ACC, SD, AHEAD, CHANCE = 0.9, 0.01, 0.003, 0.1
MOST_OFF_PP, MOST_LEADS = 2.0, 0.06


def main() -> None:
    rng = np.random.default_rng(0)
    rows, missed = [], []
    for tried, share in product(CONFIGURATIONS, DIVERGED):
        diverged = round(share * tried)
        first = ACC + SD * rng.standard_normal((STUDIES, tried))
        second = ACC + AHEAD + SD * rng.standard_normal((STUDIES, tried - diverged))
        before = _curve(first, second, 0)
        after = _curve(first, second, diverged)
        truth = _truth(tried, diverged, rng)
        leads = [float((curve > 0).all(axis=-1).mean()) for curve in (before, after)]
        off = [100 * float((curve[:, 0] - truth[0]).mean()) for curve in (before, after)]
        ahead = "yes" if (truth > 0).all() else "no"
        rows.append([f"{tried}", f"{diverged}", *map(each, leads), ahead, *(f"{pp:+.1f}" for pp in off)])
        if abs(off[1]) > MOST_OFF_PP or (share == 0.5 and leads[1] > MOST_LEADS):
            missed.append(f"{diverged} of {tried} diverge: leads in {each(leads[1])}%, off by {off[1]:.1f} points")
    print_table(["tried", "diverged", "leads before (%)", "leads after (%)", "truth", "off before", "off after"], rows)
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    sys.exit(bool(missed))


def _curve(first: Floats, second: Floats, diverged: int) -> Floats:
    """Return (studies, budgets) margins of the second arm, with so many more of its configurations at chance."""
    ordered = [-np.sort(-arm, axis=-1) for arm in (first, second)]
    ordered[1] = np.concatenate([ordered[1], np.full((len(second), diverged), CHANCE)], axis=-1)
    most = min(arm.shape[-1] for arm in ordered)
    return expected_best(ordered[1], most) - expected_best(ordered[0], most)


def _truth(tried: int, diverged: int, rng: np.random.Generator) -> Floats:
    """Return (budgets,) the mean margin of the second arm's search over the first's, each of fresh configurations."""
    first = ACC + SD * rng.standard_normal((OTHERS, tried))
    second = ACC + AHEAD + SD * rng.standard_normal((OTHERS, tried))
    second = np.where(rng.random(second.shape) < diverged / tried, CHANCE, second)
    best = [np.maximum.accumulate(arm, axis=-1).mean(axis=0) for arm in (first, second)]
    return best[1] - best[0]


if __name__ == "__main__":
    main()
