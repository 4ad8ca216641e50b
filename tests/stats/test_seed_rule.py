"""How a study came to its number of seeds decides which tests hold."""

from __future__ import annotations

import numpy as np
import pytest

from ablate.stats import sequential
from ablate.stats.multiple_testing import ALPHA
from ablate.stats.paired import t_interval, t_test, t_tests
from ablate.stats.seed_rule import FIXED, LATER_LEVEL, SeedRule

VALUES = [0.4, 0.6, 0.5, 0.55, 0.48]
LOOKED = SeedRule(looks=(3, 5))


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_a_fixed_number_of_seeds_has_students_test(alternative):
    assert FIXED.test(VALUES, 0.3, alternative) == t_test(VALUES, 0.3, alternative)
    assert FIXED.interval(VALUES) == t_interval(VALUES)


def test_seeds_added_as_planned_have_the_sequential_test():
    assert SeedRule(20).test(VALUES) == float(sequential.difference_p(VALUES, 20))
    assert SeedRule(20).interval(VALUES) == tuple(map(float, sequential.interval(VALUES, 20)))


@pytest.mark.parametrize("seed_rule", [SeedRule(20), LOOKED])
def test_one_side_says_more_than_both_and_the_wrong_one_says_nothing(seed_rule):
    above, both, below = (seed_rule.test(VALUES, 0.0, side) for side in ("greater", "two-sided", "less"))
    assert above < both < below == 1


def test_a_test_and_its_interval_agree_after_a_look():
    low, high = LOOKED.interval(VALUES)
    assert LOOKED.test(VALUES, low + 1e-6) > ALPHA > LOOKED.test(VALUES, low - 1e-3)
    assert LOOKED.test(VALUES, high - 1e-6) > ALPHA > LOOKED.test(VALUES, high + 1e-3)


def test_all_later_looks_together_add_one_percent():
    levels = [ALPHA / LOOKED.plan(n)[1] for n in (20, 80, 320, 1280)]
    assert sum(levels) == pytest.approx(LATER_LEVEL, rel=0.01)


def test_following_up_until_a_margin_shows_is_wrong_in_6_percent_and_was_in_more_than_10():
    values = np.random.default_rng(0).standard_normal((2_000, 20))
    first = t_tests(values[:, :3]) < ALPHA
    before = np.any([t_tests(values[:, :n]) < ALPHA for n in range(3, 21)], axis=0)
    last, factor = LOOKED.plan(20)
    later = factor * sequential.difference_p(values, last) < ALPHA
    assert before.mean() > 0.1
    assert (first | later).mean() <= 0.07


def test_without_a_spread_there_is_no_test_and_no_interval():
    for seed_rule in (FIXED, SeedRule(20), LOOKED):
        assert seed_rule.test([1.0, 1.0, 1.0]) is None
        assert seed_rule.interval([1.0, 1.0, 1.0]) is None
