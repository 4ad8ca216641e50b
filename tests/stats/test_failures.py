from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ablate.stats.failures import fails_more


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
