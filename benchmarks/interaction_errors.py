"""How often a report finds an interaction that is there, and one that is not.

    python benchmarks/interaction_errors.py

The studies cross data set, width and bits, two levels each, with 3, 5 or 10 seeds. The second arm is three times as
noisy as the first, or equally noisy. A seed shifts all margins, and those of one data set further, so that cells that
share a seed are not independent. The exit status is 1 if a planted interaction of the stated size is found in less than
95% of studies, or an absent one in more than 6%.
"""

from __future__ import annotations

import sys

import numpy as np

from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.paired import t_tests

STUDIES = 20_000
SPREADS = {"equal": (0.45, 0.45), "unequal": (0.2, 0.6)}
SEED_SD, SEED_AND_DATA_SET_SD = 0.3, 0.3
MODERATORS = ("dataset", "width", "bits")
PLANTED_PP = {3: 4.0, 5: 1.4, 10: 0.7}


def margins(rng: np.random.Generator, seeds: int, spread: tuple[float, float], planted_pp: float) -> np.ndarray:
    """Return (studies, seeds, dataset, width, bits) margins: 1 point, and at the second bits the planted one on top."""
    first = rng.normal(0, spread[0], (STUDIES, seeds, 2, 2, 2))
    second = rng.normal(0, spread[1], (STUDIES, seeds, 2, 2, 2))
    by_seed = rng.normal(0, SEED_SD, (STUDIES, seeds, 1, 1, 1))
    by_data = rng.normal(0, SEED_AND_DATA_SET_SD, (STUDIES, seeds, 2, 1, 1))
    planted = planted_pp * np.arange(2.0)
    return 1 + planted + by_seed + by_data + first - second


def detected(margins_pp: np.ndarray) -> np.ndarray:
    """Return (studies, moderators) whether a report says that the margin depends on the moderator."""
    differences = []
    for moderator in range(len(MODERATORS)):
        levels = np.moveaxis(margins_pp, 2 + moderator, 2).mean(axis=(3, 4))
        differences.append(levels[:, :, 1] - levels[:, :, 0])
    p_values = np.stack([t_tests(by_seed) for by_seed in differences], axis=-1)
    return holms(p_values) < ALPHA


def main() -> int:
    rng = np.random.default_rng(1907_06916)
    missed = []
    print("| seeds | spread of the arms | planted | found | found where absent | found, nothing planted |")
    print("|---|---|---|---|---|---|")
    for seeds, planted_pp in PLANTED_PP.items():
        for name, spread in SPREADS.items():
            planted = detected(margins(rng, seeds, spread, planted_pp))
            power, beside = planted[:, 2].mean(), planted[:, :2].any(axis=1).mean()
            nothing = detected(margins(rng, seeds, spread, 0)).any(axis=1).mean()
            print(f"| {seeds} | {name} | {planted_pp:g} points | {power:.1%} | {beside:.1%} | {nothing:.1%} |")
            if power < 0.95 or max(beside, nothing) > 0.06:
                missed.append(f"{seeds} seeds, {name}")
    print("missed: " + "; ".join(missed) if missed else "all within their limits")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
