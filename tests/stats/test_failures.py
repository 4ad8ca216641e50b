from __future__ import annotations

import numpy as np
import pytest

from ablate.stats.failures import fails_more, failures_differ, share_interval


def test_failures_are_compared_by_fishers_exact_test():
    assert fails_more(3, 3, 0, 3) == pytest.approx(1 / 20)  # of C(6, 3) ways to place three failures, one
    assert fails_more(0, 3, 3, 3) == 1


def test_a_share_has_the_exact_interval():
    assert share_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert share_interval(10, 10) == pytest.approx((0.025**0.1, 1))


def test_one_seed_that_fails_everywhere_is_one_observation():
    assert failures_differ([8, 0, 0]) == 1
    assert failures_differ([1] * 8) == pytest.approx(2 / 2**8)


def test_many_seeds_are_flipped_by_chance_and_agree_with_all_ways():
    rng = np.random.default_rng(1)
    by_seed = rng.integers(-1, 3, 14).tolist()
    exact = failures_differ(by_seed)
    assert failures_differ([*by_seed, *[1, -1] * 4]) == pytest.approx(exact, abs=0.2)
    assert failures_differ([1] * 20) == pytest.approx(1 / 20_001)


def test_failures_that_differ_by_chance_alone_are_rarely_shown():
    rng = np.random.default_rng(2)
    failed = rng.random((2000, 2, 10)) < 0.3
    p_values = [failures_differ((first.astype(int) - second).tolist()) for first, second in failed]
    assert np.mean([p is not None and p < 0.05 for p in p_values]) < 0.06
