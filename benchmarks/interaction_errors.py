"""How often a report finds that a margin depends on something, where it does and where it does not.

    python benchmarks/interaction_errors.py

The studies cross data set, width and bits: two levels each, or three, three and two. A seed shifts all margins, and
those of one data set further, so that cells that share a seed are not independent. The second arm is three times as
noisy as the first, or equally noisy. The noise is normal or t(3).

"Before" tests three main effects by Holm, each level against the first alone, and calls the margin independent of all
where each such difference is equivalent to none. "Now" is `ablate.stats.interactions`. The columns:

- nothing: anything is found where there is nothing. beside: anything else is found beside a planted main effect of 4
  points, or beside a planted crossover.
- crossover: half of the cells have a margin of +3 points and half of -3, by all three factors together or by two of
  them; how often it is found. Main effect: the same for one of the size that is stated.
- denied: how often the margin is shown not to depend on anything, wrongly, where one cell's is exactly half a point
  above the others', or where there is a crossover; and rightly, where all are the same.

The exit status is 1 if a wrong answer comes in more than 6% of studies (plus three Monte-Carlo standard errors), or if
a crossover is found in less than 95% with 5 seeds. A run takes about a minute on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product

import numpy as np
from noises import Noise, normal, t3
from rate_tables import each, print_table

from ablate.stats.arrays import Floats
from ablate.stats.interactions import adjusted_p, cell_contrasts
from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.paired import EQUIVALENCE_PP, equivalence_tests, t_tests

STUDIES, AT_ONCE = 6_000, 500
MOST_ERRORS = 0.06 + 3 * (0.06 * 0.94 / STUDIES) ** 0.5
SPREADS = {"equal": (0.45, 0.45), "unequal": (0.2, 0.6)}
NOISES: dict[str, Noise] = {"normal": normal, "t(3)": t3}
SEED_SD, SEED_AND_DATA_SET_SD = 0.3, 0.3
SEEDS = (2, 3, 4, 7, 10, 20)
SMALL, LARGE = (2, 2, 2), (3, 3, 2)
MAIN_EFFECTS_PP = ((3, 4.0), (3, 6.0), (5, 1.4), (5, 1.7), (10, 0.7), (10, 0.8))
CALM = 0.2
"""The part of the noise that is left where it is asked how often independence is shown."""


def margins(
    rng: np.random.Generator, n: int, planted_pp: Floats, noise: Noise, spread: tuple[float, float], calm: float = 1.0
) -> Floats:
    """Return (AT_ONCE, n, cells) margins: 1 point and what is planted in each cell; `calm` scales the noise."""
    shape = (AT_ONCE, n, *planted_pp.shape)
    trials = spread[0] * noise(rng, shape) - spread[1] * noise(rng, shape)
    by_seed = SEED_SD * noise(rng, (AT_ONCE, n, 1, 1, 1))
    by_data = SEED_AND_DATA_SET_SD * noise(rng, (AT_ONCE, n, planted_pp.shape[0], 1, 1))
    return (1 + planted_pp + calm * (trials + by_seed + by_data)).reshape(AT_ONCE, n, -1)


def contrasts_of(grid: tuple[int, ...]) -> tuple[Floats, list[int], list[tuple[int, ...]]]:
    """Return the contrasts' (cells, m) coefficients, their orders, and the factors that each compares."""
    cells = list(product(*map(range, grid)))
    of_grid = cell_contrasts(dict(zip(cells, np.eye(len(cells)), strict=True))).contrasts
    coefficients = np.stack([contrast.by_seed for contrast in of_grid], axis=-1)
    return coefficients, [len(contrast.factors) for contrast in of_grid], [contrast.factors for contrast in of_grid]


def shown_before(margins_pp: Floats, grid: tuple[int, ...]) -> Floats:
    """Return (studies, m) whether each main effect, a level against the first, was shown."""
    return holms(t_tests(np.moveaxis(_against_first(margins_pp, grid), -1, -2))) < ALPHA


def denied_before(margins_pp: Floats, grid: tuple[int, ...]) -> Floats:
    differences = np.moveaxis(_against_first(margins_pp, grid), -1, -2)
    return (equivalence_tests(differences, EQUIVALENCE_PP) < ALPHA).all(-1) & ~shown_before(margins_pp, grid).any(-1)


def _against_first(margins_pp: Floats, grid: tuple[int, ...]) -> Floats:
    """Return (studies, n, m) the differences between each level and the first, averaged over the other factors."""
    by_cell = margins_pp.reshape(*margins_pp.shape[:2], *grid)
    levels = [np.moveaxis(by_cell, 2 + factor, 2).mean(axis=(3, 4)) for factor in range(len(grid))]
    return np.concatenate([of_factor[..., 1:] - of_factor[..., :1] for of_factor in levels], axis=-1)


def shown_now(margins_pp: Floats, grid: tuple[int, ...]) -> Floats:
    coefficients, orders, _ = contrasts_of(grid)
    return adjusted_p(margins_pp @ coefficients, orders) < ALPHA


def denied_now(margins_pp: Floats, grid: tuple[int, ...]) -> Floats:
    first, second = np.triu_indices(margins_pp.shape[-1], 1)
    pairs = np.moveaxis(margins_pp[..., first] - margins_pp[..., second], -1, -2)
    return (equivalence_tests(pairs, EQUIVALENCE_PP) < ALPHA).all(-1) & ~shown_now(margins_pp, grid).any(-1)


def crossover(grid: tuple[int, ...], factors: tuple[int, ...]) -> Floats:
    """Return margins of +3 and -3 points, by whether an even number of the factors are at their first level."""
    levels = np.indices(grid)
    return 3.0 * (-1.0) ** sum(np.minimum(levels[factor], 1) for factor in factors)


def errors(
    n: int, grid: tuple[int, ...], noise: Noise, spread: tuple[float, float], rng: np.random.Generator
) -> Floats:
    """Return the rates of wrong findings: before and now with nothing there, now beside a main effect, a crossover."""
    coefficients, _, _ = contrasts_of(grid)
    nothing, main_effect = np.zeros(grid), 4.0 * (np.indices(grid)[2] == 1)
    tallies = []
    for _ in range(STUDIES // AT_ONCE):
        absent = margins(rng, n, nothing, noise, spread)
        shares = [shown_before(absent, grid).any(-1).mean(), shown_now(absent, grid).any(-1).mean()]
        for planted in (main_effect, crossover(grid, (0, 1, 2))):
            truly_none = np.abs(planted.ravel() @ coefficients) < 1e-9
            shares.append((shown_now(margins(rng, n, planted, noise, spread), grid) & truly_none).any(-1).mean())
        tallies.append(shares)
    return np.mean(tallies, axis=0)


def power(n: int, planted: Floats, factors: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return how often what is planted is found: before (by anything), now, and now where arms are unequal in t(3)."""
    exactly = np.array([of == factors for of in contrasts_of(SMALL)[2]])
    tallies = []
    for _ in range(STUDIES // AT_ONCE):
        usual = margins(rng, n, planted, normal, SPREADS["equal"])
        rough = margins(rng, n, planted, t3, SPREADS["unequal"])
        shares = [shown_before(usual, SMALL).any(-1).mean()]
        tallies.append(shares + [shown_now(m, SMALL)[:, exactly].any(-1).mean() for m in (usual, rough)])
    return np.mean(tallies, axis=0)


def denials(n: int, planted: Floats, rng: np.random.Generator) -> Floats:
    tallies = []
    for _ in range(STUDIES // AT_ONCE):
        calm = margins(rng, n, planted, normal, SPREADS["equal"], CALM)
        tallies.append([denied_before(calm, SMALL).mean(), denied_now(calm, SMALL).mean()])
    return np.mean(tallies, axis=0)


def print_errors(rng: np.random.Generator) -> Iterator[str]:
    """Print the rates of wrong findings; yield the settings that miss the limit."""
    rows = []
    for grid, n, (noise, draw), (arms, spread) in product((SMALL, LARGE), SEEDS, NOISES.items(), SPREADS.items()):
        if grid == LARGE and (n, noise, arms) not in {(n, "t(3)", "unequal")}:
            continue
        shares = errors(n, grid, draw, spread, rng)
        rows.append(["x".join(map(str, grid)), f"{n}", noise, arms, *map(each, shares)])
        if max(shares[1:]) > MOST_ERRORS:
            yield f"wrong findings: {rows[-1]}"
    header = ["cells", "seeds", "noise", "arms", "nothing, before", "nothing, now", "beside a main effect"]
    print_table([*header, "beside a crossover"], rows)


def print_power(rng: np.random.Generator) -> Iterator[str]:
    rows = []
    for name, factors in (("of three", (0, 1, 2)), ("of two", (1, 2))):
        for n in (3, 5, 7):
            shares = power(n, crossover(SMALL, factors), factors, rng)
            rows.append([f"crossover {name}, ±3 points", f"{n}", *map(each, shares)])
            if n == 5 and min(shares[1:]) < 0.95:
                yield f"too seldom: {rows[-1]}"
    for n, size_pp in MAIN_EFFECTS_PP:
        planted = size_pp * (np.indices(SMALL)[2] == 1)
        rows.append([f"main effect, {size_pp:g} points", f"{n}", *map(each, power(n, planted, (2,), rng))])
    print_table(["planted", "seeds", "before", "now", "now, t(3), unequal arms"], rows)


def print_denials(rng: np.random.Generator) -> Iterator[str]:
    raised = np.zeros(SMALL)
    raised[0, 0, 0] = EQUIVALENCE_PP
    rows = []
    for n in (3, 5, 10):
        for name, planted in (("one cell half a point above", raised), ("crossover", crossover(SMALL, (0, 1, 2)))):
            shares = denials(n, planted, rng)
            rows.append([name, f"{n}", *map(each, shares)])
            if shares[1] > MOST_ERRORS:
                yield f"denied: {rows[-1]}"
        rows.append(["all the same (rightly denied)", f"{n}", *map(each, denials(n, np.zeros(SMALL), rng))])
    print_table(["margins", "seeds", "denied before", "denied now"], rows)


def main() -> int:
    rng = np.random.default_rng(1907_06916)
    missed = []
    parts = (("Wrong findings", print_errors), ("Right findings", print_power), ("Denied", print_denials))
    for title, part in parts:
        print(f"\n{title}, in percent of studies\n")
        missed += part(rng)
    print("\n" + "\n".join([f"Missed: {miss}" for miss in missed] or ["Every criterion holds."]))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
