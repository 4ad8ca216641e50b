from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from ablate.core.errors import UsageError
from analysis.effects import contrasts
from analysis.effects.contrasts import Contrast
from analysis.effects.factors import factors
from analysis.effects.matched import margins
from analysis.findings import find
from analysis.rendering import tables
from tests.support.frames import rows

NORM = Contrast("norm", "bn", "srelu")


def study(**extra):
    return [
        ({"norm": norm, "bits": bits, **extra}, seed, acc - seed / 100)
        for norm, bits, acc in (("bn", 1, 0.96), ("srelu", 1, 0.95), ("bn", 32, 0.99), ("srelu", 32, 0.94))
        for seed in (0, 1, 2)
    ]


def margins_by_cell(runs, contrast=NORM):
    return {
        tuple(row.levels.items()): (round(row.margin.mean_pp, 6), row.margin.n) if row.margin else None
        for row in margins(runs, contrast)
    }


def test_each_cell_of_the_other_factors_has_a_margin():
    assert margins_by_cell(rows(*study())) == {(("bits", 1),): (1, 3), (("bits", 32),): (5, 3)}


def test_any_factor_can_be_the_contrast():
    assert margins_by_cell(rows(*study()), Contrast("bits", 32, 1)) == {
        (("norm", "bn"),): (3, 3),
        (("norm", "srelu"),): (-1, 3),
    }


def test_a_key_that_nobody_swept_but_that_has_two_values_separates_cells():
    runs = rows(*study(depth=8), *study(depth=14))
    assert len(margins_by_cell(runs)) == 4
    assert all(n == 3 for _, n in margins_by_cell(runs).values())
    assert factors(runs) == ["norm", "bits", "depth"]


def test_arms_that_differ_in_more_than_the_factor_are_not_compared():
    runs = rows(
        ({"norm": "bn", "bits": 1, "recipe.lr": 0.1}, 0, 0.9),
        ({"norm": "srelu", "bits": 1, "recipe.lr": 0.01}, 0, 0.8),
    )
    (first, second) = margins(runs, NORM)
    assert (first.margin, second.margin) == (None, None)
    assert {*first.notes, *second.notes} == {"norm=srelu: not run", "norm=bn: not run"}


def test_a_key_that_follows_the_contrasts_own_choice_is_part_of_it():
    runs = rows(
        ({"norm": "bn", "norm.affine": True, "norm.temperature": None}, 0, 0.9),
        ({"norm": "srelu", "norm.affine": None, "norm.temperature": 10}, 0, 0.8),
        factors=["norm"],
    )
    assert margins_by_cell(runs) == {(): (10, 1)}


def test_a_key_of_one_arm_alone_gives_one_row_per_level_against_the_same_other_arm():
    runs = rows(
        ({"norm": "bn", "norm.temperature": None}, 0, 0.9),
        ({"norm": "srelu", "norm.temperature": 1}, 0, 0.5),
        ({"norm": "srelu", "norm.temperature": 10}, 0, 0.8),
        factors=["norm"],
    )
    assert margins_by_cell(runs) == {(("norm.temperature", 1),): (40, 1), (("norm.temperature", 10),): (10, 1)}


def test_failed_trials_are_named_and_take_their_partner_out_of_the_margin():
    runs = rows(
        ({"norm": "bn"}, 0, 0.9),
        ({"norm": "bn"}, 1, 0.9),
        ({"norm": "srelu"}, 0, 0.8),
        ({"norm": "srelu"}, 1, "diverged"),
        factors=["norm"],
    )
    (row,) = margins(runs, NORM)
    assert row.margin.n == 1
    assert row.notes == ["norm=srelu: 1 diverged", "norm=bn: 1 done without a partner of the same seed"]
    assert (row.by_seed, row.failed, row.ended) == ({0: pytest.approx(10)}, (0, 1), (2, 2))
    assert (row.first_runs, row.second_runs) == (["r0"], ["r2"])


def test_a_cell_with_one_arm_is_in_the_table_without_a_margin():
    runs = rows(*study(), ({"norm": "bn", "bits": 2}, 0, 0.9))
    assert margins_by_cell(runs)[(("bits", 2),)] is None
    findings = find(runs, [NORM], equivalence_pp=0.5)
    shown = tables.margins(findings.comparisons[0], findings)
    assert shown.loc[1].to_dict() == {
        "bits": "2",
        "bn (%)": "90.00",
        "srelu (%)": "–",
        "margin (pp)": "–",
        "95% interval": "–",
        "n": "0 of 1",
        "verdict": "no margin",
        "notes": "norm=srelu: not run",
    }


def test_a_level_that_is_not_compared_is_named_with_the_command_that_compares_it():
    runs = rows(*study(), ({"norm": "bn_fixed", "bits": 32}, 0, 0.9))
    assert contrasts.left_out(runs, [NORM]) == (
        "Not compared here: norm=bn_fixed; contrast.factor=norm contrast.levels=[bn,srelu,bn_fixed] does."
    )
    assert contrasts.left_out(rows(*study()), [NORM]) == ""


def test_arms_may_differ_in_a_derived_key_and_a_note_says_so():
    by_bits = [
        ({"norm": "srelu", "bits": 32, "norm.temperature": 40}, 0, 0.9),
        ({"norm": "srelu", "bits": 1, "norm.temperature": 20}, 0, 0.8),
    ]
    bits = Contrast("bits", 32, 1)
    assert set(margins_by_cell(rows(*by_bits), bits).values()) == {None}
    runs = rows(*by_bits, derived=["norm.temperature"])
    assert set(margins_by_cell(runs, bits).values()) == {(10, 1)}
    (row,) = margins(runs, bits)
    assert row.notes == ["norm.temperature 40 against 20"]


def test_a_derived_key_with_two_values_in_one_cell_separates_cells():
    runs = rows(
        ({"bits": 32, "norm.temperature": 40}, 0, 0.9),
        ({"bits": 32, "norm.temperature": 20}, 1, 0.8),
        factors=["bits"],
        derived=["norm.temperature"],
    )
    assert factors(runs) == ["bits", "norm.temperature"]


def test_rows_are_in_the_order_of_their_levels():
    assert [row.levels["bits"] for row in margins(rows(*reversed(study())), NORM)] == [1, 32]


def test_a_studys_own_contrast_comes_first_where_the_study_has_its_levels():
    runs = dataclasses.replace(rows(*study()), preferred=("bits", (32, 1)))
    assert contrasts.choose_contrasts(runs, None, None) == [Contrast("bits", 32, 1)]
    assert contrasts.choose_contrasts(runs, "norm", None) == [NORM]
    for elsewhere in (("bits", (32, 8)), ("model.residual", (True, False))):
        runs = dataclasses.replace(runs, preferred=elsewhere)
        assert contrasts.choose_contrasts(runs, None, None) == [NORM]


def test_the_levels_of_a_contrast_may_be_booleans():
    plain = [({"model.residual": residual}, 0, 0.9) for residual in (False, True)]
    runs = dataclasses.replace(rows(*plain, factors=["model.residual"]), preferred=("model.residual", (True, False)))
    assert [str(contrast) for contrast in contrasts.choose_contrasts(runs)] == ["model.residual: true minus false"]


def test_the_default_contrast_is_the_papers_else_the_first_factor():
    assert contrasts.choose_contrasts(rows(*study()), None, None) == [NORM]
    other = rows(({"norm": "bn", "bits": 1}, 0, 0.9), ({"norm": "bn", "bits": 32}, 0, 0.9))
    assert contrasts.choose_contrasts(other, None, None) == [Contrast("bits", 1, 32)]
    assert contrasts.choose_contrasts(rows(({"norm": "bn"}, 0, 0.9), factors=["norm"]), None, None) == []
    others = rows(({"norm": "bn"}, 0, 0.9), ({"norm": "gn"}, 0, 0.9), factors=["norm"])
    assert contrasts.choose_contrasts(others, None, None) == [Contrast("norm", "bn", "gn")]


@pytest.mark.parametrize(
    ("factor", "levels", "message"),
    [
        ("width", None, r"contrast\.factor=width: not varied in study s; allowed: norm, bits"),
        ("norm", ["bn", "gn"], r"contrast\.levels=\[bn,gn\]: allowed: two or more of bn, srelu"),
        ("bits", [1], r"contrast\.levels=\[1\]: allowed: two or more of 1, 32"),
        ("bits", [1, 1], r"contrast\.levels=\[1,1\]: allowed: two or more of 1, 32"),
    ],
)
def test_an_unknown_contrast_is_a_usage_error(factor, levels, message):
    with pytest.raises(UsageError, match=message):
        contrasts.choose_contrasts(rows(*study()), factor, levels)


def test_accuracies_name_every_cell_with_n_and_what_is_not_done():
    runs = rows(*study(), ({"norm": "bn", "bits": 1}, 3, "lost"))
    shown = tables.accuracies(runs).to_dict("records")
    assert shown[0] == {
        "norm": "bn",
        "bits": "1",
        "n": 3,
        "not done": "1 lost",
        "test accuracy (%)": "95.00",
        "sd": "1.00",
    }
    assert [(row["norm"], row["bits"]) for row in shown] == [("bn", "1"), ("bn", "32"), ("srelu", "1"), ("srelu", "32")]


def test_the_full_table_holds_the_run_ids_and_full_precision():
    findings = find(rows(*study()), [NORM], equivalence_pp=0.5)
    full = tables.margins_in_full(findings.comparisons, findings)
    assert full.loc[0, "first_runs"] == "r0 r1 r2"
    assert full.loc[0, "margin_pp"] == pytest.approx(1, abs=1e-9)


def test_notes_become_footnotes():
    table = pd.DataFrame({"n": [1, 2, 3], "notes": ["late", "", "late"]})
    marked, notes = tables.footnotes(table)
    assert marked.iloc[:, -1].tolist() == ["a", "", "a"]
    assert notes == ["a: late"]
    assert "notes" not in tables.footnotes(table.assign(notes=""))[0]


def test_every_trial_has_a_row_with_its_id_its_run_and_what_became_of_it():
    runs = rows(*study())
    table = tables.trials_in_full(runs)
    assert list(table["trial_id"]) == list(runs.frame["trial_id"])
    assert list(table.columns[:3]) == ["trial_id", "norm", "bits"]
    assert {"seed", "outcome", "acc", "run_id"} <= set(table.columns)
    assert len(table) == 12
