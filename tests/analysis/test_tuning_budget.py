"""The margin at every tuning budget, and what tuning spent: from frames written by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest

from ablate.stats.expected_best import expected_best
from analysis.effects import tuning_budget
from analysis.effects.chance import classes_of
from analysis.effects.contrasts import Contrast
from analysis.effects.matched import margins
from analysis.findings import find
from analysis.rendering import budget_sentences, page
from analysis.sources.runs import Choice, Runs


def by_brute_force(ordered, budget):
    """Return the mean over every subset of that size of the first in it, which is what would be chosen."""
    return np.mean([ordered[subset[0]] for subset in itertools.combinations(range(len(ordered)), budget)])


@pytest.mark.parametrize("failed", [0, 1, 3])
def test_the_expected_best_is_the_mean_over_all_subsets(failed):
    ordered = np.concatenate([np.random.default_rng(failed).random(7), np.full(failed, 0.1)])
    best = expected_best(ordered, len(ordered))
    assert best == pytest.approx([by_brute_force(ordered, budget) for budget in range(1, len(ordered) + 1)])


def test_with_all_of_the_budget_it_is_what_was_chosen_and_with_one_the_mean():
    ordered = np.array([0.7, 0.9, 0.2])
    assert expected_best(ordered, 3)[[0, -1]] == pytest.approx([0.6, 0.7])


def trial(norm, seed, acc, lr, **more):
    row = {"norm": norm, "seed": seed, "outcome": "done", "acc": acc, "recipe.lr": lr, "run_id": f"{norm}{seed}{lr}"}
    row["trial_id"] = f"t-{row['run_id']}"
    return {**row, "code_version": "1", "machine": "", **more}


def tried_at(norm, acc, lr, **more):
    return trial(norm, 10_000, acc, lr, **({"valid_acc": acc, "valid_loss": 1 - acc} | more))


def study(tried, finals):
    choices = [Choice({"norm": norm}, {"recipe.lr": 0.1}, {}) for norm in ("bn", "srelu")]
    metadata = {"tune": {"metric": "valid_acc", "space": {"recipe.lr": "0.1, 0.2"}}}
    frame = pd.DataFrame(tried).assign(number=range(len(tried)), epochs=3, wall_s=7.2)
    return Runs(
        "s", pd.DataFrame(finals), ["norm"], derived=["recipe.lr"], metadata=metadata, tried=frame, choices=choices
    )


FINALS = [trial(norm, seed, acc + 0.01 * seed, 0.1) for norm, acc in (("bn", 0.8), ("srelu", 0.7)) for seed in range(3)]


def test_a_conclusion_that_turns_with_the_budget_is_told_so():
    bn = [tried_at("bn", acc, acc) for acc in (0.75, 0.74, 0.73, 0.72)]
    srelu = [tried_at("srelu", acc, acc) for acc in (0.9, 0.6, 0.4, 0.2)]
    runs = study(bn + srelu, FINALS)
    contrast = Contrast("norm", "bn", "srelu")
    (curve,) = tuning_budget.curves(runs, contrast, margins(runs, contrast))
    assert curve.margin_pp[0] == pytest.approx(100 * (0.735 - 0.525))
    assert curve.margin_pp[-1] == pytest.approx(100 * (0.75 - 0.9))
    assert not curve.holds
    assert curve.turns_at == 2
    assert (curve.low_pp <= curve.margin_pp).all()
    assert (curve.margin_pp <= curve.high_pp).all()


def test_a_conclusion_that_stands_at_every_budget_holds_unless_the_fresh_seeds_deny_it():
    tried = [tried_at(norm, acc + more, acc) for norm, more in (("bn", 0.1), ("srelu", 0)) for acc in (0.5, 0.6, 0.7)]
    contrast = Contrast("norm", "bn", "srelu")
    for finals, holds in ((FINALS, True), ([{**final, "acc": 1 - final["acc"]} for final in FINALS], False)):
        runs = study(tried, finals)
        (curve,) = tuning_budget.curves(runs, contrast, margins(runs, contrast))
        assert curve.holds is holds


def test_choosing_is_by_validation_and_what_counts_is_the_test():
    tried = [tried_at("bn", 0.9, 0.1, valid_acc=0.5), tried_at("bn", 0.6, 0.2, valid_acc=0.8)]
    tried += [tried_at("srelu", 0.5, lr) for lr in (0.1, 0.2)]
    contrast = Contrast("norm", "bn", "srelu")
    runs = study(tried, FINALS)
    (curve,) = tuning_budget.curves(runs, contrast, margins(runs, contrast))
    assert curve.margin_pp[-1] == pytest.approx(10)


CONTRAST = Contrast("norm", "bn", "srelu")
SURVIVORS = [0.85, 0.84, 0.83, 0.82, 0.81, 0.80]


def half_diverged(outcome="diverged", acc=math.nan, **levels):
    """Return a study in which srelu fails in 6 of 12 configurations, and beats bn by 2 points in the others."""
    bn = [tried_at("bn", acc - 0.02, acc, **levels) for acc in (*SURVIVORS, *SURVIVORS)]
    srelu = [tried_at("srelu", acc, acc, **levels) for acc in SURVIVORS]
    lost = [tried_at("srelu", acc, 1 + k, outcome=outcome, valid_acc=0.3, **levels) for k in range(6)]
    return study(bn + srelu + lost, FINALS)


def curve_of(runs):
    (curve,) = tuning_budget.curves(runs, CONTRAST, margins(runs, CONTRAST))
    return curve


@pytest.mark.parametrize("outcome", ["diverged", "oom", "lost", "error", "done"])
def test_configurations_that_failed_count_at_chance(outcome):
    """Left out, as they were, srelu leads by 2 points at every budget."""
    curve = curve_of(half_diverged(outcome, dataset="digits"))
    assert curve.margin_pp[0] == pytest.approx(100 * (0.805 - (0.825 + 0.1) / 2))
    assert curve.margin_pp[-1] == pytest.approx(-2)
    assert (curve.holds, curve.turns_at is not None) == (False, True)
    assert (curve.counted.failed, curve.counted.tried, curve.counted.failed_acc) == (6, 24, 0.1)
    assert curve.low_pp[0] < curve.margin_pp[0] < curve.high_pp[0]


def test_without_a_known_number_of_classes_they_count_at_the_lowest_accuracy_of_both_arms():
    curve = curve_of(half_diverged(dataset="image_folder"))
    assert (curve.counted.classes, curve.counted.failed_acc) == (None, pytest.approx(0.78))
    assert curve.margin_pp[0] == pytest.approx(100 * (0.805 - (0.825 + 0.78) / 2))


def test_pruned_configurations_count_at_the_lowest_accuracy_of_their_arm():
    """They lagged behind: left out, as they were, they would count at the mean of the others."""
    curve = curve_of(half_diverged("pruned", dataset="digits"))
    assert (curve.counted.failed, curve.counted.pruned) == (0, 6)
    assert curve.margin_pp[0] == pytest.approx(100 * (0.805 - (0.825 + 0.80) / 2))


@pytest.mark.parametrize("outcome", ["running", "interrupted"])
def test_configurations_without_an_outcome_do_not_count(outcome):
    curve = curve_of(half_diverged(outcome))
    assert (curve.counted.tried, list(curve.budgets)) == (18, [1, 2, 3, 4, 5, 6])


def test_an_arm_with_a_single_configuration_done_has_a_curve_and_an_arm_with_none_has_not():
    tried = [tried_at("bn", 0.8, 0.1), tried_at("bn", 0.7, 0.2), tried_at("srelu", 0.9, 0.1)]
    tried += [tried_at("srelu", math.nan, 0.2, outcome="diverged")]
    assert curve_of(study(tried, FINALS)).margin_pp[-1] == pytest.approx(-10)
    runs = study([*tried[:2], tried[3], tried[3]], FINALS)
    assert tuning_budget.curves(runs, CONTRAST, margins(runs, CONTRAST)) == []


@pytest.mark.parametrize(
    ("levels", "classes"),
    [
        ({"dataset": ["imagenet", "imagenet"]}, 1000),
        ({"dataset": ["synthetic"], "dataset.classes": [7]}, 7),
        ({"dataset": ["digits"], "dataset.classes": [math.nan]}, 10),
        ({"dataset": ["digits", "cifar100"]}, None),
        ({"dataset": ["synthetic"]}, None),
        ({"dataset": ["of_my_own"]}, None),
        ({"norm": ["bn"]}, None),
    ],
)
def test_the_number_of_classes_is_that_of_the_one_data_set(levels, classes):
    assert classes_of(pd.DataFrame(levels)) == classes


def findings_of(runs, sampler="random"):
    tune = {"metric": "valid_acc", "sampler": sampler, "space": {"recipe.lr": "0.1, 0.2"}, "seed": 10_000}
    tune |= {"epochs": None, "trials": 12, "pruner": "none"}
    return find(dataclasses.replace(runs, metadata={"tune": tune}), [CONTRAST], equivalence_pp=0.5)


def test_the_sentence_says_how_many_failed_and_what_they_count_as():
    (comparison,) = findings_of(half_diverged(dataset="digits")).comparisons
    sentence = budget_sentences.at_every_budget(comparison)
    assert sentence.startswith("Tuning: which arm is ahead depends on the budget in 1 of 1 cells")
    assert sentence.endswith("; 6 of 24 configurations failed and count as chance, 10% with 10 classes.")
    full = tuning_budget.curves_in_full([comparison])
    assert full[["failed", "failed_acc"]].drop_duplicates().to_numpy().tolist() == [[6, 0.1]]
    (comparison,) = findings_of(half_diverged("pruned")).comparisons
    assert "failed" not in budget_sentences.at_every_budget(comparison)


@pytest.mark.parametrize(
    ("sampler", "outcome", "levels", "expected"),
    [
        ("random", "diverged", {"dataset": "digits"}, "exchangeable, as random search draws them"),
        ("grid", "diverged", {"dataset": "digits"}, "as if part of the grid were drawn at random"),
        ("tpe", "diverged", {"dataset": "digits"}, "tends to overstate what each arm would have reached"),
        ("tpe", "diverged", {"dataset": "digits"}, "failed count as chance, 10% with 10 classes"),
        ("tpe", "diverged", {}, "failed count as the lowest accuracy of both arms where the number of classes is"),
        ("tpe", "pruned", {}, "Pruned ones count as the lowest accuracy of their arm"),
        ("tpe", "pruned", {}, "fresh seeds of what one search chose, and does not cover other searches"),
        ("tpe", "pruned", {}, "rests on one search (tune.seed=10000)"),
    ],
)
def test_the_page_says_what_the_curve_assumes(tmp_path, sampler, outcome, levels, expected):
    page.write(findings_of(half_diverged(outcome, **levels), sampler), [], [], tmp_path)
    assert expected in " ".join((tmp_path / "index.html").read_text().split())


def test_pruned_and_failed_configurations_are_spent_and_cannot_be_chosen():
    tried = [tried_at(norm, acc, acc) for norm in ("bn", "srelu") for acc in (0.1, 0.5, 0.6)]
    tried[1]["outcome"], tried[4]["outcome"] = "pruned", "diverged"
    table = tuning_budget.spent(study(tried, FINALS))
    assert table[["tried", "done", "pruned", "diverged"]].to_numpy().tolist() == [[3, 2, 1, 0], [3, 2, 0, 1]]
    assert table["epochs"].tolist() == [9, 9]
    assert table["hours"].tolist() == pytest.approx([0.006, 0.006])
