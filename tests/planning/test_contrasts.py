"""The pairs of cells that a contrast compares."""

from __future__ import annotations

from itertools import product

from ablate.core.study import Cell
from ablate.planning.contrasts import pairs


def cells(**factors):
    return [Cell(tuple(zip(factors, levels, strict=True))) for levels in product(*factors.values())]


def test_each_level_is_compared_with_the_first_within_the_others_levels():
    of = pairs(cells(norm=["a", "b", "c"], bits=[1, 32]), {"norm": ["a", "b", "c"], "bits": [1, 32]})
    assert [(first.levels[0][1], second.levels[0][1], first.levels[1][1]) for first, second in of] == [
        *(("a", "b", 1), ("a", "b", 32)),
        *(("a", "c", 1), ("a", "c", 32)),
    ]


def test_true_is_not_one():
    assert len(pairs(cells(key=[1, True]), {"key": [1, True]}, ("key", [1, True]))) == 1


def test_own_keys_have_to_agree_where_both_have_them():
    of = [Cell((("norm", "a"), ("norm.t", t))) for t in (1, 2)] + [
        Cell((("norm", "b"), ("norm.t", t))) for t in (2, None)
    ]
    matched = pairs(of, {}, ("norm", ["a", "b"]))
    assert [(dict(first.levels)["norm.t"], dict(second.levels)["norm.t"]) for first, second in matched] == [
        *((1, None), (2, 2), (2, None)),
    ]


def test_each_level_is_looked_at_a_few_times_however_many_there_are():
    """Every cell was compared with every other: mode=plan of 10,000 cells took minutes."""
    looks = 0

    class Level(float):
        def __repr__(self):
            nonlocal looks
            looks += 1
            return super().__repr__()

    levels = [Level(n) for n in range(500)]
    assert len(pairs(cells(lr=levels), {"lr": levels}, ("lr", levels))) == 499
    assert looks < 5 * 500
