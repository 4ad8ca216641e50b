"""How often the report's intervals and tests are wrong, over simulated studies whose true margins are known.

    python benchmarks/margin_errors.py

Each setting has 20,000 studies of 12 cells, with 3, 5 or 10 seeds. The noise of seeds is normal or t(3); both arms have
the same spread or not. Accuracy is exact, or measured on a test set of 10,000 or 360 items, where each seed is right or
wrong on each item independently.

The exit status is 1 if the t interval covers less than 93% or more than 97% of the margins, if an error rate of 5% is
above 6% (and more than three Monte-Carlo standard errors above 5%), or if BCA_FROM is not what the BCa interval's
coverage says. A run takes two to three minutes on one core.

The columns of the tables:

- identical: all seeds differ by the same, so that the spread is the test set's.
- t, bounded, BCa: how often an interval contains the true margin. "t" is the report's interval, "bounded" is one whose
  spread is never below the test set's, and "BCa" is the bootstrap's.
- better, equivalent: any cell of a study is wrongly called so. The true margin is 0 in all cells, or exactly the
  smallest difference of interest in all.
- either: half of the cells are of the first kind, half of the second.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from bca_studies import bca_covers, bca_levels, resampled_means
from noises import Noise, Shape, exponential, normal, rare_drops, t3
from rate_tables import each, lowest_to_highest, print_rates, print_table

from ablate.stats.arrays import Floats
from ablate.stats.finite_test_set import error_of_test_set
from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.paired import (
    BCA_FROM,
    EQUIVALENCE_PP,
    bca_interval,
    equivalence_tests,
    t_intervals,
    t_tests,
)
from ablate.stats.power import more_seeds
from ablate.stats.seed_rule import later_look
from ablate.stats.sequential import difference_p, equivalence_p

STUDIES = 20_000
AT_ONCE = 2_000
CELLS = 12
FAMILIES = (4, 12)
SEEDS = (3, 5, 10)
MANY_SEEDS = (20, 30, 50, 100, 200)
ACC = 0.97
TRUTHS = ((2.0, 0.8), (1.0, 0.8), (0.5, 0.5), (0.2, 0.3), (0.0, 0.3), (0.0, 0.8))
"""Means and standard deviations, in percentage points."""
COVERS = (0.93, 0.97)
MOST_ERRORS = max(0.06, ALPHA + 3 * (ALPHA * (1 - ALPHA) / STUDIES) ** 0.5)

Rates = dict[str, float]
ERRORS = [f"{kind}, {m} cells" for kind in ("better", "equivalent") for m in FAMILIES] + ["equivalent, 1 cell"]
"""The error rates that should be 5% at most."""


@dataclass(frozen=True)
class Setting:
    """The simulated studies of one kind.

    n: seeds in each arm.
    noise: the name of the seeds' noise.
    sds_pp: the standard deviation of each arm, in percentage points.
    items: in the test set; None for accuracy without error.
    acc: the true accuracy of the better arm, in [0, 1].
    """

    n: int
    noise: str
    sds_pp: tuple[float, float]
    items: int | None
    acc: float = ACC

    def words(self) -> list[str]:
        return [f"{self.items or '–'}", f"{self.n}", self.noise, f"{self.sds_pp[0]}, {self.sds_pp[1]}"]

    def __str__(self) -> str:
        return "{} items, {} seeds, noise {} of sd {} points".format(*self.words())


NOISES: dict[str, Noise] = {
    "normal": normal,
    "t(3)": t3,
    "exponential": exponential,
    "one in 20 drops": rare_drops,
}

SURROUNDINGS = list(product(("normal", "t(3)"), ((0.4, 0.4), (0.2, 0.6))))
ITEMS = (None, 10_000, 360)
SETTINGS = [Setting(n, *around, items) for items in ITEMS for n in SEEDS for around in SURROUNDINGS]
SKEWED = (("exponential", (0.2, 0.6)), ("one in 20 drops", (0.2, 1.1)))
NEAR_ALL_RIGHT = [Setting(n, "normal", (0.1, 0.1), 360, acc) for acc in (0.99, 0.997) for n in SEEDS]


def main() -> None:
    check_shortcuts(np.random.default_rng(1))
    rng = np.random.default_rng(0)
    by_setting = {setting: rates(setting, rng) for setting in SETTINGS}
    print("Every setting, in percent\n")
    print_rates([(setting.words(), shares) for setting, shares in by_setting.items()], each)
    print("\nBy test set and seeds, lowest to highest, in percent\n")
    print_rates(list(grouped(by_setting)), lowest_to_highest)
    covers = bca_by_seeds(by_setting, rng)
    print("\nThe BCa interval by seeds: coverage in percent, lowest to highest\n")
    print_table(["seeds", "covers"], [[f"{n}", lowest_to_highest(shares)] for n, shares in covers.items()])
    print("\nFor information: 360 items, nearly all of them right, in percent\n")
    near = {setting: rates(setting, rng) for setting in NEAR_ALL_RIGHT}
    print_rates([([f"{100 * s.acc:g}% right", *s.words()[1:]], shares) for s, shares in near.items()], each)
    print("\nFor information: skewed noise, coverage in percent: t and BCa\n")
    print_skewed(rng)
    print("\nSeeds that would decide, as if 3 were there\n")
    print_power(rng)
    missed = [*misses(by_setting), *bca_misses(covers)]
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    sys.exit(bool(missed))


def rates(setting: Setting, rng: np.random.Generator) -> Rates:
    """Return by name how often each interval covers, where there is no margin, and how often each verdict is wrong."""
    tallies = defaultdict(list)
    for _ in range(STUDIES // AT_ONCE):
        for name, hits in outcomes(setting, rng):
            tallies[name].append(np.mean(hits))
    return {name: float(np.mean(shares)) for name, shares in tallies.items()}


def outcomes(setting: Setting, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Yield for each name whether it is so, for each study or cell of AT_ONCE studies."""
    shape = AT_ONCE, CELLS, setting.n
    no_margin, at_limit = (draw(setting, margin_pp, shape, rng) for margin_pp in (0.0, EQUIVALENCE_PP))
    yield from coverage(*no_margin)
    yield "BCa", bca_covers(no_margin[0][:, 0], rng)
    yield from wrong(no_margin, at_limit)


def coverage(pp: Floats, least_se: Floats | float) -> Iterator[tuple[str, np.ndarray]]:
    low, high = t_intervals(pp, least_se=least_se)
    yield "identical", np.ptp(pp, axis=-1) == 0
    yield "t", (low <= 0) & (high >= 0)
    if not np.isscalar(least_se):
        as_if_identical = np.broadcast_to(pp.mean(-1, keepdims=True), pp.shape)
        least_low, least_high = t_intervals(as_if_identical, least_se=least_se)
        yield "bounded", (np.minimum(low, least_low) <= 0) & (np.maximum(high, least_high) >= 0)


def wrong(*kinds: tuple[Floats, Floats | float]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield which studies show what is not so: a difference in cells of the first kind, equivalence in the second."""
    differ = [t_tests(pp, least_se=se) for pp, se in kinds]
    equal = [equivalence_tests(pp, EQUIVALENCE_PP, se) for pp, se in kinds]
    for m in FAMILIES:
        yield f"better, {m} cells", (holms(differ[0][:, :m]) < ALPHA).any(-1)
    yield "equivalent, 1 cell", equal[1] < ALPHA
    for m in FAMILIES:
        yield f"equivalent, {m} cells", (holms(equal[1][:, :m]) < ALPHA).any(-1)
    for m in FAMILIES:
        half = m // 2
        shown = [holms(np.concatenate([p[:, :half] for p in tests], axis=-1)) < ALPHA for tests in (differ, equal)]
        yield f"either, {m} cells", shown[0][:, :half].any(-1) | shown[1][:, half:].any(-1)


def draw(setting: Setting, margin_pp: float, shape: Shape, rng: np.random.Generator) -> tuple[Floats, Floats | float]:
    """Return (..., n) differences in percentage points, and the (...) standard errors of the test set in a report."""
    levels = setting.acc, setting.acc - margin_pp / 100
    first, second = (
        accuracies(setting, acc, sd_pp, shape, rng) for acc, sd_pp in zip(levels, setting.sds_pp, strict=True)
    )
    differences = np.round(100 * (first - second), 9)  # as differences_pp
    return differences, test_set_se_pp(first, second, setting.items) if setting.items else np.nan


def accuracies(setting: Setting, acc: float, sd_pp: float, shape: Shape, rng: np.random.Generator) -> Floats:
    """Return (..., n) accuracies whose mean is `acc`: what no network can reach is cut off on both sides."""
    by_seed = acc + sd_pp / 100 * NOISES[setting.noise](rng, shape)
    if not setting.items:
        return by_seed
    return rng.binomial(setting.items, np.clip(by_seed, 2 * acc - 1, 1)) / setting.items


def test_set_se_pp(first: Floats, second: Floats, items: int) -> Floats:
    """Return (...) what `error_of_test_set` gives on average for (..., n) accuracies, items being right by chance."""
    spread = (first * (1 - first) + second * (1 - second)).mean(-1) / first.shape[-1]
    mean = (first - second).mean(-1)
    variance = (items * (spread + mean**2) + 2) / (items + 2) - (items * mean / (items + 2)) ** 2
    return 100 * np.sqrt(variance / (items + 2))


def bca_by_seeds(by_setting: dict[Setting, Rates], rng: np.random.Generator) -> dict[int, list[float]]:
    """Return the number of seeds -> the BCa interval's coverage in each setting."""
    covers = {n: [shares["BCa"] for setting, shares in by_setting.items() if setting.n == n] for n in SEEDS}
    for n in MANY_SEEDS:
        settings = [Setting(n, *around, items) for items in ITEMS for around in SURROUNDINGS]
        covers[n] = [bca_coverage(setting, rng) for setting in settings]
    return covers


def bca_coverage(setting: Setting, rng: np.random.Generator) -> float:
    return float(np.mean([bca_covers(pp, rng) for pp in no_margins(setting, rng)]))


def no_margins(setting: Setting, rng: np.random.Generator) -> Iterator[Floats]:
    """Return (AT_ONCE, n) differences at a time, of 20,000 studies of one cell without a margin."""
    return (draw(setting, 0.0, (AT_ONCE, setting.n), rng)[0] for _ in range(STUDIES // AT_ONCE))


def print_skewed(rng: np.random.Generator) -> None:
    rows = []
    for n in (*SEEDS, *MANY_SEEDS):
        rows.append([f"{n}"])
        for noise, sds_pp in SKEWED:
            hits = [
                ((low <= 0) & (high >= 0), bca_covers(pp, rng))
                for pp in no_margins(Setting(n, noise, sds_pp, None), rng)
                for low, high in [t_intervals(pp)]
            ]
            rows[-1] += [each(share) for share in np.mean(hits, axis=(0, 2))]
    print_table(["seeds", *(f"{noise}: {kind}" for noise, _ in SKEWED for kind in ("t", "BCa"))], rows)


def print_power(rng: np.random.Generator) -> None:
    """Print how often the seeds of `more_seeds` decide, added after a look at 3, and what 3 seeds estimate."""
    rows = []
    for (mean_pp, sd_pp), m in product(TRUTHS, (1, 12)):
        more = more_seeds(mean_pp, sd_pp, 3, EQUIVALENCE_PP, differences=m, equivalences=m)
        assert more
        share = decided(mean_pp, sd_pp, 3 + more, m, rng)
        estimated = estimated_from_three(mean_pp, sd_pp, m, rng)
        row = [f"{mean_pp:g}", f"{sd_pp:g}", f"{m}", f"{3 + more}", each(share)]
        rows.append([*row, *(f"{value:.0f}" for value in estimated)])
    header = ["mean", "sd", "tests", "seeds", "% decided"]
    print_table([*header, "of 3 seeds' mean and sd: 10%", "median", "90%"], rows)


def decided(mean_pp: float, sd_pp: float, n: int, m: int, rng: np.random.Generator) -> float:
    """Return the share of studies of n seeds, looked at before, that show a difference or an equivalence at 5% / m."""
    pp = rng.normal(mean_pp, sd_pp, (AT_ONCE, n))
    last, factor = later_look(n)
    p_values = difference_p(pp, last), equivalence_p(pp, EQUIVALENCE_PP, last)
    return float(np.mean(np.minimum(*p_values) * factor < ALPHA / m))


def estimated_from_three(mean_pp: float, sd_pp: float, m: int, rng: np.random.Generator) -> Floats:
    """Return deciles 1, 5 and 9 of the total number of seeds that 3 seeds ask for where they do not decide."""
    pp = rng.normal(mean_pp, sd_pp, (200, 3))
    undecided = np.minimum(t_tests(pp), equivalence_tests(pp, EQUIVALENCE_PP)) >= ALPHA / m
    more = [
        more_seeds(study.mean(), study.std(ddof=1), 3, EQUIVALENCE_PP, differences=m, equivalences=m)
        for study in pp[undecided]
    ]
    return np.quantile([3 + seeds if seeds else np.inf for seeds in more], (0.1, 0.5, 0.9), method="nearest")


def misses(by_setting: dict[Setting, Rates]) -> Iterator[str]:
    """Yield the settings that miss a criterion, in words."""
    for setting, shares in by_setting.items():
        if not COVERS[0] <= shares["t"] <= COVERS[1]:
            yield f"Missed: the t interval covers {100 * shares['t']:.1f}%: {setting}"
        for name in ERRORS:
            if shares[name] > MOST_ERRORS:
                yield f"Missed: wrongly {name}: {100 * shares[name]:.1f}%: {setting}"


def bca_misses(covers: dict[int, list[float]]) -> Iterator[str]:
    """Yield a line if BCA_FROM is not the smallest number of seeds from which all settings are covered."""
    short = [n for n, shares in covers.items() if min(shares) < COVERS[0] or max(shares) > COVERS[1]]
    enough = [n for n in covers if n > max(short, default=0)]
    if not enough or enough[0] != BCA_FROM:
        least = enough[0] if enough else "more"
        yield f"Missed: BCA_FROM is {BCA_FROM}, and the BCa interval covers 93 to 97% from {least} seeds on"


def check_shortcuts(rng: np.random.Generator) -> None:
    """Check that the functions for many studies at once give what the report's functions give for one."""
    samples = rng.standard_t(3, (20, BCA_FROM))
    means = resampled_means(samples, rng)
    for sample, sample_means, *levels in zip(samples, means, *bca_levels(samples, means), strict=True):
        ends = bca_interval(sample)
        assert ends
        assert np.allclose(np.quantile(sample_means, levels), ends, rtol=0, atol=0.08 * (ends[1] - ends[0]))
    right = rng.random((2, 20, 5, 1000)) < np.array([0.97, 0.96]).reshape(2, 1, 1, 1)
    errors_pp = [error_of_test_set(list(first), list(second)).se_pp for first, second in zip(*right, strict=True)]
    assert np.isclose(np.mean(errors_pp), test_set_se_pp(*right.mean(-1), 1000).mean(), rtol=0.02)


def grouped(by_setting: dict[Setting, Rates]) -> Iterator[tuple[list[str], dict[str, list[float]]]]:
    for items, n in product(ITEMS, SEEDS):
        group = [shares for setting, shares in by_setting.items() if (setting.items, setting.n) == (items, n)]
        yield [f"{items or '–'}", f"{n}"], {name: [shares[name] for shares in group] for name in group[0]}


if __name__ == "__main__":
    main()
