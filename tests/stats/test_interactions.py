from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from ablate.stats.interactions import adjusted_p, cell_contrasts, range_test
from ablate.stats.multiple_testing import holms


def grid(*counts, of=lambda *cell: 0.0, n=5, sd=0.1):
    rng = np.random.default_rng(0)
    return {cell: of(*cell) + rng.normal(0, sd, n) for cell in product(*map(range, counts))}


def test_a_two_by_two_by_two_grid_has_its_seven_textbook_contrasts():
    cells = grid(2, 2, 2, of=lambda *cell: 10.0 * cell[0] * cell[1] + cell[2], sd=0)
    by_factors = {contrast.factors: contrast.by_seed[0] for contrast in cell_contrasts(cells).contrasts}
    assert by_factors == {(0,): 5, (1,): 5, (2,): 1, (0, 1): 5, (0, 2): 0, (1, 2): 0, (0, 1, 2): 0}


def test_every_pair_of_levels_of_every_order_is_there():
    contrasts = cell_contrasts(grid(3, 4, 2)).contrasts
    assert len(contrasts) == 4 * 7 * 2 - 1
    assert {contrast.pairs for contrast in contrasts if contrast.factors == (0,)} == {((0, 1),), ((0, 2),), ((1, 2),)}


def test_a_contrast_by_hand_averages_each_seeds_complete_blocks():
    cells = grid(2, 2, of=lambda *cell: float(cell[0]), sd=0.5)
    cells[1, 1][0] = np.nan
    first = cell_contrasts(cells).contrasts[0]
    expected = [cells[1, 0][0] - cells[0, 0][0]]
    expected += [(cells[1, 0] - cells[0, 0] + cells[1, 1] - cells[0, 1])[seed] / 2 for seed in range(1, 5)]
    assert first.by_seed == pytest.approx(expected, abs=1e-8)
    assert first.blocks == 2
    crossed = cell_contrasts(cells).contrasts[-1]
    assert np.isnan(crossed.by_seed).tolist() == [True, False, False, False, False]


def test_a_level_that_is_not_set_is_compared_with_nothing():
    cells = {**grid(2, 2), (-1, 0): np.ones(5), (-1, 1): np.ones(5)}
    of_first = [contrast for contrast in cell_contrasts(cells).contrasts if contrast.factors == (0,)]
    of_second = [contrast for contrast in cell_contrasts(cells).contrasts if contrast.factors == (1,)]
    assert [contrast.pairs for contrast in of_first] == [((0, 1),)]
    assert of_second[0].blocks == 3


def test_orders_that_would_be_too_many_are_left_out():
    contrasts = cell_contrasts(grid(4, 4, 2), most=40)
    assert contrasts.order == 1
    assert len(contrasts.contrasts) == 6 + 6 + 1
    assert cell_contrasts(grid(4, 4, 2), most=70).order == 2


def test_sets_without_a_complete_block_are_named_once():
    around = {cell: values for cell, values in grid(2, 2, 2).items() if sum(cell) < 2}
    contrasts = cell_contrasts(around)
    assert contrasts.incomplete == [(0, 1), (0, 2), (1, 2)]
    assert [contrast.factors for contrast in contrasts.contrasts] == [(0,), (1,), (2,)]


def test_contrasts_of_one_order_are_adjusted_as_by_holm():
    by_seed = np.random.default_rng(1).normal(0.5, 1, (6, 4))
    p_values = stats.ttest_1samp(by_seed, 0).pvalue
    assert adjusted_p(by_seed, [1, 1, 1, 1]) == pytest.approx(holms(p_values))


def test_each_order_has_half_of_what_the_lower_ones_leave():
    by_seed = np.array([[5.0, 6.0, 5.5], [0.1, -0.2, 0.4], [0.3, 0.1, -0.4], [-0.3, 0.2, 0.1]]).T
    p = stats.ttest_1samp(by_seed[:, 0], 0).pvalue
    first = [adjusted_p(by_seed[:, :m], orders)[0] for m, orders in ((1, [1]), (2, [1, 2]), (3, [1, 1, 2]))]
    assert first == pytest.approx([p, 2 * p, 4 * p])
    assert adjusted_p(by_seed[:, ::-1], [1, 1, 2, 3])[3] == pytest.approx(4 * p)  # two halves of a half
    assert adjusted_p(by_seed[:, ::-1], [1, 2, 2, 2])[3] == pytest.approx(6 * p)


def test_seeds_that_a_contrast_lacks_do_not_count_for_it():
    by_seed = np.random.default_rng(1).normal(0.5, 1, (6, 2))
    by_seed[2, 1] = np.nan
    known = by_seed[~np.isnan(by_seed[:, 1]), 1]
    p_values = stats.ttest_1samp(by_seed[:, 0], 0).pvalue, stats.ttest_1samp(known, 0).pvalue
    assert adjusted_p(by_seed, [1, 1]) == pytest.approx(holms(p_values))


def test_a_contrast_without_two_seeds_that_differ_has_no_test_and_does_not_count():
    by_seed = np.array([[1.0, 2.0, np.nan], [1.0, 2.5, 3.0], [1.0, 2.2, np.nan]])
    adjusted = adjusted_p(by_seed, [1, 1, 2])
    assert np.isnan(adjusted).tolist() == [True, False, True]
    assert adjusted[1] == pytest.approx(stats.ttest_1samp(by_seed[:, 1], 0).pvalue)
    assert adjusted_p(np.empty((4, 0)), []).tolist() == []


def test_a_range_is_bounded_where_every_two_cells_are_equivalent():
    flat = np.stack([*grid(2, 2, sd=0.1, n=6).values()], axis=-1)
    assert range_test(flat, 0.5) < 0.05
    assert range_test(flat[:, ::-1], 0.5) == pytest.approx(range_test(flat, 0.5))
    assert range_test(np.add(flat, [0, 0, 0, 0.8]), 0.5) > 0.5
    first, second = flat[:, 0], flat[:, 1]
    sides = [
        stats.ttest_1samp(second - first, limit, alternative=side).pvalue
        for limit, side in ((-0.5, "greater"), (0.5, "less"))
    ]
    assert range_test(flat[:, :2], 0.5) == pytest.approx(max(sides))


def test_a_range_is_unknown_where_two_cells_share_no_two_seeds():
    flat = np.stack([*grid(2, 2, sd=0.1, n=6).values()], axis=-1)
    assert np.isnan(range_test(flat[:, :1], 0.5))
    flat[:3, 0] = np.nan
    assert range_test(flat, 0.5) < 0.05
    flat[3:5, 1] = np.nan
    assert np.isnan(range_test(flat, 0.5))
