"""The report fits the design: effects against the base cell, main effects with their aliases."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest

from ablate.planning.doe import generators
from ablate.stats import least_squares
from ablate.stats.multiple_testing import holm
from analysis.effects import contrasts
from analysis.findings import find
from analysis.rendering import design_sentences, design_tables, page, sentences, terminal
from analysis.sources.measure import Measure
from tests.support.frames import rows

REFERENCE = {"norm": "bn", "bits": 1, "width": 1}
CHANGED = {"norm": "srelu", "bits": 32, "width": 2}
EFFECTS_PP = {"norm": -2.0, "bits": 3.0, "width": 0.0}


def truth(cell, effects=EFFECTS_PP, reference=REFERENCE):
    """Accuracy of a cell by its main effects alone; each factor's changed level adds its effect."""
    return 0.8 + sum(pp for key, pp in effects.items() if cell[key] != reference[key]) / 100


def study(cells, kind, *, seeds=4, noise_pp=0.05, failed=(), acc=truth, factors=None, **design):
    """A study with that design. `failed` are (index of a cell, seed) that diverged."""
    rng = np.random.default_rng(3)
    common = rng.normal(0, 1, seeds) / 100  # a seed pulls all cells along
    trials = [
        (cell, seed, "diverged" if (at, seed) in failed else acc(cell) + common[seed] + noise_pp * rng.normal() / 100)
        for at, cell in enumerate(cells)
        for seed in range(seeds)
    ]
    made = rows(*trials, factors=factors or list(cells[0]))
    return dataclasses.replace(made, metadata={"design": {"kind": kind, "reference": dict(cells[0])} | design})


def around(base, others):
    return [base, *({**base, key: level} for key, level in others.items())]


def fraction(factors, left_out, names=None):
    """The cells of the 2^(factors - left_out) fraction that ablate makes, the reference the first, at -1."""
    words = generators(factors, left_out)
    names = names or [f"f{index}" for index in range(factors)]
    basic = itertools.product((-1, 1), repeat=factors - left_out)
    signs = [[math.prod(sign for at, sign in enumerate(row) if word >> at & 1) for word in words] for row in basic]
    return [
        {name: "low" if sign == first else "high" for name, sign, first in zip(names, row, signs[0], strict=True)}
        for row in signs
    ]


def findings_of(runs, **options):
    return find(runs, contrasts.choose_contrasts(runs), equivalence_pp=0.5, **options)


def effects(findings):
    return {(effect.factor, effect.first, effect.second): effect.row for effect in findings.design.effects}


ONE_FACTOR = study(around(REFERENCE, CHANGED), "one_factor", base=REFERENCE)
LEAVE = study(around(REFERENCE, CHANGED), "leave_one_out", base=REFERENCE)
ADD = study([REFERENCE, *around(CHANGED, REFERENCE)], "add_one_in", base=CHANGED, bare=CHANGED)


def by_hand(runs, first, second):
    """Each seed's difference of two cells, in percentage points."""
    frame = runs.frame
    at = [
        frame[(frame[list(cell)] == pd.Series(cell)).all(axis=1)].set_index("seed")["acc"] for cell in (first, second)
    ]
    return (100 * (at[0] - at[1])).round(9).to_dict()


def test_one_factor_is_the_level_minus_the_reference():
    by_effect = effects(findings_of(ONE_FACTOR))
    assert [*by_effect] == [("norm", "srelu", "bn"), ("bits", "32", "1"), ("width", "2", "1")]
    for (factor, *_), row in by_effect.items():
        assert row.by_seed == by_hand(ONE_FACTOR, {**REFERENCE, factor: CHANGED[factor]}, REFERENCE)
        assert row.margin.mean_pp == pytest.approx(EFFECTS_PP[factor], abs=0.15)


def test_leave_one_out_is_what_is_lost_without_a_part():
    by_effect = effects(findings_of(LEAVE))
    assert [*by_effect] == [("norm", "bn", "srelu"), ("bits", "1", "32"), ("width", "1", "2")]
    for (factor, *_), row in by_effect.items():
        assert row.by_seed == by_hand(LEAVE, REFERENCE, {**REFERENCE, factor: CHANGED[factor]})
    text = sentences.sentences(findings_of(LEAVE))
    assert "norm srelu in place of bn, 1.9" in text[0]
    assert "points lost" in text[0]
    assert "bits 32 in place of 1, " in text[0]
    assert "points gained" in text[0]


def test_add_one_in_is_what_is_gained_over_the_bare_cell_and_the_whole_reference_is_a_row():
    by_effect = effects(findings_of(ADD))
    assert [*by_effect] == [
        *(("norm", "bn", "srelu"), ("bits", "1", "32"), ("width", "1", "2")),
        ("all parts", "reference", "bare"),
    ]
    assert by_effect["norm", "bn", "srelu"].by_seed == by_hand(ADD, {**CHANGED, "norm": "bn"}, CHANGED)
    assert by_effect["all parts", "reference", "bare"].by_seed == by_hand(ADD, REFERENCE, CHANGED)


def test_the_verdicts_are_adjusted_over_all_rows():
    design = findings_of(ONE_FACTOR).design
    margins = [effect.row.margin for effect in design.effects]
    assert [verdict.p_difference for verdict in design.verdicts] == holm([margin.p_difference for margin in margins])
    assert [verdict.word for verdict in design.verdicts] == ["second better", "first better", "equivalent"]


def test_the_sentences_say_which_parts_matter_which_are_equivalent_and_which_undecided():
    first, equivalent, *_ = sentences.sentences(findings_of(ONE_FACTOR))
    assert first.startswith(
        "One factor at a time, 4 cells, 4 seeds, from the reference: norm bn, bits 1, width 1; test accuracy "
    )
    assert "Shown to matter, the most first: bits 32 in place of 1, +3.0" in first
    assert "; norm srelu in place of bn, -" in first
    assert equivalent.startswith("Equivalent within 0.5 points: width 2 in place of 1, ")
    noisy = study(around(REFERENCE, CHANGED), "one_factor", base=REFERENCE, noise_pp=20)
    assert any(line.startswith("Undecided: ") for line in sentences.sentences(findings_of(noisy)))


def test_a_failed_trial_leaves_its_seed_out_and_the_verdict_says_of_what_it_is():
    findings = findings_of(study(around(REFERENCE, CHANGED), "one_factor", base=REFERENCE, failed=[(2, 1)]))
    row = effects(findings)["bits", "32", "1"]
    assert (row.margin.n, row.planned, row.failed) == (3, 4, (1, 0))
    assert row.notes == ["bits=32: 1 diverged", "reference: 1 done without a partner of the same seed"]
    assert (findings.design.verdicts[1].word, findings.design.verdicts[1].both_trained) == ("first better", True)
    assert any(
        "bits 32 in place of 1, " in line and "where both trained" in line for line in sentences.sentences(findings)
    )
    table = design_tables.shown(findings.design, findings)
    assert table["n"].tolist() == ["4", "3 of 4", "4"]


def test_without_the_base_nothing_can_be_told_and_that_is_said():
    findings = findings_of(
        study(around(REFERENCE, CHANGED), "one_factor", base=REFERENCE, failed=[(0, s) for s in range(4)])
    )
    assert {verdict.word for verdict in findings.design.verdicts} == {"no margin"}
    assert "No seed in both arms: norm srelu in place of bn" in sentences.sentences(findings)[1]


def test_zipped_factors_are_one_row():
    base = {"norm": "bn", "depth": 8, "width": 1}
    cells = [base, {**base, "norm": "srelu"}, {**base, "depth": 14, "width": 2}]
    runs = study(cells, "one_factor", base=base, zip=[["depth", "width"]], acc=lambda cell: 0.8 + cell["depth"] / 100)
    findings = findings_of(runs)
    assert [*effects(findings)] == [
        ("norm", "srelu", "bn"),
        ("depth, width", "depth 14, width 2", "depth 8, width 1"),
    ]
    assert "depth 14, width 2 in place of depth 8, width 1, +6.0" in sentences.sentences(findings)[0]


def test_a_conditional_factor_that_only_one_cell_sets_is_no_second_change():
    base = {"norm": "srelu", "norm.temperature": 5}
    cells = [base, {"norm": "bn", "norm.temperature": None}, {**base, "norm.temperature": 10}]
    when = {"norm.temperature": "norm == srelu"}
    runs = study(cells, "one_factor", base=base, when=when, acc=lambda cell: 0.8 + (cell["norm"] == "bn") / 100)
    assert [*effects(findings_of(runs))] == [("norm", "bn", "srelu"), ("norm.temperature", "10", "5")]


def test_a_condition_may_name_a_level_that_no_trial_has():
    base = {"norm": "bn", "recipe.lr": 0.1}
    cells = [base, {"norm": "srelu", "recipe.lr": 0.1}]
    runs = study(cells, "one_factor", base=base, when={"recipe.lr": "norm == gn"}, acc=lambda cell: 0.8)
    assert [*effects(findings_of(runs))] == [("norm", "srelu", "bn")]


def test_cells_that_differ_in_more_than_one_factor_are_counted_and_left_out():
    cells = [*around(REFERENCE, CHANGED), CHANGED]
    findings = findings_of(study(cells, "one_factor", base=REFERENCE))
    assert len(findings.design.effects) == 3
    assert any(
        "1 cells differ from the reference in more than one factor" in warning
        for warning in sentences.warnings(findings, "")
    )


def test_a_contrast_that_was_asked_for_is_reported_as_ever():
    findings = find(ONE_FACTOR, contrasts.choose_contrasts(ONE_FACTOR, "bits"), equivalence_pp=0.5, by_design=False)
    assert findings.design is None
    assert [str(comparison.contrast) for comparison in findings.comparisons] == ["bits: 1 minus 32"]


def test_a_full_grid_is_reported_as_ever():
    cells = [dict(zip(REFERENCE, levels, strict=True)) for levels in itertools.product(["bn", "srelu"], [1, 32], [1])]
    full = study(cells, "full")
    plain = dataclasses.replace(full, metadata={})
    assert findings_of(full).design is None
    assert sentences.sentences(findings_of(full)) == sentences.sentences(findings_of(plain))


def test_a_part_of_a_full_grid_in_which_nothing_pairs_up_has_main_effects():
    cells = [{"depth": depth, "width": width} for depth, width in ((8, 1), (14, 2), (20, 4))]
    zipped = study(cells, "full", zip=[["depth", "width"]], acc=lambda cell: cell["depth"] / 100)
    findings = findings_of(zipped)
    assert findings.comparisons == []
    assert [round(row.margin.mean_pp) for row in effects(findings).values()] == [6, 12]


@pytest.mark.parametrize("failed", [(), [(2, 1)]])
def test_main_effects_are_those_of_statsmodels_fitted_to_each_seed(failed):
    import statsmodels.formula.api as smf

    levels = itertools.product(["bn", "srelu", "gn"], [1, 32], [1, 2, 4])
    cells = [dict(zip(REFERENCE, cell, strict=True)) for cell in levels]
    cells = [cells[at] for at in (0, 2, 3, 5, 7, 8, 10, 12, 13, 16)]
    runs = study(cells, "random", noise_pp=2, failed=failed)
    by_effect = effects(findings_of(runs))
    formula = "pp ~ C(norm, Treatment('bn')) + C(bits, Treatment(1)) + C(width, Treatment(1))"
    done = runs.frame[runs.frame["outcome"] == "done"].assign(pp=lambda frame: 100 * frame["acc"])
    for seed, trials in done.groupby("seed"):
        fitted = smf.ols(formula, trials).fit().params
        for (factor, first, _), row in by_effect.items():
            (value,) = [
                v for name, v in fitted.items() if name.startswith(f"C({factor}") and name.endswith(f"T.{first}]")
            ]
            assert row.by_seed[seed] == pytest.approx(value, abs=1e-8)


def test_the_half_fraction_of_three_factors_has_each_mixed_with_the_other_two():
    """By hand: cells - - -, + + -, + - +, - + + have ABC = -1, so that C = -AB."""
    cells = fraction(3, 1, ["A", "B", "C"])
    assert cells[0] == dict.fromkeys("ABC", "low")
    findings = findings_of(study(cells, "fractional", resolution=3, acc=lambda cell: 0.8 + (cell["A"] == "high") / 100))
    assert [
        [(alias.name, round(alias.weight, 9)) for alias in effect.aliases] for effect in findings.design.effects
    ] == [
        [("B x C", -1)],
        [("A x C", -1)],
        [("A x B", -1)],
    ]
    assert findings.comparisons == []
    assert design_tables.shown(findings.design, findings)["aliases"].tolist() == ["− B x C", "− A x C", "− A x B"]
    assert any(line.startswith("Resolution III: main effects are mixed") for line in sentences.sentences(findings))


def test_an_alias_is_what_an_interaction_adds():
    """Half of what A's effect differs by between B's levels is 1.5 points: C's estimate is that much too low."""
    runs = study(
        fraction(3, 1, ["A", "B", "C"]),
        "fractional",
        noise_pp=0,
        acc=lambda cell: 0.8 + 3 * (cell["A"] == cell["B"] == "high") / 100,
    )
    by_effect = effects(findings_of(runs))
    assert by_effect["C", "high", "low"].margin.mean_pp == pytest.approx(-1.5)
    assert by_effect["A", "high", "low"].margin.mean_pp == pytest.approx(1.5)  # at B low 0, at B high 3


def test_the_half_fraction_of_four_factors_has_no_alias_of_two_factors():
    findings = findings_of(study(fraction(4, 1), "fractional", resolution=4, acc=lambda cell: 0.8))
    assert [effect.aliases for effect in findings.design.effects] == [[]] * 4
    assert findings.design.balanced
    assert any(line.startswith("Resolution IV: no main effect is mixed") for line in sentences.sentences(findings))


def test_failed_trials_may_mix_in_what_the_whole_fraction_keeps_apart():
    findings = findings_of(study(fraction(4, 1), "fractional", resolution=4, acc=lambda cell: 0.8, failed=[(1, 0)]))
    assert any(effect.aliases for effect in findings.design.effects)
    assert any(
        line.startswith("Resolution IV in the whole fraction; in the cells that are done main effects are mixed")
        for line in sentences.sentences(findings)
    )


def test_seeds_that_were_added_until_they_decided_have_the_tests_that_hold_under_looking():
    for runs in (ONE_FACTOR, study(fraction(3, 1), "fractional", seeds=4, acc=lambda cell: 0.8)):
        auto = dataclasses.replace(runs, metadata={**runs.metadata, "seeds": {"most": 10, "within_pp": 0.5}})
        assert {row.margin.fixed for row in effects(findings_of(auto)).values()} == {False}


def test_plackett_and_burmans_twelve_runs_mix_in_a_third_of_each_interaction_of_two_others():
    from pydoe import pbdesign

    cells = [{f"f{at:02}": ("low", "high")[int(code > 0)] for at, code in enumerate(row)} for row in pbdesign(11)]
    findings = findings_of(study(cells, "screening", seeds=2, acc=lambda cell: 0.8))
    for effect in findings.design.effects:
        assert len(effect.aliases) == 45  # pairs of the other ten
        assert {round(abs(alias.weight), 9) for alias in effect.aliases} == {round(1 / 3, 9)}
        assert not any(effect.factor in alias.name for alias in effect.aliases)
    assert design_tables.shown(findings.design, findings)["aliases"][0].endswith(", 42 more")


def test_planted_effects_are_recovered():
    planted = {f"f{at}": pp for at, pp in enumerate((4.0, -2.0, 1.0, 0.0, 0.0))}
    runs = study(
        fraction(5, 1),
        "fractional",
        resolution=5,
        seeds=5,
        noise_pp=0.3,
        acc=lambda cell: truth(cell, planted, dict.fromkeys(planted, "low")),
    )
    findings = findings_of(runs)
    for effect, verdict in zip(findings.design.effects, findings.design.verdicts, strict=True):
        row, true = effect.row, planted[effect.factor]
        assert row.margin.low_pp - 0.2 < true < row.margin.high_pp + 0.2
        assert verdict.word == ("equivalent" if true == 0 else "first better" if true > 0 else "second better")


def test_a_seed_whose_cells_do_not_tell_an_effect_apart_is_left_out_of_it():
    runs = study(fraction(3, 1, ["A", "B", "C"]), "fractional", acc=lambda cell: 0.8, failed=[(1, 0)])
    findings = findings_of(runs)
    for row in effects(findings).values():
        assert [*row.by_seed] == [1, 2, 3]
        assert row.notes[-1] == "1 of 4 seeds left out: their cells that are done do not tell it apart"
    notes = design_tables.shown(findings.design, findings)["n"]
    assert set(notes) == {"3 of 4"}


def test_effects_that_the_cells_cannot_tell_apart_are_named_and_not_estimated():
    cells = [{"A": a, "B": a, "C": c} for a in (0, 1) for c in (0, 1)]
    findings = findings_of(study(cells, "random", acc=lambda cell: 0.8 + cell["C"] / 100))
    assert [*effects(findings)] == [("C", "1", "0")]
    assert findings.design.notes == [
        "Not estimated: A 1 against 0; in these cells it cannot be told from B 1 against 0.",
        "Not estimated: B 1 against 0; in these cells it cannot be told from A 1 against 0.",
    ]
    assert set(findings.design.notes) <= set(sentences.warnings(findings, ""))


def test_zipped_factors_are_one_main_effect_and_a_conditional_one_counts_where_it_is_set():
    cells = [
        {"norm": norm, "norm.temperature": t, "depth": depth, "width": depth // 7}
        for norm, t in (("bn", None), ("srelu", 5), ("srelu", 10))
        for depth in (7, 14)
    ]
    runs = study(
        cells,
        "random",
        noise_pp=0,
        zip=[["depth", "width"]],
        when={"norm.temperature": "norm == srelu"},
        acc=lambda cell: (
            0.8 + (cell["norm"] == "bn") / 100 + (cell["norm.temperature"] == 10) / 50 + cell["depth"] / 1400
        ),
    )
    findings = findings_of(runs)
    assert {key: round(row.margin.mean_pp, 6) for key, row in effects(findings).items()} == {
        ("norm", "srelu", "bn"): 0,  # over both temperatures: -1 and +1
        ("norm.temperature", "10", "5"): 2,
        ("depth, width", "depth 14, width 2", "depth 7, width 1"): 0.5,
    }


def test_cells_that_are_not_balanced_are_said_to_be_so():
    cells = [dict(zip("AB", levels, strict=True)) for levels in ((0, 0), (0, 1), (1, 0))]
    findings = findings_of(study(cells, "random", acc=lambda cell: 0.8))
    assert not findings.design.balanced
    assert any("not balanced" in line for line in sentences.sentences(findings))


def test_margins_of_matched_pairs_stay_and_their_verdicts_are_adjusted_with_the_effects():
    cells = [{"norm": n, "bits": b} for n, b in (("bn", 1), ("srelu", 1), ("bn", 32))]
    runs = study(cells, "random", acc=lambda cell: 0.8 + (cell["norm"] == "bn") / 100)
    findings = findings_of(runs)
    (comparison,) = findings.comparisons
    assert [row.levels for row in comparison.rows] == [{"bits": 1}]  # bits 32 has no shifted ReLU
    assert findings.tested == 3
    p = [effect.row.margin.p_difference for effect in findings.design.effects] + [
        comparison.rows[0].margin.p_difference
    ]
    assert [v.p_difference for v in (*findings.design.verdicts, *comparison.verdicts)] == holm(p)


def test_the_test_sets_share_of_a_main_effect_is_that_of_the_margin_where_two_cells_are_all_there_is():
    runs = study([{"norm": "bn"}, {"norm": "srelu"}], "random", acc=lambda cell: 0.8)
    rng = np.random.default_rng(0)
    right = {run_id: rng.uniform(size=300) < 0.9 for run_id in runs.frame["run_id"]}
    design = findings_of(runs, right=right).design
    plain = find(
        runs,
        contrasts.choose_contrasts(runs, "norm", ["srelu", "bn"]),
        equivalence_pp=0.5,
        right=right,
        by_design=False,
    )
    test_set = plain.comparisons[0].rows[0].margin.test_set
    assert design.effects[0].row.margin.test_set.se_pp == pytest.approx(test_set.se_pp)


def test_of_a_measure_of_which_less_is_better_nothing_is_lost_or_gained():
    loss = Measure("loss", "", "", lower_is_better=True)
    for runs in (LEAVE, ADD):
        findings = findings_of(dataclasses.replace(runs, measure=loss, kind="others"))
        words = " ".join([*sentences.sentences(findings), design_sentences.title(findings.design, findings)])
        assert "lost" not in words
        assert "gained" not in words
        assert findings.design.verdicts[0].word == "second better"


@pytest.mark.parametrize(
    "runs",
    [
        *(ONE_FACTOR, LEAVE, ADD),
        study(fraction(3, 1), "fractional", resolution=3, acc=lambda cell: 0.8),
        study(fraction(3, 1), "fractional", resolution=3, acc=lambda cell: 0.8, seeds=1),
        study(around(REFERENCE, CHANGED), "one_factor", base=REFERENCE, failed=[(0, s) for s in range(4)]),
        study([REFERENCE, CHANGED], "random"),
    ],
    ids=["one_factor", "leave_one_out", "add_one_in", "fractional", "one seed", "no base", "nothing identified"],
)
def test_a_report_holds_the_effects_as_page_table_figure_and_numbers(runs, tmp_path, capsys):
    findings = findings_of(runs)
    written, warned = sentences.sentences(findings), sentences.warnings(findings, "")
    page.write(findings, written, warned, tmp_path)
    terminal.show(findings, written, warned)
    out = capsys.readouterr().out
    recorded = json.loads((tmp_path / "report.json").read_text())["design"]
    html = (tmp_path / "index.html").read_text()
    assert "No factor was swept" not in html
    if not findings.design.effects:
        assert "Not estimated: norm srelu against bn" in out
        return
    assert design_sentences.title(findings.design, findings) in html
    assert design_sentences.title(findings.design, findings) in out
    table = pd.read_csv(tmp_path / "effects.csv")
    assert len(table) == len(recorded["effects"]) == len(findings.design.effects)
    assert table["effect_pp"].fillna(0).tolist() == pytest.approx(
        [effect["effect_pp"] or 0 for effect in recorded["effects"]]
    )
    assert {path.suffix for path in tmp_path.glob("effects.*")} >= {".csv", ".md", ".tex"}
    assert (tmp_path / "effects.tex").read_text().isascii()
    assert (tmp_path / "effects.svg").exists() == findings.design.has_effects


def test_balance_and_codes_by_hand():
    positions = np.array([0, 1, 2])
    assert least_squares.coded(positions, 3).round(9).tolist() == [
        [pytest.approx(-1 / 3), pytest.approx(-1 / 3)],
        [pytest.approx(2 / 3), pytest.approx(-1 / 3)],
        [pytest.approx(-1 / 3), pytest.approx(2 / 3)],
    ]
    signs = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    parts = [least_squares.coded(signs_of_factor, 2) for signs_of_factor in signs]
    assert least_squares.balanced(parts)
    assert least_squares.interaction(*parts).ravel().tolist() == [0.5, -0.5, -0.5, 0.5]
