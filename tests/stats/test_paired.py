from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablate.stats.finite_test_set import TestSet, error_of_test_set
from ablate.stats.multiple_testing import holm, holms
from ablate.stats.paired import (
    BCA_FROM,
    bca_interval,
    differences_pp,
    equivalence_tests,
    margin,
    t_interval,
    t_intervals,
    t_test,
    t_tests,
)
from ablate.stats.power import more_seeds


def test_a_margin_by_hand():
    """Differences 2, 1 and 3 points: mean 2, sd 1, and t(2) = 4.3027 gives 2 ± 4.3027 / sqrt(3)."""
    result = margin([0.99, 0.98, 0.97], [0.97, 0.97, 0.94])
    assert (result.n, result.mean_pp, result.sd_pp) == (3, pytest.approx(2), pytest.approx(1))
    assert (result.low_pp, result.high_pp) == (pytest.approx(-0.48414, abs=1e-4), pytest.approx(4.48414, abs=1e-4))


def test_the_interval_is_the_paired_t_tests():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.8, 1, 7), rng.uniform(0.8, 1, 7)
    expected = stats.ttest_rel(100 * first, 100 * second).confidence_interval(0.95)
    result = margin(first, second)
    assert (result.low_pp, result.high_pp) == pytest.approx((expected.low, expected.high))


def test_pairing_takes_out_what_a_seed_does_to_both_arms():
    by_seed = np.array([0.80, 0.90, 0.95])
    result = margin(by_seed + 0.01 + np.array([0, 0.001, -0.001]), by_seed)
    assert result.high_pp - result.low_pp < 1


def test_one_seed_gives_an_estimate_and_no_interval():
    result = margin([0.9], [0.8])
    assert (result.n, result.mean_pp, result.sd_pp, result.low_pp, result.high_pp) == (
        1,
        pytest.approx(10),
        None,
        None,
        None,
    )


def test_identical_differences_give_no_interval():
    result = margin([0.98, 0.97, 0.96], [0.97, 0.96, 0.95])
    assert (result.mean_pp, result.sd_pp, result.low_pp) == (pytest.approx(1), 0, None)


@pytest.mark.parametrize(
    ("first", "second"),
    [([0.9], [0.8, 0.7]), ([], []), ([float("inf")], [0.5]), ([float("nan")], [0.5]), ([[0.5]], [[0.5]])],
)
def test_arms_that_are_no_pairs_of_accuracies_are_refused(first, second):
    with pytest.raises(ValueError, match="margin: "):
        margin(first, second)


def test_identical_differences_that_binary_cannot_write_give_no_interval_either():
    result = margin([0.901, 0.801, 0.701], [0.9, 0.8, 0.7])
    assert (result.mean_pp, result.sd_pp, result.low_pp) == (pytest.approx(0.1), 0, None)


def test_p_values_agree_with_scipys_paired_t():
    rng = np.random.default_rng(1)
    first, second = rng.uniform(0.8, 1, 6), rng.uniform(0.8, 1, 6)
    for alternative in ("two-sided", "less", "greater"):
        expected = stats.ttest_rel(first, second, alternative=alternative).pvalue
        assert t_test(differences_pp(first, second), alternative=alternative) == pytest.approx(expected)


def test_a_test_and_its_interval_agree():
    values = [0.3, 0.9, 0.5, 0.4]
    low, high = t_interval(values)
    assert t_test(values, low) == pytest.approx(0.05)
    assert t_test(values, high) == pytest.approx(0.05)
    assert t_test(values, t_interval(values, 0.9)[1], "less") == pytest.approx(0.05)


@pytest.mark.parametrize("values", [[], [1.0], [0.1, 0.1, 0.1]])
def test_without_spread_there_is_no_test(values):
    assert (t_test(values), t_interval(values)) == (None, None)


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never below the one before, and never above 1."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([None, 0.02, None, 0.01]) == [None, 0.02, None, 0.02]
    assert holm([]) == []


def test_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 60):
        p_values = rng.uniform(0, 0.2, size)
        assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_holm_works_along_the_last_axis():
    p_values = np.array([[0.01, 0.04, 0.03], [0.5, np.nan, 0.02]])
    expected = np.array([holm(row) for row in ([0.01, 0.04, 0.03], [0.5, None, 0.02])], dtype=float)
    np.testing.assert_allclose(holms(p_values), expected)


def test_equivalence_is_statsmodels_two_one_sided_paired_tests():
    from statsmodels.stats.weightstats import ttost_paired

    rng = np.random.default_rng(4)
    for n in (2, 3, 10):
        first, second = rng.normal(90, 0.3, n), rng.normal(90, 0.3, n)
        expected = ttost_paired(first, second, -0.5, 0.5)[0]
        assert equivalence_tests(first - second, 0.5) == pytest.approx(expected)
        result = margin(first / 100, second / 100, equivalence_pp=0.5)
        assert result.p_equivalence == pytest.approx(expected, rel=1e-6)
        assert result.p_difference == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-6)


def test_an_equivalence_by_hand():
    """Differences 0.1, -0.1 and 0: mean 0, standard error 0.1 / sqrt(3), so t is 0.5 sqrt(3) / 0.1 = 8.66."""
    result = margin([0.901, 0.899, 0.9], [0.9, 0.9, 0.9], equivalence_pp=0.5)
    assert result.p_equivalence == pytest.approx(stats.t.sf(8.6603, 2), rel=1e-3)


def test_many_cells_at_once_give_what_each_cell_gives_alone():
    values = np.random.default_rng(5).normal(0.3, 0.5, (4, 6, 5))
    low, high = t_intervals(values)
    assert (low[2, 3], high[2, 3]) == pytest.approx(t_interval(values[2, 3]))
    assert t_tests(values, 0.1, "less")[1, 1] == pytest.approx(t_test(values[1, 1], 0.1, "less"))


def test_identical_differences_take_their_spread_from_the_test_set():
    result = margin([0.95, 0.94, 0.93], [0.94, 0.93, 0.92], test_set=TestSet(0.2, 900))
    half = stats.t.isf(0.025, 2) * 0.2
    assert (result.sd_pp, result.identical) == (0, True)
    assert (result.low_pp, result.high_pp) == pytest.approx((1 - half, 1 + half))
    assert result.p_difference == pytest.approx(2 * stats.t.sf(1 / 0.2, 2))


def test_a_known_test_set_leaves_an_interval_from_seeds_unchanged():
    first, second = [0.95, 0.97, 0.96], [0.94, 0.95, 0.93]
    assert margin(first, second).low_pp == margin(first, second, test_set=TestSet(5.0, 20)).low_pp


def test_the_test_sets_error_is_what_a_paired_bootstrap_over_its_items_gives():
    rng = np.random.default_rng(6)
    hard = rng.uniform(size=2000)
    first = [rng.uniform(size=2000) > 0.3 * hard for _ in range(3)]
    second = [rng.uniform(size=2000) > 0.4 * hard for _ in range(3)]
    by_item = np.mean(first, axis=0) - np.mean(second, axis=0)
    bootstrap = np.std(100 * by_item[rng.integers(0, 2000, (4000, 2000))].mean(axis=1))
    error = error_of_test_set(first, second)
    assert error.items == 2000
    assert error.se_pp == pytest.approx(bootstrap, rel=0.05)


def test_the_test_sets_error_of_one_seed_by_hand():
    """Bonett and Price: 100 items, 6 against 2 discordant: (7 + 3) / 102 - (4 / 102)^2, over 102."""
    first = np.array([True] * 6 + [False] * 2 + [True] * 92)
    second = np.array([False] * 6 + [True] * 2 + [True] * 92)
    assert error_of_test_set([first], [second]).se_pp == pytest.approx(100 * np.sqrt((10 / 102 - (4 / 102) ** 2) / 102))


def test_a_bootstrap_interval_is_shown_only_where_it_covers():
    rng = np.random.default_rng(7)
    assert bca_interval(rng.normal(size=BCA_FROM - 1)) is None
    values = rng.normal(1, 0.5, BCA_FROM)
    expected = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(8), n_resamples=9999).confidence_interval
    assert bca_interval(values) == pytest.approx(tuple(expected), abs=0.02)


def test_more_seeds_are_needed_for_less():
    assert more_seeds(2.0, 0.5, 3, 0.5) < more_seeds(1.0, 0.5, 3, 0.5) < more_seeds(0.6, 0.5, 3, 0.5)
    assert more_seeds(1.0, 0.5, 3, 0.5) < more_seeds(1.0, 0.5, 3, 0.5, differences=20)
    assert more_seeds(0.5, 40, 3, 0.5) is None
