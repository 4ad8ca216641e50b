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
    return [margin((0.9 + row / 100).tolist(), [0.9] * n, **options) for row in values], list(values)


def test_the_common_spread_and_what_it_is_worth_are_recovered():
    """Variances drawn from the prior that the method assumes: a scaled inverse chi square."""
    rng = np.random.default_rng(0)
    true = 2.0 * 8 / rng.chisquare(8, (200, 500))
    variances = true * rng.chisquare(3, true.shape) / 3
    common, prior_df = common_spread(variances, np.full(true.shape, 3.0))
    assert np.median(common) == pytest.approx(2.0, rel=0.03)
    assert np.median(prior_df) == pytest.approx(8, rel=0.1)


def test_cells_with_one_spread_know_it_as_well_as_all_their_seeds_together():
    variances = np.full((1, 100), 1.0)
    drawn, df = moderated_variances(variances, np.full((1, 100), 2.0))
    assert df[0, 0] == 200
    assert np.ptp(drawn) == 0


def test_2_points_are_found_in_40_percent_of_432_cells_of_3_seeds_and_in_hardly_any_before():
    margins, values = cells(432, 3, truth_pp=2.0)
    before = holms([cell.p_difference for cell in margins])
    after = holms([cell.p_difference for cell in moderated(margins, values, 0.5)])
    assert np.mean(before < ALPHA) < 0.05
    assert np.mean(after < ALPHA) > 0.4


def test_432_cells_without_a_margin_are_called_better_in_5_percent_of_studies():
    values = np.random.default_rng(1).standard_normal((1_000, 432, 3))
    variances, df = moderated_variances(values.var(axis=-1, ddof=1), np.full((1_000, 432), 2.0))
    p_values = 2 * stats.t.sf(np.abs(values.mean(axis=-1)) / np.sqrt(variances / 3), df)
    assert np.mean((holms(p_values) < ALPHA).any(axis=-1)) <= 0.07


def test_few_cells_and_seeds_added_by_results_stay_as_they_are():
    few, values = cells(FROM_CELLS - 1, 3)
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
    margins[0], values[0] = margin([0.91] * 3, [0.9] * 3), np.full(3, 1.0)
    first = moderated(margins, values, 0.5)[0]
    assert first.p_difference is not None
    assert first.high_pp - first.low_pp > 0.2
