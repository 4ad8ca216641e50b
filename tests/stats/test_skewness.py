"""A warning where seeds look skewed, and none where tails are only heavy."""

from __future__ import annotations

import numpy as np
import pytest

from ablate.stats.skewness import FEWEST_CELLS, asymmetry_p


def share(draw, cells, n, studies=400):
    rng = np.random.default_rng(0)
    return np.mean([asymmetry_p(by_seed(draw(rng, (cells, n)))) < 0.05 for _ in range(studies)])


def by_seed(cells):
    return [dict(enumerate(cell)) for cell in cells]


@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize(
    "draw",
    [
        lambda r, s: r.standard_normal(s),
        lambda r, s: r.standard_t(3, s),
        lambda r, s: r.standard_normal(s) + 3 * r.standard_normal((1, s[1])),  # seeds move all cells
    ],
)
def test_symmetric_noise_raises_an_alarm_in_5_percent_at_most(draw, n):
    assert share(draw, 12, n) <= 0.08


def test_skew_in_one_arm_is_seen_from_a_dozen_cells_of_five_seeds_on():
    assert share(lambda r, s: r.standard_normal(s) * 0.3 - r.standard_exponential(s), 12, 5) > 0.25
    assert share(lambda r, s: r.standard_normal(s) * 0.3 - r.standard_exponential(s), 12, 10) > 0.8


def test_few_cells_few_seeds_and_equal_ones_say_nothing():
    cells = [[1.0, 2.0, 4.0]] * (FEWEST_CELLS - 1)
    for more in ([], [[1.0, 2.0]], [[1.0, 1.0, 1.0]]):
        assert asymmetry_p(by_seed(cells + more)) is None
