from __future__ import annotations

import numpy as np
import pytest

from ablate.stats.finite_test_set import TestSet
from ablate.stats.margin import Margin, margin
from ablate.stats.power import more_seeds
from ablate.stats.seed_rule import SeedRule
from analysis.effects.verdict import Failures, in_words, verdicts


def cell(*differences_pp, test_set=None, within=0.5):
    return margin(
        [0.9 + pp / 100 for pp in differences_pp], [0.9] * len(differences_pp), equivalence_pp=within, test_set=test_set
    )


CLEARLY = cell(2.0, 2.1, 1.9, 2.0)
SMALL = cell(0.20, 0.22, 0.18, 0.20)
NONE = cell(0.05, -0.05, 0.04, -0.04)
OPEN = cell(0.1, 1.5, -0.3, 0.6)


def words(*cells, **options):
    return [in_words(verdict, "bn", "srelu", "0.5 points") for verdict in verdicts(list(cells), 0.5, **options)]


def test_each_verdict_in_words():
    assert words(CLEARLY) == ["bn better"]
    assert words(cell(-2.0, -2.1, -1.9)) == ["srelu better"]
    assert words(SMALL) == ["bn better, by less than 0.5 points"]
    assert words(NONE) == ["equivalent within 0.5 points"]
    assert words(OPEN) == ["undecided: some 30 to 300 more seeds would decide"]
    assert words(cell(1.0)) == ["not testable: one seed, no interval"]
    assert words(None) == ["no margin"]


def test_a_measure_of_which_less_is_better_turns_the_words_round():
    assert words(CLEARLY, lower_is_better=True) == ["srelu better"]


def test_a_cell_that_would_be_decided_alone_may_not_be_among_many():
    barely = cell(0.6, 1.2, 1.8, 0.9)
    assert barely.low_pp > 0
    assert words(barely) == ["bn better"]
    verdict = words(barely, *[OPEN] * 9)[0]
    assert verdict.startswith("undecided among all cells: some ")


def test_identical_differences_give_no_verdict_by_themselves():
    same = cell(1.5, 1.5, 1.5)
    assert (same.low_pp, same.p_difference) == (None, None)
    assert words(same) == [
        "not testable: all 3 seeds differ by the same, and no predictions are stored to take the spread from"
    ]
    coarse, fine = TestSet(0.8, 360), TestSet(0.05, 100_000)
    assert words(cell(1.5, 1.5, 1.5, test_set=coarse)) == [
        "undecided: more seeds would not decide, a larger test set might"
    ]
    assert words(cell(1.5, 1.5, 1.5, test_set=fine)) == ["bn better"]


def test_identical_differences_of_zero_are_not_equivalence_on_a_small_test_set():
    assert words(cell(0.0, 0.0, 0.0, test_set=TestSet(0.4, 360)))[0].startswith("undecided")
    assert words(cell(0.0, 0.0, 0.0, test_set=TestSet(0.02, 50_000))) == ["equivalent within 0.5 points"]


@pytest.mark.parametrize(
    ("measured", "failed", "ended", "expected"),
    [
        (CLEARLY, (0, 2), 6, "bn better where both trained"),
        (CLEARLY, (1, 0), 5, "bn better where both trained"),
        (NONE, (0, 1), 5, "equivalent within 0.5 points where both trained"),
        (SMALL, (0, 1), 5, "bn better where both trained, by less than 0.5 points"),
        (CLEARLY, (0, 5), 9, "undecided: only 4 of 9 seeds trained in both arms"),
        (CLEARLY, (4, 0), 8, "undecided: bn better where both trained, but bn fails more often"),
        (CLEARLY, (0, 4), 8, "bn better where both trained"),
        (NONE, (0, 4), 8, "undecided: equivalent where both trained, but srelu fails more often"),
        (OPEN, (0, 1), 5, "undecided: some 30 to 300 more seeds would decide"),
    ],
)
def test_failed_trials_make_two_parts(measured, failed, ended, expected):
    assert words(measured, failures=[Failures(failed, (ended, ended))]) == [expected]


def test_an_arm_that_failed_everywhere_leaves_no_margin():
    assert words(None, failures=[Failures((0, 3), (3, 3))]) == ["no margin"]


def test_two_of_six_survivors_decide_nothing():
    """Four of six bn runs failed, in whatever way; the two that are left are far ahead."""
    assert words(cell(3.0, 3.1), failures=[Failures((4, 0), (6, 6))]) == [
        "undecided: only 2 of 6 seeds trained in both arms"
    ]


def test_p_values_are_adjusted_over_the_cells_of_the_report():
    from statsmodels.stats.multitest import multipletests

    cells = [CLEARLY, SMALL, NONE, OPEN]
    judged = verdicts(cells, 0.5)
    for kind in ("p_difference", "p_equivalence"):
        expected = multipletests([getattr(measured, kind) for measured in cells], method="holm")[1]
        assert [getattr(measured, kind) for measured in judged] == pytest.approx(expected.tolist())


def test_the_seeds_that_would_decide_do_so_in_four_studies_of_five():
    rng = np.random.default_rng(0)
    (verdict,) = verdicts([Margin(3, 1.0, 0.8, -1, 3, 0.2, 0.7)], 0.5)
    assert verdict.more_seeds.fewest < 13 < verdict.more_seeds.most
    n = 3 + more_seeds(1.0, 0.8, 3, 0.5)
    looked = [
        margin((0.9 + values / 100).tolist(), [0.9] * n, seed_rule=SeedRule(looks=(3, n)))
        for values in rng.normal(1.0, 0.8, (400, n))
    ]
    decided = [verdicts([measured], 0.5)[0].word != "undecided" for measured in looked]
    assert 0.78 <= np.mean(decided) <= 0.95  # some are decided at an earlier look


def test_seeds_that_decide_on_a_small_test_set_alone_are_said_to():
    """Seeds added until they decided: the driver stopped, and the test set keeps the verdict open."""
    accs = [0.9 + pp / 100 for pp in (2.0, 2.1, 1.9, 2.0, 2.05)]
    on_few = margin(accs, [0.9] * 5, test_set=TestSet(3.0, 20), seed_rule=SeedRule(20))
    assert words(on_few) == ["undecided: decided on these test images, not for others"]
    assert words(margin(accs, [0.9] * 5, test_set=TestSet(0.01, 10**6), seed_rule=SeedRule(20))) == ["bn better"]
