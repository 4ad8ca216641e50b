"""How often a report calls an arm better, over new seeds and new test images, where both arms are equally good.

    python benchmarks/population_errors.py

Every seed of a study is scored on the same test images, each with a difficulty of its own; an arm finds some images
easier than the other does, in equal measure. There are 6,000 studies a setting. `seeds alone`: Student's t over seeds,
as before. `report`: the verdict's p value, the larger one of that and of `ablate.stats.population`. Rates in percent at
5%; `report, 12 cells` at 5% / 12, times 12, which bounds the error of a family of 12. `covers`: how often the report's
interval holds the true margin, 0.

The exit status is 1 if the report's error, or that of 12 cells, is above 6% and three Monte-Carlo standard errors. A
run takes two minutes on one core.
"""

from __future__ import annotations

import sys

import numpy as np
from rate_tables import each, print_table
from scipy import stats

from ablate.stats import population
from ablate.stats.arrays import Floats
from ablate.stats.multiple_testing import ALPHA
from ablate.stats.paired import t_tests

AT_ONCE = 300
STUDIES = 6_000
IMAGES = (360, 1_500)
SEEDS = (2, 3, 4, 7, 10, 20)
KINDS = {
    "images differ": (6.0, 3.0, 2.0, 0.1),
    "seeds differ": (6.0, 3.0, 0.7, 0.4),
    "many errors": (3.0, 2.0, 1.0, 0.1),
}
"""Mean and spread of the logits of the images, the spread between arms, and that between seeds."""


def differences(rng: np.random.Generator, n: int, items: int, kind: tuple[float, float, float, float]) -> np.ndarray:
    """Return (studies, n, items) in {-1, 0, 1}: whether the first arm is right, less whether the second is."""
    mean, images_sd, arms_sd, seeds_sd = kind
    images = rng.normal(mean, images_sd, (AT_ONCE, 1, items))
    right = []
    for _ in range(2):
        logits = images + rng.normal(0, arms_sd, (AT_ONCE, 1, items)) + rng.normal(0, seeds_sd, (AT_ONCE, n, 1))
        right.append(rng.random((AT_ONCE, n, items), dtype=np.float32) < 1 / (1 + np.exp(-logits)))
    return right[0].astype(np.int8) - right[1]


def p_values(by_item: np.ndarray) -> tuple[Floats, Floats]:
    """Return (studies,) p values of seeds alone, and of a report, as `ablate.stats.margin` computes them for one."""
    _, n, items = by_item.shape
    by_seed = np.round(100 * by_item.mean(-1), 9)
    mean = by_seed.mean(-1)
    of_items = 100 * by_item.mean(1)
    test_se = np.sqrt(
        ((of_items**2).sum(-1) + 2e4) / (items + 2) ** 2 - (of_items.sum(-1) / (items + 2)) ** 2 / (items + 2)
    )
    squares = 1e4 * (by_item.astype(np.float32) ** 2).sum((1, 2)) - n * items * mean**2
    explained = items * ((by_seed - mean[:, None]) ** 2).sum(-1) + n * ((of_items - mean[:, None]) ** 2).sum(-1)
    residual_se = np.sqrt(np.maximum(squares - explained, 0) / ((n - 1) * (items - 1)) / (n * items))
    se, df = population.error(by_seed, test_se, residual_se, items)
    over_both = 2 * stats.t.sf(np.abs(mean) / se, df)
    over_seeds = t_tests(by_seed, least_se=test_se)
    return np.where(np.ptp(by_seed, axis=-1) > 0, t_tests(by_seed), 0.0), np.maximum(over_seeds, over_both)


def main() -> int:
    rng = np.random.default_rng(1907_06916)
    lines, missed = [], []
    for items in IMAGES:
        for name, kind in KINDS.items():
            for n in SEEDS:
                drawn = [p_values(differences(rng, n, items, kind)) for _ in range(STUDIES // AT_ONCE)]
                seeds_alone, report = (np.concatenate(p) for p in zip(*drawn, strict=True))
                error, before = np.mean(report < ALPHA), np.mean(seeds_alone < ALPHA)
                family = 12 * np.mean(report < ALPHA / 12)
                lines.append([f"{items}", name, f"{n}", each(before), each(error), each(family), each(1 - error)])
                of_cell, of_family = (0.06 + 3 * (0.06 * 0.94 * tests / STUDIES) ** 0.5 for tests in (1, 12))
                if error > of_cell or family > of_family:
                    missed.append(f"Missed: {items} images, {name}, {n} seeds")
    header = ["images", "setting", "seeds", "seeds alone", "report", "report, 12 cells", "covers"]
    print_table(header, lines)
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
