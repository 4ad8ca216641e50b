"""How often the report's intervals and tests are wrong, over simulated studies whose true margins are known.

    python benchmarks/margin_errors.py

20,000 studies of 12 cells a setting: 3, 5 or 10 seeds; seeds' noise normal or t(3), both arms of one spread or not;
accuracy as it is, or on a test set of 10,000 or 360 items, each seed right or wrong on each item by itself. Exit status
1 if the t interval covers less than 93% or more than 97% of the margins, if an error rate of 5% is above 6% (and more
than three Monte-Carlo standard errors above 5%), or if BCA_FROM is not what the BCa interval's coverage says. Takes two
to three minutes on one core.

identical: all seeds differ by the same, and the spread is the test set's. t, bounded, BCa: how often an interval holds
the true margin: the report's; one whose spread is never below the test set's; the bootstrap's. better, equivalent:
any cell of a study is called so wrongly: the margin is 0 in all, or just the smallest difference of interest in all.
either: half of the cells are of one kind and half of the other.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product
from typing import Any

import numpy as np
from scipy import stats

from ablate.stats.arrays import Floats
from ablate.stats.finite_test_set import test_set_error
from ablate.stats.multiple_testing import holm
from ablate.stats.paired import (
    ALPHA,
    BCA_FROM,
    CONFIDENCE,
    EQUIVALENCE_PP,
    bca_interval,
    equivalence_tests,
    t_intervals,
    t_tests,
)
from ablate.stats.power import POWER, more_seeds

STUDIES = 20_000
AT_ONCE = 2_000
CELLS = 12
FAMILIES = (4, 12)
RESAMPLES = 2_000
SEEDS = (3, 5, 10)
MANY_SEEDS = (20, 30, 50, 100, 200)
ACC = 0.97
TIED = 1e-9
TRUTHS = ((2.0, 0.8), (1.0, 0.8), (0.5, 0.5), (0.2, 0.3), (0.0, 0.3), (0.0, 0.8))
"""Means and standard deviations, in points."""
COVERS = (0.93, 0.97)
MOST_ERRORS = max(0.06, ALPHA + 3 * (ALPHA * (1 - ALPHA) / STUDIES) ** 0.5)

Rates = dict[str, float]
Shape = tuple[int, ...]
ERRORS = [f"{kind}, {m} cells" for kind in ("better", "equivalent") for m in FAMILIES] + ["equivalent, 1 cell"]
"""The error rates that are to be 5% at most."""


@dataclass(frozen=True)
class Setting:
    """acc: of the better arm. items: of the test set; None for accuracy without error."""

    n: int
    noise: str
    sds_pp: tuple[float, float]
    items: int | None
    acc: float = ACC

    def words(self) -> list[str]:
        return [f"{self.items or '–'}", f"{self.n}", self.noise, f"{self.sds_pp[0]}, {self.sds_pp[1]}"]

    def __str__(self) -> str:
        return "{} items, {} seeds, noise {} of sd {} points".format(*self.words())


def one_in_20_drops(rng: np.random.Generator, shape: Shape) -> Floats:
    """Mean 0 and sd 1: nearly all of it from a twentieth of the seeds, that end far below the others."""
    drops = (0.05 - (rng.random(shape) < 0.05)) / (0.05 * 0.95) ** 0.5
    return 0.3 * rng.standard_normal(shape) + (1 - 0.3**2) ** 0.5 * drops


NOISES: dict[str, Callable[[np.random.Generator, Shape], Floats]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t(3)": lambda rng, shape: rng.standard_t(3, shape) / 3**0.5,
    "exponential": lambda rng, shape: 1 - rng.standard_exponential(shape),
    "one in 20 drops": one_in_20_drops,
}
"""Of mean 0 and sd 1."""

SURROUNDINGS = list(product(("normal", "t(3)"), ((0.4, 0.4), (0.2, 0.6))))
ITEMS = (None, 10_000, 360)
SETTINGS = [Setting(n, *around, items) for items in ITEMS for n in SEEDS for around in SURROUNDINGS]
SKEWED = (("exponential", (0.2, 0.6)), ("one in 20 drops", (0.2, 1.1)))
NEAR_ALL_RIGHT = [Setting(n, "normal", (0.1, 0.1), 360, acc) for acc in (0.99, 0.997) for n in SEEDS]


def main() -> None:
    check_shortcuts(np.random.default_rng(1))
    rng = np.random.default_rng(0)
    found = {setting: rates(setting, rng) for setting in SETTINGS}
    print("Every setting, in percent\n")
    print_rates([(setting.words(), one) for setting, one in found.items()], each)
    print("\nBy test set and seeds, lowest to highest, in percent\n")
    print_rates(list(grouped(found)), lowest_to_highest)
    covers = bca_by_seeds(found, rng)
    print("\nThe BCa interval by seeds: coverage in percent, lowest to highest\n")
    print_table(["seeds", "covers"], [[f"{n}", lowest_to_highest(of)] for n, of in covers.items()])
    print("\nFor information: 360 items, nearly all of them right, in percent\n")
    near = {setting: rates(setting, rng) for setting in NEAR_ALL_RIGHT}
    print_rates([([f"{100 * one.acc:g}% right", *one.words()[1:]], near[one]) for one in near], each)
    print("\nFor information: skewed noise, coverage in percent: t and BCa\n")
    print_skewed(rng)
    print("\nSeeds that would decide, as if 3 were there\n")
    print_power(rng)
    missed = [*misses(found), *bca_misses(covers)]
    print("\n" + "\n".join(missed or ["Every criterion holds."]))
    sys.exit(bool(missed))


def rates(setting: Setting, rng: np.random.Generator) -> Rates:
    """Coverage where there is no margin, and error rates by verdict."""
    tallies = defaultdict(list)
    for _ in range(STUDIES // AT_ONCE):
        for name, hits in outcomes(setting, rng):
            tallies[name].append(np.mean(hits))
    return {name: float(np.mean(shares)) for name, shares in tallies.items()}


def outcomes(setting: Setting, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """By name: of each study or cell, whether it is so."""
    shape = AT_ONCE, CELLS, setting.n
    none, edge = (draw(setting, margin_pp, shape, rng) for margin_pp in (0.0, EQUIVALENCE_PP))
    yield from coverage(*none)
    yield "BCa", bca_covers(none[0][:, 0], rng)
    yield from wrong(none, edge)


def coverage(pp: Floats, least_se: Floats | float) -> Iterator[tuple[str, np.ndarray]]:
    low, high = t_intervals(pp, least_se=least_se)
    yield "identical", np.ptp(pp, axis=-1) == 0
    yield "t", (low <= 0) & (high >= 0)
    if not np.isscalar(least_se):
        as_if_identical = np.broadcast_to(pp.mean(-1, keepdims=True), pp.shape)
        least_low, least_high = t_intervals(as_if_identical, least_se=least_se)
        yield "bounded", (np.minimum(low, least_low) <= 0) & (np.maximum(high, least_high) >= 0)


def wrong(*kinds: tuple[Floats, Floats | float]) -> Iterator[tuple[str, np.ndarray]]:
    """Which studies show what is not so: differences of the first kind, equivalence of the second."""
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
    """(..., n) differences in points, and (...) the standard error that the test set would be said to leave."""
    levels = setting.acc, setting.acc - margin_pp / 100
    first, second = (
        one_arm(setting, acc, sd_pp, shape, rng) for acc, sd_pp in zip(levels, setting.sds_pp, strict=True)
    )
    differences = np.round(100 * (first - second), 9)  # as differences_pp
    return differences, test_set_se_pp(first, second, setting.items) if setting.items else np.nan


def one_arm(setting: Setting, acc: float, sd_pp: float, shape: Shape, rng: np.random.Generator) -> Floats:
    """(..., n) accuracies whose mean is `acc`: what no network can reach is cut off on both sides."""
    by_seed = acc + sd_pp / 100 * NOISES[setting.noise](rng, shape)
    if not setting.items:
        return by_seed
    return rng.binomial(setting.items, np.clip(by_seed, 2 * acc - 1, 1)) / setting.items


def test_set_se_pp(first: Floats, second: Floats, items: int) -> Floats:
    """(...) what `test_set_error` gives on average of (..., n) accuracies, each item right or wrong by chance."""
    spread = (first * (1 - first) + second * (1 - second)).mean(-1) / first.shape[-1]
    mean = (first - second).mean(-1)
    variance = (items * (spread + mean**2) + 2) / (items + 2) - (items * mean / (items + 2)) ** 2
    return 100 * np.sqrt(variance / (items + 2))


def holms(p_values: Floats) -> Floats:
    """`holm` for each row of (..., m)."""
    m = p_values.shape[-1]
    order = np.argsort(p_values, axis=-1)
    stepped = np.maximum.accumulate(np.take_along_axis(p_values, order, -1) * np.arange(m, 0, -1), axis=-1)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1), axis=-1)
    return adjusted


def bca_covers(samples: Floats, rng: np.random.Generator) -> np.ndarray:
    """(studies,) whether the BCa interval of (studies, n) has 0 in it; one without spread has no interval."""
    means = resampled_means(samples, rng)
    low, high = bca_levels(samples, means)
    return (np.mean(means <= TIED, axis=-1) >= low) & (np.mean(means < -TIED, axis=-1) <= high)


def resampled_means(samples: Floats, rng: np.random.Generator) -> Floats:
    """(studies, RESAMPLES): all studies are resampled by the same draws."""
    n = samples.shape[-1]
    return samples @ (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).T / n)


def bca_levels(samples: Floats, means: Floats) -> tuple[Floats, Floats]:
    """(studies,) the shares of the resampled means between which the BCa interval lies: Efron (1987)."""
    centre = samples.mean(-1, keepdims=True)
    below = (np.mean(means < centre - TIED, axis=-1) + np.mean(means <= centre + TIED, axis=-1)) / 2
    off = samples - centre
    with np.errstate(invalid="ignore"):
        acceleration = np.sum(off**3, axis=-1) / (6 * np.sum(off**2, axis=-1) ** 1.5)
    bias = stats.norm.ppf(below)
    shifted = [bias + stats.norm.ppf(level) for level in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)]
    low, high = (stats.norm.cdf(bias + z / (1 - acceleration * z)) for z in shifted)
    return low, high


def bca_by_seeds(found: dict[Setting, Rates], rng: np.random.Generator) -> dict[int, list[float]]:
    """Seeds -> the BCa interval's coverage in each setting."""
    covers = {n: [one["BCa"] for setting, one in found.items() if setting.n == n] for n in SEEDS}
    for n in MANY_SEEDS:
        settings = [Setting(n, *around, items) for items in ITEMS for around in SURROUNDINGS]
        covers[n] = [bca_coverage(setting, rng) for setting in settings]
    return covers


def bca_coverage(setting: Setting, rng: np.random.Generator) -> float:
    return float(np.mean([bca_covers(pp, rng) for pp in no_margins(setting, rng)]))


def no_margins(setting: Setting, rng: np.random.Generator) -> Iterator[Floats]:
    """(AT_ONCE, n) differences at a time, of 20,000 studies of one cell."""
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
    """How often the seeds that `more_seeds` asks for do decide, the fewest that do in 80%, and what 3 seeds say."""
    rows = []
    for (mean_pp, sd_pp), m in product(TRUTHS, (1, 12)):
        more = more_seeds(mean_pp, sd_pp, 3, EQUIVALENCE_PP, differences=m, equivalences=m)
        assert more
        share = decided(mean_pp, sd_pp, 3 + more, m, rng)
        fewest = next(n for n in count(4) if decided(mean_pp, sd_pp, n, m, rng) >= POWER)
        told = told_by_three(mean_pp, sd_pp, m, rng)
        row = [f"{mean_pp:g}", f"{sd_pp:g}", f"{m}", f"{3 + more}", each(share), f"{fewest}"]
        rows.append([*row, *(f"{value:.0f}" for value in told)])
    header = ["mean", "sd", "tests", "seeds", "% decided", "fewest for 80%"]
    print_table([*header, "of 3 seeds' mean and sd: 10%", "median", "90%"], rows)


def decided(mean_pp: float, sd_pp: float, n: int, m: int, rng: np.random.Generator) -> float:
    """The share of studies of n seeds that show a difference or an equivalence at a level of 5% / m."""
    pp = rng.normal(mean_pp, sd_pp, (STUDIES, n))
    return float(np.mean((t_tests(pp) < ALPHA / m) | (equivalence_tests(pp, EQUIVALENCE_PP) < ALPHA / m)))


def told_by_three(mean_pp: float, sd_pp: float, m: int, rng: np.random.Generator) -> Floats:
    """Deciles 1, 5 and 9 of the number of seeds in all that 3 seeds ask for where they leave it undecided."""
    pp = rng.normal(mean_pp, sd_pp, (200, 3))
    still = np.minimum(t_tests(pp), equivalence_tests(pp, EQUIVALENCE_PP)) >= ALPHA / m
    more = [
        more_seeds(one.mean(), one.std(ddof=1), 3, EQUIVALENCE_PP, differences=m, equivalences=m) for one in pp[still]
    ]
    return np.quantile([3 + one if one else np.inf for one in more], (0.1, 0.5, 0.9), method="nearest")


def misses(found: dict[Setting, Rates]) -> Iterator[str]:
    """The settings that miss a criterion, in words."""
    for setting, one in found.items():
        if not COVERS[0] <= one["t"] <= COVERS[1]:
            yield f"Missed: the t interval covers {100 * one['t']:.1f}%: {setting}"
        for name in ERRORS:
            if one[name] > MOST_ERRORS:
                yield f"Missed: wrongly {name}: {100 * one[name]:.1f}%: {setting}"


def bca_misses(covers: dict[int, list[float]]) -> Iterator[str]:
    """The words for a BCA_FROM that is not the least number of seeds from which all settings are covered."""
    short = [n for n, of in covers.items() if min(of) < COVERS[0] or max(of) > COVERS[1]]
    enough = [n for n in covers if n > max(short, default=0)]
    if not enough or enough[0] != BCA_FROM:
        least = enough[0] if enough else "more"
        yield f"Missed: BCA_FROM is {BCA_FROM}, and the BCa interval covers 93 to 97% from {least} seeds on"


def check_shortcuts(rng: np.random.Generator) -> None:
    """What is done here for many studies at once gives what the report's functions give for one."""
    p_values = rng.uniform(0, 0.1, (200, CELLS))
    assert np.allclose(holms(p_values), [holm(list(one)) for one in p_values])
    samples = rng.standard_t(3, (20, BCA_FROM))
    means = resampled_means(samples, rng)
    for sample, of, *levels in zip(samples, means, *bca_levels(samples, means), strict=True):
        ends = bca_interval(sample)
        assert ends
        assert np.allclose(np.quantile(of, levels), ends, rtol=0, atol=0.08 * (ends[1] - ends[0]))
    right = rng.random((2, 20, 5, 1000)) < np.array([0.97, 0.96]).reshape(2, 1, 1, 1)
    of_each = [test_set_error(list(first), list(second)).se_pp for first, second in zip(*right, strict=True)]
    assert np.isclose(np.mean(of_each), test_set_se_pp(*right.mean(-1), 1000).mean(), rtol=0.02)


def grouped(found: dict[Setting, Rates]) -> Iterator[tuple[list[str], dict[str, list[float]]]]:
    for items, n in product(ITEMS, SEEDS):
        of = [one for setting, one in found.items() if (setting.items, setting.n) == (items, n)]
        yield [f"{items or '–'}", f"{n}"], {name: [one[name] for one in of] for name in of[0]}


def each(rate: float) -> str:
    return f"{100 * rate:.1f}"


def lowest_to_highest(of: Sequence[float]) -> str:
    return "–".join(dict.fromkeys((each(min(of)), each(max(of)))))


def print_rates(rows: Sequence[tuple[list[str], dict[str, Any]]], shown: Callable[[Any], str]) -> None:
    """A line for each: its first cells, and its rates by name."""
    names = max((list(one) for _, one in rows), key=len)
    first = ["items", "seeds", "noise", "sd (pp)"][: len(rows[0][0])]
    lines = [[*cells, *(shown(one[name]) if name in one else "–" for name in names)] for cells, one in rows]
    print_table([*first, *names], lines)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for line in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
