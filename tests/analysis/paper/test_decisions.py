from __future__ import annotations

import numpy as np
import pytest

from ablate.stats.multiple_testing import holm
from ablate.stats.paired import t_test
from analysis.paper.decisions import depends, falls, fewer, greater, holm_of, no_consistent_advantage, sign_of

CLEAR = [2.0, 2.1, 1.9]  # its 95% interval: 1.75 to 2.25
NONE = [0.0, 0.1, -0.1]  # -0.25 to 0.25
WIDE = [-1.0, 0.5, 2.0]
STUDIES, SEEDS = 400, 4
AT_MOST = 0.05 + 2 * np.sqrt(0.05 * 0.95 / STUDIES)


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        ([CLEAR, CLEAR], "denied"),
        ([CLEAR, NONE], "confirmed"),
        ([CLEAR, [-2.0, -2.1, -1.9]], "confirmed"),
        ([CLEAR, WIDE], "undecided"),
        ([CLEAR, [2.0]], "undecided"),  # one seed: no test
        ([CLEAR, [2.0, 2.0]], "undecided"),  # no spread: no test
        ([[2.0]], "undecided"),
        ([], "undecided"),
    ],
)
def test_an_advantage_is_consistent_if_it_is_shown_in_every_cell(cells, word):
    assert no_consistent_advantage(cells).word == word


def test_an_advantage_names_which_cells_show_what():
    advantage = no_consistent_advantage([CLEAR, NONE, WIDE, [1.0]])
    assert advantage.better == [True, False, False, False]
    assert advantage.small == [False, True, False, False]
    assert advantage.p_better[3] is None


def test_an_advantage_is_adjusted_over_the_cells():
    cell = [1.0, 1.5, 2.4]
    alone = no_consistent_advantage([cell]).p_better[0]
    assert no_consistent_advantage([cell, cell, cell]).p_better[0] == pytest.approx(3 * alone)


def test_an_advantage_in_every_cell_is_not_adjusted_since_all_must_hold():
    cell = [1.0, 1.5, 2.4]
    alone = no_consistent_advantage([cell])
    assert (alone.word, no_consistent_advantage([cell] * 12).word) == ("denied", "denied")
    assert no_consistent_advantage([cell] * 12).p_every == alone.p_every == alone.p_better[0]
    assert no_consistent_advantage([*[cell] * 11, WIDE]).word == "undecided"


def test_one_negligible_cell_of_twelve_does_not_confirm_but_a_quarter_of_them_does():
    assert no_consistent_advantage([*[CLEAR] * 11, NONE]).word == "undecided"
    assert no_consistent_advantage([*[CLEAR] * 10, NONE, NONE]).word == "undecided"
    assert no_consistent_advantage([*[CLEAR] * 9, *[[-2.0, -2.1, -1.9]] * 3]).word == "confirmed"
    assert no_consistent_advantage([*[CLEAR] * 3, NONE]).word == "confirmed"


def test_margins_that_are_shown_to_be_above_0_but_negligible_are_no_advantage():
    assert no_consistent_advantage([[0.1, 0.11, 0.09], [0.2, 0.21, 0.19]]).word == "confirmed"


def test_cells_that_can_show_nothing_count_for_neither_answer():
    cells = [*[CLEAR] * 3, *[[-2.0, -2.1, -1.9]] * 9]
    assert no_consistent_advantage(cells).word == "confirmed"
    assert no_consistent_advantage(cells, None, [True] * 3 + [False] * 9).word == "denied"
    nothing = no_consistent_advantage([NONE], None, [False])
    assert (nothing.word, nothing.p_better, nothing.small) == ("undecided", [None], [False])


def test_what_diverged_is_not_read_as_a_small_margin_or_an_advantage():
    assert no_consistent_advantage([NONE], [(0, 1)]).word == "undecided"
    assert no_consistent_advantage([NONE], [(1, 0)]).word == "confirmed"
    assert no_consistent_advantage([CLEAR], [(1, 0)]).word == "undecided"
    assert no_consistent_advantage([CLEAR], [(0, 1)]).word == "denied"


def dependence_of(differences, p_values=None, **options):
    """Return the decision on a cell with a margin of 0 and others that differ from it by so much, seed by seed."""
    if p_values is None:
        p_values = holm([t_test(values[~np.isnan(values)]) for values in map(np.array, differences)])
    cells = [np.array(values, dtype=float) for values in differences]
    groups = [np.stack([np.zeros(len(cells[0])), *cells], axis=-1)] if cells else []
    return depends(p_values, groups, **options)


@pytest.mark.parametrize(
    ("differences", "word"),
    [
        ([CLEAR], "confirmed"),
        ([NONE, [-2.0, -2.1, -1.9]], "confirmed"),
        ([NONE, [0.1, -0.1, 0.0]], "denied"),
        ([NONE, WIDE], "undecided"),
        ([NONE, [0.0, np.nan, np.nan]], "undecided"),
        ([[0.1, 0.1, 0.1]], "undecided"),  # no spread: no test
        ([], "undecided"),
    ],
)
def test_a_margin_depends_on_what_changes_it(differences, word):
    assert dependence_of(differences).word == word


def test_a_margin_that_depends_on_nothing_has_cells_that_are_all_alike():
    """Each of two cells may be near a third one and yet far from the other."""
    lower, upper = [-0.3, -0.31, -0.29], [0.3, 0.29, 0.31]
    assert dependence_of([lower], [None]).word == "denied"
    assert dependence_of([lower, upper], [None, None]).word == "undecided"


@pytest.mark.parametrize(
    ("differences", "word"),
    [
        ([CLEAR], "confirmed"),
        ([[-2.0, -2.1, -1.9]], "denied"),
        ([NONE], "denied"),
        ([NONE, WIDE], "undecided"),
        ([WIDE], "undecided"),
        ([[2.0]], "undecided"),
    ],
)
def test_a_difference_is_greater_on_one_side_only(differences, word):
    assert greater(differences).word == word


def test_further_tests_of_a_claim_can_confirm_it_and_are_adjusted_with_the_others():
    assert greater([NONE], [0.02]).word == "confirmed"
    assert greater([NONE], [0.03]).p_values[-1] == pytest.approx(0.06)
    assert greater([NONE], [0.03]).word == "denied"


DOWN = [-2.0, -2.1, -1.9]


@pytest.mark.parametrize(
    ("own", "margin", "word"),
    [
        (DOWN, DOWN, "confirmed"),
        (DOWN, NONE, "denied"),
        (NONE, DOWN, "denied"),
        (DOWN, WIDE, "undecided"),
        (CLEAR, WIDE, "denied"),
        ([-2.0], [-2.0], "undecided"),  # one seed: no test
        (DOWN, [-2.0, -2.0, -2.0], "undecided"),  # no spread: no test
    ],
)
def test_an_arm_falls_if_it_is_below_itself_and_below_the_other(own, margin, word):
    assert falls([own], [margin]).word == word


def test_both_have_to_fall_and_the_places_are_adjusted():
    alone = falls([DOWN], [[-0.2, -0.3, -0.1]]).p_values[0]
    assert alone == pytest.approx(0.037, abs=1e-3)  # the larger of the two, by hand t = -3.46 with 2 degrees of freedom
    assert falls([DOWN, NONE], [[-0.2, -0.3, -0.1], NONE]).p_values[0] == pytest.approx(2 * alone)


def test_nothing_is_denied_by_what_is_left_after_divergence():
    assert dependence_of([NONE], complete=False).word == greater([NONE], complete=False).word == "undecided"
    assert dependence_of([CLEAR], complete=False).word == greater([CLEAR], complete=False).word == "confirmed"


def faster(log_ratios):
    return [sign_of(values, p) for values, p in zip(log_ratios, holm_of(log_ratios), strict=True)]


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([[0.70, 0.72, 0.71]], ["confirmed"]),
        ([[1.70, 1.72, 1.71]], ["denied"]),
        ([[0.990, 0.991, 0.992]], ["denied"]),
        ([[0.940, 0.960, 0.950]], ["undecided"]),
        ([[0.70, 1.72, 1.0]], ["undecided"]),
        ([[0.70, 0.72, 0.71], [1.70, 1.72, 1.71]], ["confirmed", "denied"]),
        ([[0.7]], ["undecided"]),
    ],
)
def test_an_arm_is_faster_where_its_mean_ratio_is_shown_to_be_below_the_smallest_of_interest(ratios, words):
    assert faster([np.log(values) for values in ratios]) == words


def test_times_are_adjusted_for_their_number():
    values = np.log([0.86, 0.92, 0.90, 0.91])
    assert faster([values]) == ["confirmed"]
    assert faster([values, values]) == ["undecided", "undecided"]


@pytest.mark.parametrize(
    ("ratios", "word"),
    [([0.9, 0.95], "confirmed"), ([0.9, 0.995], "undecided"), ([0.995, 1.0], "denied"), ([1.2], "denied")],
)
def test_a_count_is_fewer_where_it_is_in_every_cell(ratios, word):
    assert fewer(np.log(ratios)) == word


def rate(decide, mean, word, tests=3):
    """How often a decision on so many tests says the word, where each difference is truly `mean`."""
    rng = np.random.default_rng(0)
    return np.mean([decide(list(rng.normal(mean, 1, (tests, SEEDS)))).word == word for _ in range(STUDIES)])


def test_without_an_effect_a_claim_is_confirmed_in_one_study_of_twenty_at_most():
    assert rate(dependence_of, 0, "confirmed") < AT_MOST
    assert rate(greater, 0, "confirmed") < AT_MOST
    assert rate(lambda tests: falls([values - 5 for values in tests], tests), 0, "confirmed") < AT_MOST
    assert rate(no_consistent_advantage, 0.5, "confirmed") < AT_MOST
    rng = np.random.default_rng(1)
    assert np.mean([faster([rng.normal(0, 1, SEEDS)]) != ["undecided"] for _ in range(STUDIES)]) < AT_MOST


def test_with_an_effect_of_half_a_point_its_absence_is_shown_in_one_study_of_twenty_at_most():
    assert (
        rate(lambda tests: dependence_of([0.05 * (values - 0.5) + 0.5 for values in tests]), 0.5, "denied", tests=1)
        < AT_MOST
    )
    assert (
        rate(lambda tests: greater([0.05 * (values - 0.5) + 0.5 for values in tests]), 0.5, "denied", tests=1) < AT_MOST
    )
    assert rate(no_consistent_advantage, 0, "denied", tests=1) < AT_MOST


def test_an_effect_that_is_there_is_found():
    assert rate(dependence_of, 4, "confirmed") > 0.9
    assert rate(greater, 4, "confirmed") > 0.9
