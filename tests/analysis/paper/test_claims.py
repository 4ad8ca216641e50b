from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.stats.paired import equivalence_tests
from ablate.stats.replication import further_run_half_width
from analysis.findings import Findings
from analysis.paper import claims
from analysis.rendering import page
from analysis.sources.published import PUBLISHED, printed
from tests.support.frames import rows

MNIST = {
    "dataset": "mnist",
    "dataset.valid_fraction": 0,
    "model": "wrn",
    "model.residual": True,
    "depth": 20,
    "width": 4,
    "bits": 1,
    "norm": "bn_fixed",
    "norm.eps": 1e-5,
    "recipe.epochs": 6,
    "recipe.augment": "none",
    "recipe.lr": 0.1,
    "recipe.batch_size": 125,
    "recipe.momentum": 0.9,
    "recipe.weight_decay": 5e-4,
    "recipe.schedule": "warm_restarts",
    "recipe.moments": "reestimated",
}
"""The config of [WR]'s MNIST network at 1 bit, 6 epochs: 0.36% error."""

SHIFTED = MNIST | {
    "dataset": "cifar10",
    "width": 10,
    "norm": "srelu",
    "norm.eps": None,
    "norm.temperature": 40,
    "recipe.epochs": 300,
    "recipe.augment": "cutout",
    "recipe.schedule": "cosine",
}
"""The config of [CODE]'s 20-10 with shifted ReLU at 1 bit on CIFAR-10: 96.52% accuracy."""

IMAGENET = MNIST | {
    "dataset": "imagenet",
    "model": "resnet_imagenet",
    "depth": 18,
    "width": 2.5,
    "norm": "bn",
    "recipe.epochs": 62,
    "recipe.augment": "scale_crop_flip",
    "recipe.weight_decay": 1e-4,
}
"""[WR]'s ImageNet network at 1 bit: 31.03% error of one crop, 26.04% of 25."""


def matched(*trials, **study):
    """id -> what the study says to the printed numbers that it has trials for."""
    return {claim.printed.id: claim for claim in claims.claims(rows(*trials, **study)) if claim.matched}


def seeds(config, *accs):
    return [(config, seed, acc) for seed, acc in enumerate(accs)]


def test_a_number_is_reproduced_in_the_unit_that_the_source_printed():
    by_id = matched(*seeds(MNIST, 0.9963, 0.9965, 0.9964))
    assert list(by_id) == ["iclr-mnist-1-e6"]
    (claim,) = by_id.values()
    assert (claim.unit, claim.claimed_pct, claim.status) == ("error", 0.36, "reproduced")
    assert claim.values_pct == pytest.approx([0.37, 0.35, 0.36])
    assert claim.run_ids == ["r0", "r1", "r2"]
    (claim,) = matched(*seeds(SHIFTED, 0.965, 0.966, 0.964)).values()
    assert (claim.printed.id, claim.unit, claims.reproduced(claim)) == (
        "code-c10-1-srelu",
        "accuracy",
        "96.50 (96.25 to 96.75)",
    )


@pytest.mark.parametrize(
    ("key", "level"),
    [
        ("dataset", "digits"),
        ("dataset.valid_fraction", 0.1),
        ("model", "mine"),
        ("model.residual", False),
        ("depth", 14),
        ("width", 2),
        ("bits", 2),
        ("norm", "gn"),
        ("norm.eps", 1e-3),
        ("recipe.epochs", 7),
        ("recipe.augment", "light"),
        ("recipe.lr", 0.05),
        ("recipe.batch_size", 16),
        ("recipe.momentum", 0.8),
        ("recipe.weight_decay", 1e-4),
        ("recipe.schedule", "cosine"),
        ("recipe.moments", "running"),
    ],
)
def test_another_recipe_is_not_the_papers(key, level):
    assert matched(*seeds(MNIST | {key: level}, 0.9963, 0.9965)) == {}


@pytest.mark.parametrize(
    ("key", "level"),
    [("norm.temperature", 25), ("recipe.schedule", "warm_restarts"), ("norm.floor", 0)],
)
def test_shifted_relu_has_the_temperature_of_its_row_and_one_cosine(key, level):
    assert matched(*seeds(SHIFTED | {key: level}, 0.965, 0.966)) == {}


def test_trials_from_before_skip_connections_were_a_key_had_them():
    without = {key: level for key, level in MNIST.items() if key != "model.residual"}
    assert list(matched(*seeds(without, 0.9963))) == ["iclr-mnist-1-e6"]


def test_a_study_without_a_key_that_the_source_states_matches_nothing():
    assert matched(*seeds({key: level for key, level in MNIST.items() if key != "depth"}, 0.9963)) == {}


def test_many_crops_are_held_against_the_figure_of_many_crops():
    single_crop = seeds(IMAGENET | {"dataset.multi_crop": False, "acc_multicrop": float("nan")}, 0.6897, 0.6899)
    assert list(matched(*single_crop)) == ["iclr2-18-2.5-1-imagenet"]
    many_crops = seeds(IMAGENET | {"dataset.multi_crop": True, "acc_multicrop": 0.74}, 0.6897, 0.6899)
    by_id = matched(*many_crops)
    assert {key: claim.values_pct for key, claim in by_id.items()} == {
        "iclr2-18-2.5-1-imagenet": [31.03, 31.01],
        "iclr2-18-2.5-1-imagenet-mc": [26, 26],
    }
    assert by_id["iclr2-18-2.5-1-imagenet-mc"].name.endswith("25 crops")


def test_trials_that_are_not_done_are_named_and_never_pooled():
    trials = seeds(MNIST, 0.9963, "diverged", "diverged", "running", 0.9965)
    (claim,) = matched(*trials).values()
    assert (claim.values_pct, claim.run_ids) == ([0.37, 0.35], ["r0", "r4"])
    assert claim.notes == ["2 of 5 diverged", "1 of 5 running"]
    (claim,) = matched(*seeds(MNIST, "diverged", "diverged")).values()
    assert (claim.status, claims.reproduced(claim)) == ("inconclusive (n = 0)", "–")
    assert claim.notes == ["2 of 2 diverged"]


def test_cells_that_differ_in_a_key_that_the_source_leaves_open_stand_apart():
    padded = [*seeds(MNIST | {"model.padding": "tf"}, 0.9963), *seeds(MNIST | {"model.padding": "torch"}, 0.98)]
    matching = [claim for claim in claims.claims(rows(*padded)) if claim.matched]
    assert [(claim.values_pct, claim.notes) for claim in matching] == [
        ([0.37], ["model.padding=tf"]),
        ([2.0], ["model.padding=torch"]),
    ]


def test_a_row_that_does_not_state_every_factor_is_never_matched():
    by_id = {claim.printed.id: claim for claim in claims.claims(rows(*seeds(MNIST, 0.9963)))}
    assert len(by_id) == 52
    assert (by_id["seed-c10"].status, by_id["seed-c10"].notes) == (
        "not stated",
        ["the source does not say which depth, width, bits, norm, epochs"],
    )
    assert "norm" not in by_id["seed-c100"].notes[0]
    assert [claim.status for claim in by_id.values()].count("not run") == 49


def test_the_full_table_holds_every_row_with_precision_and_run_ids():
    full = claims.in_full(claims.claims(rows(*seeds(MNIST, 0.9963, 0.9965, "diverged")))).set_index("id")
    row = full.loc["iclr-mnist-1-e6"]
    assert (row["claimed"], row["n"], row["notes"], row["runs"]) == (0.36, 2, "1 of 3 diverged", "r0 r1")
    assert row["reproduced"] == pytest.approx(0.36, abs=1e-9)
    assert row["sd"] == pytest.approx(0.02 / np.sqrt(2))
    assert row["high"] - row["reproduced"] == pytest.approx(0.01 * stats.t.ppf(0.975, 1))
    assert row["run_high"] - row["reproduced"] == pytest.approx(float(further_run_half_width([0.35, 0.37])))
    assert row["p_run"] == pytest.approx(1)
    assert row["p_within"] == pytest.approx(2 * float(equivalence_tests([-0.01, 0.01], 0.5)))
    assert np.isnan(full.loc["iclr-mnist-32-e6", ["run_low", "p_run", "p_within"]].astype(float)).all()
    assert (full.loc["iclr-mnist-32-e6", "status"], full.loc["iclr-mnist-32-e6", "n"]) == ("not run", 0)


def test_all_numbers_with_trials_are_judged_together():
    """A second number, whose seeds are as close together, doubles what the first needs."""
    (alone,) = matched(*seeds(MNIST, 0.9963, 0.9965, 0.9964)).values()
    both = matched(*seeds(MNIST, 0.9963, 0.9965, 0.9964), *seeds(MNIST | {"bits": 32}, 0.9973, 0.9971, 0.9972))
    beside = both["iclr-mnist-1-e6"]
    assert beside.replication.p_within == pytest.approx(2 * alone.replication.p_within)
    assert np.ptp(beside.replication.run_pct) > 1.3 * np.ptp(alone.replication.run_pct)


def test_the_mean_of_several_printed_runs_is_less_noisy_than_one():
    averaged = printed().assign(runs=4)
    studied = rows(*seeds(MNIST, 0.9903, 0.9905, 0.9907))
    single, averages = (
        next(claim for claim in claims.claims(studied, published) if claim.matched) for published in (None, averaged)
    )
    assert (single.printed.runs, averages.printed.runs) == (1, 4)
    assert np.ptp(averages.replication.run_pct) < 0.8 * np.ptp(single.replication.run_pct)


def test_a_file_may_state_how_many_runs_were_averaged(tmp_path):
    path = tmp_path / "published.csv"
    pd.read_csv(PUBLISHED).assign(runs=[5, *[None] * 51]).to_csv(path, index=False)
    assert printed(path)["runs"].tolist() == [5, *[1] * 51]


def test_one_line_counts_the_numbers_with_trials():
    trials = [*seeds(MNIST, 0.9963, 0.9965, 0.9964), *seeds(MNIST | {"bits": 32}, 0.99)]
    assert claims.counts(claims.claims(rows(*trials))) == "1 inconclusive, 1 reproduced"
    assert claims.counts(claims.claims(rows(*seeds(MNIST | {"bits": 2}, 0.99)))) == ""


def test_the_page_shows_the_numbers_with_trials_and_folds_the_others(tmp_path):
    runs = dataclasses.replace(rows(*seeds(MNIST, 0.9963, 0.9965, "diverged")), parent_run_id="p")
    page.write(Findings(runs, 0.5, claims=claims.claims(runs)), [], [], tmp_path)
    shown, folded, *_ = (tmp_path / "index.html").read_text().split("<details><summary>")
    assert re.search(
        r"20-4, 1 bit, bn_fixed, mnist, 6 epochs.*error 0.36.*0.36 \(0.23 to 0.49\).*1 of 3 diverged", shown, re.S
    )
    assert "n = 2; a further run 0.12 to 0.60" in shown
    assert "Not reproduced: the number lies outside the prediction interval of a further run" in shown
    assert "Reproduced: the mean over seeds is shown to lie within 0.5 points of the number as it was printed" in shown
    assert folded.startswith("51 printed numbers without a trial here")
    assert "not run" in folded
    assert "not run" not in shown


@pytest.mark.parametrize(
    ("preset", "where"),
    [
        ("code_table", "README results table"),
        ("wr_table1", "Table 1"),
        ("wr_table2", "Table 2"),
        ("wr_mnist", "Section 4"),
    ],
)
def test_the_trials_of_a_tables_preset_are_held_against_every_number_of_that_table(planned, preset, where):
    plan = planned(f"preset={preset}", "seeds=1").study
    trials = [({**trial.params, "acc_multicrop": 0.9}, trial.seed, 0.9) for trial in plan.trials]
    compared = claims.claims(rows(*trials, factors=list(plan.factors), derived=plan.derived))
    assert all(claim.matched for claim in compared if claim.printed.where == where)
    assert all(len(claim.run_ids) == 1 for claim in compared if claim.matched)
