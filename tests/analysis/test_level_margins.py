from __future__ import annotations

import numpy as np
import pytest

from ablate.stats.paired import t_interval
from ablate.stats.superiority import superiority
from analysis.effects.contrasts import Contrast
from analysis.effects.level_margins import level_margins
from analysis.effects.matched import margins
from tests.support.frames import rows

NORM = Contrast("norm", "bn", "srelu")


def study(margin_of, *, dead=(), seeds=3):
    """bn over srelu by `margin_of(width, bits, seed)` points; trials of srelu in `dead` diverge."""
    trials = []
    for norm in ("bn", "srelu"):
        for width in (1, 4):
            for bits in (1, 32):
                for seed in range(seeds):
                    acc = 0.8 + (norm == "bn") * margin_of(width, bits, seed) / 100
                    is_dead = norm == "srelu" and (width, bits, seed) in dead
                    trials.append(({"norm": norm, "width": width, "bits": bits}, seed, "diverged" if is_dead else acc))
    return rows(*trials, factors=("norm", "width", "bits"))


def at_levels(runs):
    return {(at.factor, at.level): at for at in level_margins(margins(runs, NORM), runs.frame)}


def test_each_level_has_the_mean_over_its_cells_one_value_a_seed():
    at = at_levels(study(lambda width, bits, seed: width + (bits == 32) * 2 + seed / 10))
    assert list(at) == [("width", 1), ("width", 4), ("bits", 1), ("bits", 32)]
    assert at["width", 4].by_seed.tolist() == pytest.approx([5.0, 5.1, 5.2])
    assert at["bits", 1].mean_pp == pytest.approx(2.6)
    low, high = t_interval(at["bits", 1].by_seed)
    assert (at["bits", 1].low_pp, at["bits", 1].high_pp) == pytest.approx((low, high))
    assert [(level.cells, level.cells_without, level.planned) for level in at.values()] == [(2, 0, 3)] * 4


def test_a_seed_that_lacks_a_cell_is_left_out_since_its_mean_would_be_over_others():
    at = at_levels(study(lambda width, bits, seed: 10 * (bits == 32) + seed / 10, dead={(1, 32, 2)}))
    assert at["width", 1].by_seed.tolist() == pytest.approx([5.0, 5.1])
    assert at["width", 4].by_seed.tolist() == pytest.approx([5.0, 5.1, 5.2])


def test_a_cell_that_never_trained_is_counted():
    at = at_levels(study(lambda *_: 1.0, dead={(1, 32, seed) for seed in range(3)}))
    assert (at["width", 1].cells, at["width", 1].cells_without) == (1, 1)
    assert at["width", 1].low_pp is None


def test_a_factor_of_one_level_has_no_row():
    runs = rows(*[({"norm": norm, "bits": 1}, seed, 0.8) for norm in ("bn", "srelu") for seed in range(2)])
    assert level_margins(margins(runs, NORM), runs.frame) == []


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([1, 1, 1, 1], 1.0), ([-1, -2, -1], 0.0), ([0, 0], 0.5), ([1, -1, 2, 0], 0.625)],
)
def test_how_often_the_first_is_better_with_an_exact_interval(differences, expected):
    wins = superiority(differences)
    assert wins.probability == expected
    assert wins.low <= expected <= wins.high
    turned = superiority(differences, lower_is_better=True)
    assert (turned.probability, turned.low, turned.high) == pytest.approx((1 - expected, 1 - wins.high, 1 - wins.low))


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95])
def test_the_interval_of_how_often_covers(truth):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        wins = superiority(np.where(rng.random(10) < truth, 1.0, -1.0))
        covered.append(wins.low <= truth <= wins.high)
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)


def test_without_a_pair_there_is_none():
    assert superiority([]) is None
