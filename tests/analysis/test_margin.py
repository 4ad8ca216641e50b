from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.margin import differences_pp, fails_more, holm, margin, t_interval, t_test


def test_a_margin_by_hand():
    """Differences 2, 1 and 3 points: mean 2, sd 1, and t(2) = 4.3027 gives 2 ± 4.3027 / sqrt(3)."""
    found = margin([0.99, 0.98, 0.97], [0.97, 0.97, 0.94])
    assert (found.n, found.mean_pp, found.sd_pp) == (3, pytest.approx(2), pytest.approx(1))
    assert (found.low_pp, found.high_pp) == (pytest.approx(-0.48414, abs=1e-4), pytest.approx(4.48414, abs=1e-4))


def test_the_interval_is_the_paired_t_tests():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.8, 1, 7), rng.uniform(0.8, 1, 7)
    expected = stats.ttest_rel(100 * first, 100 * second).confidence_interval(0.95)
    found = margin(first, second)
    assert (found.low_pp, found.high_pp) == pytest.approx((expected.low, expected.high))


def test_pairing_takes_out_what_a_seed_does_to_both_arms():
    by_seed = np.array([0.80, 0.90, 0.95])
    found = margin(by_seed + 0.01 + np.array([0, 0.001, -0.001]), by_seed)
    assert found.high_pp - found.low_pp < 1


def test_one_seed_gives_an_estimate_and_no_interval():
    found = margin([0.9], [0.8])
    assert (found.n, found.mean_pp, found.sd_pp, found.low_pp, found.high_pp) == (
        1,
        pytest.approx(10),
        None,
        None,
        None,
    )


def test_identical_differences_give_no_interval():
    found = margin([0.98, 0.97, 0.96], [0.97, 0.96, 0.95])
    assert (found.mean_pp, found.sd_pp, found.low_pp) == (pytest.approx(1), 0, None)


@pytest.mark.parametrize(
    ("first", "second"),
    [([0.9], [0.8, 0.7]), ([], []), ([float("inf")], [0.5]), ([float("nan")], [0.5]), ([[0.5]], [[0.5]])],
)
def test_arms_that_are_no_pairs_of_accuracies_are_refused(first, second):
    with pytest.raises(ValueError, match="margin: "):
        margin(first, second)


def test_identical_differences_that_binary_cannot_write_give_no_interval_either():
    found = margin([0.901, 0.801, 0.701], [0.9, 0.8, 0.7])
    assert (found.mean_pp, found.sd_pp, found.low_pp) == (pytest.approx(0.1), 0, None)


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


def test_failures_are_compared_by_fishers_exact_test():
    assert fails_more(3, 3, 0, 3) == pytest.approx(1 / 20)  # of C(6, 3) ways to place three failures, one
    assert fails_more(0, 3, 3, 3) == 1
