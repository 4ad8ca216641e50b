from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablate.stats.highest_score import critical_score
from ablate.stats.multiple_testing import holms
from ablate.stats.sequential import (
    difference_p,
    equivalence_p,
    expected_seeds,
    interval,
    p_by_look,
    play,
    undecided,
)

NAN = float("nan")
LAST = 12


def rows(seed: int, *shape: int, mean_pp: float = 0.0, sd_pp: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean_pp, sd_pp, shape)


def by_seeds(values: np.ndarray, function) -> np.ndarray:
    """The function's results with 3 seeds, with 4, and so on, along a new last axis."""
    return np.stack([function(values[..., :n]) for n in range(3, values.shape[-1] + 1)], axis=-1)


@pytest.mark.parametrize("n", [2, 3, 10, 50])
def test_with_one_look_it_is_the_t_test(n):
    for values in rows(1, 20, n, mean_pp=0.3):
        assert difference_p(values, n, first=n) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
        sides = [
            stats.ttest_1samp(values, bound, alternative=side).pvalue
            for bound, side in ((-0.5, "greater"), (0.5, "less"))
        ]
        assert equivalence_p(values, 0.5, n, first=n) == pytest.approx(max(sides))
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert interval(values, n, first=n) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_one_look_is_exact_for_strong_evidence_too():
    values = np.array([5.0, 5.1, 4.9, 5.05, 4.95, 5.0, 5.1, 4.9])
    expected = stats.ttest_1samp(values, 0).pvalue
    assert expected < 1e-10
    assert difference_p(values, 8, first=8) == pytest.approx(expected, rel=1e-3)


def test_the_p_value_is_the_share_of_rows_without_a_margin_that_score_as_high():
    """Brute force: 200,000 rows of 12 seeds; the least nominal p value is as rare as it says, at several levels."""
    p_difference = difference_p(rows(2, 200_000, LAST), LAST)
    p_side = equivalence_p(rows(3, 200_000, LAST, mean_pp=100.0), 100.0, LAST)
    for level in (0.5, 0.05, 0.01, 0.05 / 12):
        for p in (p_difference, p_side):
            assert np.mean(p <= level) == pytest.approx(level, rel=0.1)
            assert np.mean(p <= level) < level + 4 * (level / len(p)) ** 0.5


def test_rare_levels_are_calibrated_by_the_union_of_looks():
    p = difference_p(rows(4, 600_000, 5), 5)
    assert np.mean(p <= 0.0005) == pytest.approx(0.0005, rel=0.2)


@pytest.mark.parametrize("last", [3, 4, 20, 100])
def test_more_evidence_gives_a_smaller_p_value(last):
    """Rows whose t statistic at the first look grows, all later seeds missing."""
    t = np.append(np.linspace(0.01, 20, 400), np.logspace(1.4, 7, 400))
    base = np.array([-1.0, 0.0, 1.0])
    p_values = difference_p(t[:, None] / 3**0.5 + base, last)
    assert (np.diff(p_values) <= 0).all()
    assert p_values[-1] < 1e-6


RULES = {
    "when significant": lambda p, values: p <= 0.05,
    "when the mean is highest": lambda p, values: by_seeds(values, lambda v: v.mean(-1)) > 0.35,
    "when p has halved": lambda p, values: p < p[:, :1] / 2,
    "at the seed that comes out best": lambda p, values: values[:, 2:] == values[:, 2:].max(-1, keepdims=True),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_level_holds_at_whatever_look_a_row_stops(rule):
    values = rows(5, 40_000, LAST)
    p = by_seeds(values, lambda v: difference_p(v, LAST))
    stops = RULES[rule](p, values)
    at = np.where(stops.any(-1), stops.argmax(-1), -1)
    wrong = np.mean(np.take_along_axis(p, at[:, None] % p.shape[1], -1) <= 0.05)
    assert wrong < 0.054


def test_fixed_tests_at_each_look_would_not_hold():
    values = rows(6, 20_000, LAST)
    naive = by_seeds(values, lambda v: stats.ttest_1samp(v, 0, axis=-1).pvalue)
    assert np.mean(naive.min(-1) < 0.05) > 0.12
    assert np.mean(difference_p(values, LAST) < 0.05) < 0.054


def test_p_values_never_rise_and_intervals_never_widen():
    values = rows(7, 500, LAST, mean_pp=0.2)
    for p_value in (lambda v: difference_p(v, LAST), lambda v: equivalence_p(v, 0.5, LAST)):
        assert (np.diff(by_seeds(values, p_value)) <= 0).all()
    assert (np.diff(by_seeds(values, lambda v: interval(v, LAST)[0])) >= 0).mean() > 0.999
    assert (np.diff(by_seeds(values, lambda v: np.subtract(*interval(v, LAST)[::-1]))) <= 1e-12).all()


def test_the_interval_is_the_means_that_are_not_rejected():
    for values in rows(8, 30, 9, mean_pp=0.3):
        low, high = interval(values, LAST)
        for end, out in ((low, -1e-3), (high, 1e-3)):
            assert difference_p(values - end - out, LAST) < 0.05
            assert difference_p(values - end + out, LAST) > 0.05
    values = rows(9, 2_000, 9, mean_pp=0.3)
    low, high = interval(values, LAST)
    assert (((low > 0) | (high < 0)) == (difference_p(values, LAST) <= 0.05)).all()


def test_the_interval_holds_the_margin_at_all_looks_together():
    low, high = interval(rows(10, 40_000, LAST, mean_pp=1.0), LAST)
    assert np.mean((low <= 1) & (high >= 1)) == pytest.approx(0.95, abs=0.005)


def test_where_every_mean_is_rejected_the_interval_is_the_last_that_was_not_empty():
    """Three seeds near 5 and nine far away: no mean goes with all looks."""
    values = np.array([5.0, 5.0001, 5.0002, *([-3.0, -3.001, -2.999] * 3)])
    assert interval(values, LAST) == interval(values[:3], LAST)
    assert interval(values, LAST)[0] > 4.9


def test_equivalence_is_both_sides_each_at_the_look_that_shows_it_best():
    """Brute force: the sides as loops over looks, by scipy's t tests; the critical score from one-sided rows."""
    null = np.sort(_highest_score(rows(11, 50_000, LAST)))[::-1]
    for values in rows(12, 20, LAST, mean_pp=0.15):
        sides = [_highest_score((side * values + 0.5)[None])[0] for side in (1, -1)]
        by_hand = np.mean(null >= min(sides))
        p_values = equivalence_p(values, 0.5, LAST)
        assert p_values == pytest.approx(by_hand, rel=0.1, abs=0.002)


def _highest_score(values: np.ndarray) -> np.ndarray:
    looks = []
    for n in range(3, values.shape[-1] + 1):
        p = stats.ttest_1samp(values[..., :n], 0, axis=-1, alternative="greater").pvalue
        looks.append(stats.norm.isf(p) / (1 + 0.75 / (n - 1)))
    return np.max(looks, axis=0)


def test_seeds_that_failed_are_left_out():
    with_gaps = [0.9, NAN, 1.1, 1.0, NAN, 0.8, NAN]
    assert difference_p(with_gaps, LAST) == difference_p([0.9, 1.1, 1.0, 0.8], LAST)
    assert equivalence_p(with_gaps, 2, LAST) == equivalence_p([0.9, 1.1, 1.0, 0.8], 2, LAST)
    assert interval(with_gaps, LAST) == interval([0.9, 1.1, 1.0, 0.8], LAST)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.2], [NAN] * 5, [1.0, 1.2, NAN], [1.0] * 5])
def test_too_few_seeds_and_identical_ones_are_no_evidence(values):
    assert (difference_p(values, LAST), equivalence_p(values, 5, LAST)) == (1, 1)
    assert np.isnan(interval(values, LAST)).all()


def test_identical_seeds_at_first_only_cost_a_look():
    """What 0.98 - 0.96 leaves behind in binary is no spread either."""
    same = [0.1 + 0.2, 0.3, 0.3]
    assert difference_p(same, LAST) == 1
    assert 0 < difference_p([*same, 0.31], LAST) < 0.01


def test_large_means_do_not_swamp_the_spread():
    values = np.array([0.1, 0.3, 0.2, 0.15])
    assert difference_p(values + 2.0**20 - 2.0**20, LAST) == pytest.approx(difference_p(values, LAST))
    moved = np.subtract(interval(values + 2.0**20, LAST), 2**20)
    assert moved == pytest.approx(np.array(interval(values, LAST)), abs=1e-4)


def test_rows_along_leading_axes_give_what_each_row_gives_alone():
    values = rows(13, 2, 3, 7)
    values[1, 2, 4:] = NAN
    assert difference_p(values, LAST)[1, 2] == difference_p(values[1, 2, :4], LAST)
    assert interval(values, LAST)[1][0, 1] == interval(values[0, 1], LAST)[1]


@pytest.mark.parametrize(("n", "first", "last"), [(5, 3, 4), (3, 1, 4), (3, 5, 4)])
def test_seeds_beyond_the_plan_and_plans_without_looks_are_refused(n, first, last):
    with pytest.raises(ValueError, match="allowed: "):
        difference_p(np.arange(n), last, first=first)
    with pytest.raises(ValueError, match="allowed: "):
        undecided([list(range(n))], last, 0.5, first=first)


CLEAR, SAME, OPEN = [2.0, 2.01, 1.99], [0.0, 0.005, -0.005], [0.5, -0.4, 1.0]


def test_only_undecided_rows_get_a_seed():
    assert undecided([CLEAR, OPEN, SAME, [-x for x in CLEAR]], 20, 0.5) == [False, True, False, False]
    assert undecided([], 20, 0.5) == []


def test_rows_without_enough_seeds_get_more_unless_they_have_had_the_most():
    assert undecided([[], [1.0, 1.1], [1.0, NAN, NAN], [NAN] * 20, OPEN], 20, 0.5) == [True, True, True, False, True]
    assert undecided([OPEN, CLEAR], 3, 0.5) == [False, False]


def test_a_rows_level_is_adjusted_for_all_rows_of_its_study():
    """A p value of 0.04: decided by itself, not among four."""
    row = [1.1, 1.3, 0.8, 1.0]
    assert 0.0125 < difference_p(row, 20) < 0.05
    assert undecided([row], 20, 0.5) == [False]
    assert undecided([row, OPEN, OPEN, OPEN], 20, 0.5) == [True] * 4
    assert undecided([row, CLEAR, CLEAR, CLEAR], 20, 0.5) == [False] * 4


def test_a_row_waiting_for_its_first_seeds_counts_among_the_others():
    row = [1.1, 1.3, 0.8, 1.0]
    assert undecided([row, [], [], []], 20, 0.5) == [True] * 4


def test_seed_by_seed_it_goes_as_play_simulates():
    values = rows(14, 5, 3, 8, mean_pp=0.3)
    differs, equivalent, seeds = play(values, 0.5)
    for study, expected in zip(values, seeds, strict=True):
        taken = np.full(3, 3)
        for _ in range(8):
            more = undecided([list(row[:n]) for row, n in zip(study, taken, strict=True)], 8, 0.5)
            taken += more
        assert (taken == expected).all()
    assert (seeds[~(differs | equivalent)] == 8).all()
    assert (differs | equivalent).any()


def test_a_studys_errors_stay_below_their_level():
    """4,000 studies of three cells, noise so wide or narrow that cells stop late or early."""
    for sd_pp in (0.3, 2.0):
        differs = play(rows(15, 4_000, 3, LAST, sd_pp=sd_pp), 0.5)[0]
        equivalent = play(rows(16, 4_000, 3, LAST, mean_pp=0.5, sd_pp=sd_pp), 0.5)[1]
        assert differs.any(-1).mean() < 0.06
        assert equivalent.any(-1).mean() < 0.06


def test_expected_seeds_are_the_same_each_time_and_grow_with_the_rows():
    few, many = expected_seeds(3, 3, 20, 0.5), expected_seeds(100, 3, 20, 0.5)
    expected_seeds.cache_clear()
    assert expected_seeds(3, 3, 20, 0.5) == few
    assert 8.5 < few < 9.1  # benchmarks/sequential_errors.py: 8.8
    assert few < many < 20
    assert expected_seeds(3, 3, 3, 0.5) == 3
    with pytest.raises(ValueError, match="rows=0"):
        expected_seeds(0, 3, 20, 0.5)


def test_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p_values = np.random.default_rng(17).uniform(0, 0.2, (4, 9))
    for adjusted, row in zip(holms(p_values), p_values, strict=True):
        assert adjusted == pytest.approx(multipletests(row, method="holm")[1])
    np.testing.assert_allclose(holms([0.01, NAN, 0.04]), [0.02, NAN, 0.04])


def test_later_plans_ask_for_more_at_each_look():
    scores = [critical_score(0.95, 3, last) for last in (3, 5, 10, 20, 60)]
    assert scores == sorted(scores)
    assert scores[0] * (1 + 0.75 / 2) == pytest.approx(stats.norm.isf(0.025))


@pytest.mark.parametrize("within_pp", [None, 0.5])
def test_p_values_by_look_are_those_of_each_look_by_itself(within_pp):
    values = np.random.default_rng(0).normal(0.3, 0.4, (5, 8))
    by_look = p_by_look(values, 10, within_pp)
    for look, n in enumerate(range(3, 9)):
        seen = values[:, :n]
        alone = difference_p(seen, 10) if within_pp is None else equivalence_p(seen, within_pp, 10)
        assert np.allclose(by_look[:, look], alone)
