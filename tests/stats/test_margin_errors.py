"""How often intervals and tests are wrong, for few simulated studies; benchmarks/margin_errors.py has the many."""

from __future__ import annotations

import numpy as np
import pytest

from ablate.stats.paired import EQUIVALENCE_PP, equivalence_tests, t_intervals, t_tests

STUDIES = 2_000


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_95_percent(n):
    """The normal quantile in place of Student's would cover 81, 88 and 92%."""
    low, high = t_intervals(np.random.default_rng(n).normal(1.0, 0.8, (STUDIES, n)))
    assert 0.93 <= np.mean((low <= 1.0) & (high >= 1.0)) <= 0.97


@pytest.mark.parametrize("n", [3, 5, 10])
def test_among_12_cells_without_a_margin_holms_first_step_shows_a_margin_in_5_percent(n):
    p_values = t_tests(np.random.default_rng(n).normal(0.0, 0.8, (STUDIES, 12, n)))
    assert 0.035 <= np.mean(p_values.min(-1) < 0.05 / 12) <= 0.065


def test_just_the_smallest_difference_of_interest_is_called_equivalent_in_5_percent():
    """With the normal distribution in place of Student's in 9%."""
    p_values = equivalence_tests(np.random.default_rng(0).normal(EQUIVALENCE_PP, 0.2, (STUDIES, 5)), EQUIVALENCE_PP)
    assert 0.035 <= np.mean(p_values < 0.05) <= 0.065


def test_on_360_items_the_spread_between_seeds_is_enough():
    """Identical differences take their spread from the test set, here 0.7 points."""
    right = np.random.default_rng(0).binomial(360, 0.97, (2, STUDIES, 3))
    low, high = t_intervals(np.round(100 * (right[0] - right[1]) / 360, 9), least_se=0.7)
    assert 0.93 <= np.mean((low <= 0) & (high >= 0)) <= 0.97
