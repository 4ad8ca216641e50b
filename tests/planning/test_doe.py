"""Each design's cells against an enumeration by another method."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from ablate.core.errors import UsageError
from ablate.planning import doe

SIZES = {"norm": 3, "bits": 2, "depth": 4}
GRID = list(itertools.product(range(3), range(2), range(4)))
GRIDS = [tuple(random.Random(seed).choices((1, 2, 3, 4), k=1 + seed % 5)) for seed in range(40)]


def named(sizes):
    return {f"f{index}": size for index, size in enumerate(sizes)}


def made(kind, sizes, reference, **more):
    cells = list(doe.points({"kind": kind, **more}, sizes, reference))
    assert len(set(cells)) == len(set(map(tuple, cells)))
    return sorted(set(cells))


def distance(first, second):
    return sum(a != b for a, b in zip(first, second, strict=True))


def test_full_is_every_combination_in_the_order_typed():
    cells = list(doe.points({"kind": "full"}, {"norm": 2, "bits": 3}, (0, 0)))
    assert cells == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("kind", ["one_factor", "leave_one_out"])
def test_one_factor_written_out(kind):
    assert made(kind, SIZES, (1, 0, 2)) == sorted(
        [(1, 0, 2), (0, 0, 2), (2, 0, 2), (1, 1, 2), (1, 0, 0), (1, 0, 1), (1, 0, 3)]
    )


@pytest.mark.parametrize("kind", ["one_factor", "leave_one_out"])
@pytest.mark.parametrize("reference", GRID)
def test_one_factor_is_what_differs_from_the_reference_in_one_factor_at_most(kind, reference):
    assert made(kind, SIZES, reference) == [cell for cell in GRID if distance(cell, reference) <= 1]


def test_add_one_in_written_out():
    bare = (2, 1, 3)
    assert made("add_one_in", SIZES, (0, 0, 0)) == sorted(
        [bare, (0, 1, 3), (1, 1, 3), (2, 0, 3), (2, 1, 0), (2, 1, 1), (2, 1, 2), (0, 0, 0)]
    )


def test_the_bare_cell_has_each_factors_last_level_but_the_references():
    assert doe.bare(SIZES, (2, 1, 3)) == (1, 0, 2)
    assert doe.bare(SIZES, (2, 0, 1)) == (1, 1, 3)


@pytest.mark.parametrize("sizes", GRIDS, ids=str)
def test_random_factors_have_the_cells_that_the_words_say(sizes):
    grid = list(itertools.product(*map(range, sizes)))
    reference = random.Random(str(sizes)).choice(grid)
    assert made("one_factor", named(sizes), reference) == [cell for cell in grid if distance(cell, reference) <= 1]
    bare = doe.bare(named(sizes), reference)
    assert all(a != b or size == 1 for a, b, size in zip(bare, reference, sizes, strict=True))
    alone = [cell for cell in grid if distance(cell, bare) <= 1 or cell == reference]
    assert made("add_one_in", named(sizes), reference) == alone


def columns(cells):
    """Two-level cells as signs, a column a factor."""
    return [[2 * level - 1 for level in column] for column in zip(*cells, strict=True)]


def resolution(cells):
    """The least number of factors whose signs, multiplied, are the same in every cell: a word of the relation."""
    signs = columns(cells)
    for length in range(1, len(signs) + 1):
        for word in itertools.combinations(signs, length):
            if len({math.prod(row) for row in zip(*word, strict=True)}) == 1:
                return length
    return None


# The table of resolutions that every book prints, as in Box, Hunter & Hunter (2005), table 6.22, and by NIST:
# {factors: {cells: resolution}}.
PRINTED = {
    3: {4: 3},
    4: {8: 4},
    5: {8: 3, 16: 5},
    6: {8: 3, 16: 4, 32: 6},
    7: {8: 3, 16: 4, 32: 4, 64: 7},
    8: {16: 4, 32: 4, 64: 5, 128: 8},
    9: {16: 3, 32: 4, 64: 4, 128: 6},
    10: {16: 3, 32: 4, 64: 4, 128: 5},
    11: {16: 3, 32: 4, 64: 4, 128: 5},
}


@pytest.mark.parametrize(("factors", "cells"), [(n, cells) for n, row in PRINTED.items() for cells in row])
def test_a_regular_fraction_is_balanced_and_of_the_highest_resolution_there_is(factors, cells):
    reference = tuple(random.Random(factors * cells).choices((0, 1), k=factors))
    fraction = made("fractional", named([2] * factors), reference, fraction=2**factors // cells)
    assert len(fraction) == cells
    assert reference in fraction
    assert resolution(fraction) == PRINTED[factors][cells]
    assert doe.resolution(factors, 2**factors // cells) == PRINTED[factors][cells]
    for first, second in itertools.combinations(columns(fraction), 2):
        assert sum(first) == sum(second) == sum(a * b for a, b in zip(first, second, strict=True)) == 0


def test_for_few_factors_no_fraction_at_all_is_of_a_higher_resolution():
    """Against every choice of generators, by the columns themselves."""
    for factors, left_out in ((5, 2), (6, 2), (6, 3), (7, 3)):
        basic = list(itertools.product((0, 1), repeat=factors - left_out))
        products = [interaction for interaction in basic if sum(interaction) > 1]
        best = 0
        for chosen in itertools.combinations(products, left_out):
            cells = [
                (*row, *(sum(a * b for a, b in zip(row, interaction, strict=True)) % 2 for interaction in chosen))
                for row in basic
            ]
            best = max(best, resolution(cells))
        assert doe.resolution(factors, 2**left_out) == best


@pytest.mark.parametrize(
    ("sizes", "fraction", "cells"), [((3, 2, 4), 2, 12), ((3, 4, 6), 4, 18), ((3, 3, 3), 3, 9), ((2, 1, 3, 2), 2, 6)]
)
def test_a_fraction_of_more_levels_has_every_level_about_as_often(sizes, fraction, cells):
    for reference in itertools.product(*map(range, sizes)):
        chosen = made("fractional", named(sizes), reference, fraction=fraction)
        assert len(chosen) == len(set(chosen)) == cells
        assert reference in chosen
        for column, size in zip(zip(*chosen, strict=True), sizes, strict=True):
            counts = [column.count(level) for level in range(size)]
            assert min(counts) >= cells / size / 1.5
            assert max(counts) <= cells / size * 1.5


def test_three_factors_of_three_levels_in_nine_cells_are_a_latin_square():
    cells = made("fractional", named((3, 3, 3)), (2, 0, 1), fraction=3)
    for first, second in itertools.combinations(range(3), 2):
        assert len({(cell[first], cell[second]) for cell in cells}) == 9


@pytest.mark.parametrize("factors", [*range(2, 25), 27, 28, 35])
def test_a_screening_tells_main_effects_apart_in_few_cells(factors):
    reference = tuple(random.Random(factors).choices((0, 1), k=factors))
    cells = made("screening", named([2] * factors), reference)
    assert reference in cells
    assert factors < len(cells) <= (4 * (factors // 4 + 1) if factors < 24 else 40)
    for first, second in itertools.combinations(columns(cells), 2):
        assert sum(first) == sum(second) == sum(a * b for a, b in zip(first, second, strict=True)) == 0


def test_a_constant_factor_stays_as_it_is_in_every_design():
    sizes = {"norm": 2, "only": 1, "bits": 2, "depth": 2}
    for kind, more in (("screening", {}), ("fractional", {"fraction": 2}), ("one_factor", {}), ("add_one_in", {})):
        cells = made(kind, sizes, (1, 0, 0, 1), **more)
        assert {cell[1] for cell in cells} == {0}
        assert (1, 0, 0, 1) in cells


def drawn(cells, seed=0, keeps=lambda point: True, sizes=SIZES, reference=(1, 1, 1)):
    return doe.draw({"cells": cells, "seed": seed}, sizes, reference, keeps)


def test_a_random_design_has_the_reference_and_as_many_cells_as_asked():
    for count in range(1, 25):
        cells = drawn(count)
        assert len(set(cells)) == len(cells) == count
        assert (1, 1, 1) in cells
        assert set(cells) <= set(GRID)


def test_a_random_design_is_the_same_again_and_grows_with_its_cells_and_differs_by_seed():
    assert drawn(7) == drawn(7)
    assert drawn(7) == drawn(20)[:7]
    assert len({tuple(sorted(drawn(7, seed=seed))) for seed in range(20)}) == 20


def test_which_cells_a_seed_draws_never_changes():
    assert drawn(4) == [(1, 1, 1), (1, 1, 3), (0, 0, 3), (1, 1, 0)]


def test_every_other_cell_is_drawn_about_as_often():
    counts = dict.fromkeys(GRID, 0)
    for seed in range(2300):
        counts[drawn(2, seed=seed)[1]] += 1
    assert counts.pop((1, 1, 1)) == 0
    assert min(counts.values()) > 60
    assert max(counts.values()) < 145  # 100 each, and five standard deviations are 50


def test_a_random_design_draws_only_what_is_kept():
    kept = [cell for cell in GRID if cell[0] == 1]
    assert sorted(drawn(8, keeps=lambda point: point[0] == 1)) == kept


def test_a_grid_too_large_to_list_is_drawn_from_at_once():
    cells = drawn(50, sizes=named([4] * 20), reference=(0,) * 20)
    assert len(set(cells)) == 50
    assert {level for cell in cells for level in cell} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("design", "sizes", "message"),
    [
        ({"kind": "nothing"}, SIZES, "design.kind=nothing: allowed: full, one_factor, "),
        ({"kind": "fractional", "fraction": 3}, named((2, 2, 2)), "design.fraction=3: allowed for 3 factors .*: 2$"),
        ({"kind": "fractional", "fraction": 4}, named((2, 2, 2)), "design.fraction=4: allowed for 3 factors .*: 2$"),
        ({"kind": "fractional", "fraction": 16}, named([2] * 6), "design.fraction=16.*: 2, 4, 8$"),
        ({"kind": "fractional", "fraction": 2}, named((2, 2)), "design.fraction=2: allowed .*: none; design=full"),
        ({"kind": "fractional", "fraction": 1}, SIZES, "design.fraction=1: allowed: 2, 4, "),
        ({"kind": "fractional", "fraction": True}, SIZES, "design.fraction=true: allowed: 2, 4, "),
        ({"kind": "fractional", "fraction": "half"}, SIZES, "design.fraction=half: allowed: 2, 4, "),
        ({"kind": "fractional", "fraction": 7}, SIZES, "design.fraction=7: allowed for 3 x 2 x 4 levels: 2, 3$"),
        ({"kind": "screening"}, SIZES, "design=screening: norm has 3 levels; allowed: factors of two levels"),
        ({"kind": "screening"}, named((1, 1)), "design=screening: no factor has two levels"),
    ],
)
def test_a_design_that_cannot_be_had_is_a_mistake_that_says_what_can(design, sizes, message):
    with pytest.raises(UsageError, match=message):
        list(doe.points(design, sizes, (0,) * len(sizes)))


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ({"cells": None, "seed": 0}, "design.cells=null: allowed: a number of cells, 1 to 24"),
        ({"cells": 25, "seed": 0}, "design.cells=25: allowed: a number of cells, 1 to 24"),
        ({"cells": 0, "seed": 0}, "design.cells=0: allowed: a number of cells, 1 to 24"),
        ({"cells": 2.5, "seed": 0}, "design.cells=2.5: allowed: "),
        ({"cells": True, "seed": 0}, "design.cells=true: allowed: "),
        ({"cells": 2, "seed": "x"}, "design.seed=x: allowed: a whole number"),
    ],
)
def test_a_random_design_asks_for_a_number_that_there_is(design, message):
    with pytest.raises(UsageError, match=message):
        doe.draw(design, SIZES, (0, 0, 0), lambda point: True)
