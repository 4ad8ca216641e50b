from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from ablate.stats.failures import fails_more, failures_differ, share_interval, share_is_larger


def test_a_seed_that_fails_in_every_cell_is_a_single_observation():
    assert fails_more([8]) == fails_more([1]) == 1 / 2
    assert fails_more([8, 8, 8]) == 1 / 8


def test_what_fails_alike_in_both_conditions_shows_nothing():
    assert fails_more([0, 0, 0, 0]) == fails_more([]) == 1
    assert fails_more([3, 0, 0]) == 1 / 2


@pytest.mark.parametrize("excess", [[2, 1, -1], [1, 1, -1, 0], [-2, -3], [5, 1, 1, 1, -4]])
def test_the_p_value_is_that_of_every_swap_of_whole_seeds(excess):
    swaps = [np.dot(signs, excess) for signs in product((1, -1), repeat=len(excess))]
    assert fails_more(excess) == pytest.approx(np.mean([total >= sum(excess) for total in swaps]))


def test_unpaired_shares_are_compared_by_fishers_exact_test():
    assert share_is_larger(3, 3, 0, 3) == pytest.approx(1 / 20)  # of C(6, 3) ways to place three failures, one
    assert share_is_larger(0, 3, 3, 3) == 1


def test_a_share_has_the_exact_interval():
    assert share_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert share_interval(10, 10) == pytest.approx((0.025**0.1, 1))


def test_two_sided_a_seed_that_fails_everywhere_is_one_observation():
    assert failures_differ([8, 0, 0]) == 1
    assert failures_differ([1] * 8) == pytest.approx(2 / 2**8)


def test_failures_that_differ_by_chance_alone_are_rarely_shown():
    rng = np.random.default_rng(2)
    failed = rng.random((2000, 2, 10)) < 0.3
    assert np.mean([failures_differ(first.astype(int) - second) < 0.05 for first, second in failed]) < 0.06


@pytest.mark.parametrize(("failed", "ended"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (499, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_of_a_share_is_scipys_exact_one(failed, ended, confidence):
    exact = stats.binomtest(failed, ended).proportion_ci(confidence_level=confidence, method="exact")
    assert share_interval(failed, ended, confidence) == pytest.approx((exact.low, exact.high), abs=1e-9)
