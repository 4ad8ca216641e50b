from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.margin import margin


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
    [([0.9], [0.8, 0.7]), ([], []), ([1.2], [0.5]), ([float("nan")], [0.5]), ([[0.5]], [[0.5]])],
)
def test_arms_that_are_no_pairs_of_accuracies_are_refused(first, second):
    with pytest.raises(ValueError, match="margin: "):
        margin(first, second)
