"""The margin between two arms: its interval, and what the tests say of it.

Over the seeds alone it is about the test items of the study; where each trial's predictions are known, over new test
items too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ablate.stats import population
from ablate.stats.arrays import Floats
from ablate.stats.finite_test_set import TestSet
from ablate.stats.multiple_testing import CONFIDENCE
from ablate.stats.paired import EQUIVALENCE_PP, equivalence_tests, t_interval, t_test
from ablate.stats.rounding import without_rounding
from ablate.stats.seed_rule import FIXED, SeedRule


@dataclass(frozen=True)
class Margin:
    """A margin in percentage points, with its 95% interval where there is a spread to estimate it from.

    `sd_pp` is the standard deviation over seeds; None with one seed. `p_difference` is the p value of a margin of 0,
    `p_equivalence` that of a margin as large as the smallest difference of interest. `p_seeds` is the p value of a
    margin of 0 on these very test items, by the seeds alone. `test_set` is None where no predictions are known;
    interval and p values are then about the test items of the study, too. `fixed` is whether the number of seeds was.

    `moderated_sd_pp` is the standard deviation that the tests use in its place, where it is drawn towards that of all
    cells, and `prior_df` how many degrees of freedom that adds: see `ablate.stats.moderated`.
    """

    n: int
    mean_pp: float
    sd_pp: float | None = None
    low_pp: float | None = None
    high_pp: float | None = None
    p_difference: float | None = None
    p_equivalence: float | None = None
    p_seeds: float | None = None
    test_set: TestSet | None = None
    fixed: bool = True
    moderated_sd_pp: float | None = None
    prior_df: float = 0.0

    @property
    def seed_se_pp(self) -> float | None:
        """Return the standard error of the mean over seeds."""
        return None if self.sd_pp is None else self.sd_pp / self.n**0.5

    @property
    def identical(self) -> bool:
        """Return whether all seeds have the same difference. The spread is then the test set's, where that is known."""
        return self.sd_pp == 0


def margin(
    first: Sequence[float],
    second: Sequence[float],
    *,
    equivalence_pp: float = EQUIVALENCE_PP,
    test_set: TestSet | None = None,
    seed_rule: SeedRule = FIXED,
    items: int | None = None,
) -> Margin:
    """Return the mean paired difference in accuracy, first arm minus second, in percentage points.

    One seed gives an estimate without an interval. Identical differences do not show that there is no spread, but that
    the test set is too coarse to show it. The standard error is then that of test-set sampling; where that is unknown,
    there is neither interval nor test.

    Where the test set's error is known, the margin is that over new seeds and new items: the interval is the wider one,
    and each p value the larger one, of Student's t over seeds and of `ablate.stats.population`. With few seeds the
    first keeps the level where seeds vary most, the second where items do.

    Args:
        first: (n,) accuracies in [0, 1], one per seed; other measures in hundredths.
        second: (n,) the same seeds, every other factor at the same level.
        equivalence_pp: the smallest difference of interest.
        test_set: what `error_of_test_set` returns for the two arms.
        seed_rule: how the study came to its number of seeds. Where that was not fixed, the interval and the tests over
            seeds are those of `ablate.stats.sequential`, which hold under looking each time.
        items: the size of the test set, if every accuracy is a count of its items.

    Raises:
        ValueError: the arms differ in length, are empty, or hold a value that is not finite.

    >>> result = margin([0.99, 0.98, 0.97], [0.96, 0.96, 0.96])
    >>> result.mean_pp, result.sd_pp, result.low_pp, result.high_pp
    (2.0, 1.0, -0.4841..., 4.4841...)

    Source: paired t, Student (1908); two one-sided tests, Schuirmann (1987).
    """
    pp = differences_pp(first, second, items)
    over_seeds = _over_seeds(pp, equivalence_pp, test_set, seed_rule)
    if test_set is None or len(pp) < 2:
        return over_seeds
    over_both = _over_seeds_and_items(pp, equivalence_pp, test_set)
    return replace(
        over_seeds,
        low_pp=_extreme(min, over_seeds.low_pp, over_both.low_pp),
        high_pp=_extreme(max, over_seeds.high_pp, over_both.high_pp),
        p_difference=_extreme(max, over_seeds.p_difference, over_both.p_difference),
        p_equivalence=_extreme(max, over_seeds.p_equivalence, over_both.p_equivalence),
    )


def _over_seeds(pp: Floats, equivalence_pp: float, test_set: TestSet | None, seed_rule: SeedRule) -> Margin:
    """Return the margin on the study's own test items."""
    least = test_set.se_pp if test_set else None
    sd_pp = None if len(pp) == 1 else float(np.std(pp, ddof=1)) if np.ptp(pp) > 0 else 0.0
    if not seed_rule.is_fixed:
        return _sequential(pp, sd_pp, equivalence_pp, test_set, seed_rule)
    low_pp, high_pp = t_interval(pp, least_se=least) or (None, None)
    p_difference = t_test(pp, least_se=least)
    return Margin(
        n=len(pp),
        mean_pp=float(np.mean(pp)),
        sd_pp=sd_pp,
        low_pp=low_pp,
        high_pp=high_pp,
        p_difference=p_difference,
        p_equivalence=_number(equivalence_tests(pp, equivalence_pp, np.nan if least is None else least)),
        p_seeds=p_difference,
        test_set=test_set,
    )


def _sequential(
    pp: Floats, sd_pp: float | None, equivalence_pp: float, test_set: TestSet | None, seed_rule: SeedRule
) -> Margin:
    """Return the margin over seeds that were added after a look. With too few for a look, the p values are 1."""
    p_difference = seed_rule.test(pp)
    low_pp, high_pp = seed_rule.interval(pp) or (None, None)
    return Margin(
        n=len(pp),
        mean_pp=float(np.mean(pp)),
        sd_pp=sd_pp,
        low_pp=low_pp,
        high_pp=high_pp,
        p_difference=1.0 if p_difference is None else p_difference,
        p_equivalence=seed_rule.equivalence_test(pp, equivalence_pp),
        p_seeds=1.0 if p_difference is None else p_difference,
        test_set=test_set,
        fixed=False,
    )


def _over_seeds_and_items(pp: Floats, equivalence_pp: float, test_set: TestSet) -> Margin:
    """Return the margin over new seeds and new test items."""
    from scipy import stats

    mean = float(np.mean(pp))
    se, df = population.error(pp, test_set.se_pp, test_set.residual_se_pp, test_set.items)
    half = float(stats.t.isf((1 - CONFIDENCE) / 2, df) * se)
    return Margin(
        n=len(pp),
        mean_pp=mean,
        low_pp=mean - half,
        high_pp=mean + half,
        p_difference=float(2 * stats.t.sf(abs(mean) / se, df)),
        p_equivalence=float(stats.t.sf((equivalence_pp - abs(mean)) / se, df)),
    )


def _extreme(pick: Callable[[float, float], float], first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else pick(first, second)


def differences_pp(first: Sequence[float], second: Sequence[float], items: int | None = None) -> Floats:
    """Return (n,) paired differences, first arm minus second, in percentage points. Arguments as in `margin`."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"margin: arms of shape {a.shape} and {b.shape}; allowed: two of the same length, 1 or more")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("margin: an arm holds NaN or infinity; allowed: finite numbers")
    largest_pp = 100 * float(max(np.abs(a).max(), np.abs(b).max()))
    return without_rounding(100 * (a - b), items, largest_pp)


def _number(value: Floats) -> float | None:
    """Return a (,) array as a number, NaN as None."""
    return None if np.isnan(value) else float(value)
