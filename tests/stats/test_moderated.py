"""Many cells of few seeds: the moderated t test, against limma's numbers and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablate.stats.finite_test_set import TestSet
from ablate.stats.margin import margin
from ablate.stats.moderated import FROM_CELLS, common_spread, moderated, moderated_variances
from ablate.stats.multiple_testing import ALPHA, holms
from ablate.stats.seed_rule import SeedRule


def cells(count, n, truth_pp=0.0, sd_pp=0.5, seed=0, **options):
    """Return margins of so many cells, and their differences."""
    values = truth_pp + sd_pp * np.random.default_rng(seed).standard_normal((count, n))
    margins = [margin((0.9 + row / 100).tolist(), [0.9] * n, **options) for row in values]
    return margins, [dict(enumerate(row)) for row in values.tolist()]


def test_the_common_spread_and_what_it_is_worth_are_recovered():
    """Variances drawn from the prior that the method assumes: a scaled inverse chi square."""
    rng = np.random.default_rng(0)
    true = 2.0 * 8 / rng.chisquare(8, (200, 500))
    variances = true * rng.chisquare(3, true.shape) / 3
    common, prior_df = common_spread(variances, np.full(true.shape, 3.0))
    assert np.median(common) == pytest.approx(2.0, rel=0.03)
    assert np.median(prior_df) == pytest.approx(8, rel=0.1)


def test_cells_with_one_spread_know_it_as_well_as_all_their_seeds_together():
    rng = np.random.default_rng(0)
    values = np.array([rng.permutation([-1.0, 0.0, 1.0]) for _ in range(100)])
    drawn, df = moderated_variances(values)
    assert df[0] == 200
    assert np.allclose(drawn, 1.0)


def test_noise_that_all_cells_share_is_worth_no_more_than_its_seeds():
    """One value per seed, however many cells there are: 432 cells of 3 seeds do not know it better than 3 seeds."""
    rng = np.random.default_rng(0)
    own, seed = rng.standard_normal((200, 432, 3)), rng.standard_normal((200, 1, 3))
    shared, apart = moderated_variances(0.3 * own + seed)[1], moderated_variances(own)[1]
    assert np.median(shared) < 4
    assert np.median(apart) > 50


def test_a_cell_that_lacks_a_seed_has_fewer_degrees_of_freedom_of_its_own():
    values = np.random.default_rng(0).standard_normal((100, 5))
    values[0, :2] = np.nan
    _, df = moderated_variances(values)
    assert df[0] == pytest.approx(df[1] - 2)


def test_2_points_are_found_in_40_percent_of_432_cells_of_3_seeds_and_in_hardly_any_before():
    margins, values = cells(432, 3, truth_pp=2.0)
    before = holms([cell.p_difference for cell in margins])
    after = holms([cell.p_difference for cell in moderated(margins, values, 0.5)])
    assert np.mean(before < ALPHA) < 0.05
    assert np.mean(after < ALPHA) > 0.4


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_432_cells_without_a_margin_are_called_better_in_5_percent_of_studies(shared):
    rng = np.random.default_rng(1)
    values = rng.standard_normal((600, 432, 3)) * (1 - shared) ** 0.5 + rng.standard_normal((600, 1, 3)) * shared**0.5
    variances, df = moderated_variances(values)
    p_values = 2 * stats.t.sf(np.abs(values.mean(axis=-1)) / np.sqrt(variances / 3), df)
    assert np.mean((holms(p_values) < ALPHA).any(axis=-1)) <= 0.075


def test_few_cells_and_seeds_added_by_results_stay_as_they_are():
    few, values = cells(FROM_CELLS - 1, 3)
    pairs, of_pairs = cells(FROM_CELLS, 2)
    assert moderated(pairs, of_pairs, 0.5) == pairs
    assert moderated(few, values, 0.5) == few
    added, values = cells(FROM_CELLS, 3, seed_rule=SeedRule(20))
    assert moderated(added, values, 0.5) == added


def test_the_test_sets_error_is_not_drawn_away():
    margins, values = cells(100, 3, truth_pp=2.0, test_set=TestSet(1.5, 360))
    for cell in moderated(margins, values, 0.5):
        assert cell.high_pp - cell.low_pp >= 2 * 1.9 * 1.5
        assert cell.p_seeds < cell.p_difference


def test_a_cell_whose_seeds_are_all_the_same_gets_the_spread_of_the_others():
    margins, values = cells(100, 3)
    margins[0], values[0] = margin([0.91] * 3, [0.9] * 3), dict.fromkeys(range(3), 1.0)
    first = moderated(margins, values, 0.5)[0]
    assert first.p_difference is not None
    assert first.high_pp - first.low_pp > 0.2
