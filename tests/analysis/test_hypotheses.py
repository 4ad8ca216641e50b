"""Hypotheses that a study states beforehand: their words, their tests, and what the report makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ablate.core.errors import UsageError
from ablate.core.hypotheses import parse
from analysis.effects.hypotheses import decided_hypotheses
from tests.analysis.test_report import make_study
from tests.support.fakes import well
from tests.support.frames import rows

FACTORS = {"norm": ["bn", "srelu", "gn"], "bits": [1, 32], "width": [1, 4]}


@pytest.mark.parametrize(
    ("text", "kind", "by", "at", "against"),
    [
        ("bn better than srelu", "better", None, {}, {}),
        ("norm=bn  better than norm=srelu by 0.5 at bits=32", "better", 0.5, {"bits": 32}, {}),
        ("bn equivalent to gn within 1 at bits=1,width=4", "equivalent", 1.0, {"bits": 1, "width": 4}, {}),
        ("margin of bn over srelu larger at bits=1 than at bits=32 by 2", "larger", 2.0, {"bits": 1}, {"bits": 32}),
    ],
)
def test_a_hypothesis_is_read_in_one_of_three_forms(text, kind, by, at, against):
    read = parse(text, FACTORS)
    assert (read.kind, read.by, read.at, read.against) == (kind, by, at, against)
    assert read.factor == "norm"
    assert parse(read.text, FACTORS) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bn is better", "hypotheses: 'bn is better': allowed: 'A better than B [by X]"),
        ("bn better than ln", "bn and ln are no two levels of one factor; allowed: norm=bn,srelu,gn; bits=1,32; width"),
        ("1 better than 1", "1 and 1 are no two levels of one factor"),
        ("bn better than srelu at bits=8", "at bits=8: allowed: bits=1,32; width=1,4"),
        ("bn better than srelu at norm=gn", "at norm=gn: allowed: bits=1,32; width=1,4"),
    ],
)
def test_another_form_or_level_is_one_line(text, message):
    with pytest.raises(UsageError) as caught:
        parse(text, FACTORS)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def study(margin_of, *, seeds=6, dead=(), noise_pp=0.1):
    """bn over srelu by `margin_of(bits, width)` points; trials of srelu in `dead`, (bits, width, seed), diverge."""
    rng, trials = np.random.default_rng(0), []
    for norm in ("bn", "srelu"):
        for bits in (1, 32):
            for width in (1, 4):
                for seed in range(seeds):
                    acc = 0.8 + (norm == "bn") * margin_of(bits, width) / 100 + rng.normal(0, noise_pp) / 100
                    is_dead = norm == "srelu" and (bits, width, seed) in dead
                    levels = {"norm": norm, "bits": bits, "width": width}
                    trials.append((levels, seed, "diverged" if is_dead else acc))
    return rows(*trials, factors=("norm", "bits", "width"))


def decided(runs, *texts, right=None):
    return decided_hypotheses(runs, texts, equivalence_pp=0.5, right=right)


@pytest.mark.parametrize(
    ("text", "word", "cells"),
    [
        ("bn better than srelu by 0.5 at bits=32", "confirmed", 2),
        ("bn better than srelu by 2 at bits=32", "denied", 2),
        ("srelu better than bn at bits=32,width=1", "denied", 1),
        ("bn better than srelu by 0.9 at bits=32", "undecided", 2),
        ("bn equivalent to srelu at bits=1", "confirmed", 2),
        ("bn equivalent to srelu at bits=32", "denied", 2),
        ("margin of bn over srelu larger at bits=32 than at bits=1 by 0.5", "confirmed", 4),
        ("margin of bn over srelu larger at bits=1 than at bits=32", "denied", 4),
        ("bn better than srelu", "confirmed", 4),
    ],
)
def test_planted_margins_are_decided(text, word, cells):
    runs = study(lambda bits, width: 1.0 if bits == 32 else 0.0)
    (tested,) = decided(runs, text)
    assert (tested.word, tested.cells) == (word, cells)


def test_where_less_is_better_the_better_arm_has_less():
    runs = study(lambda bits, width: -1.0)
    measure = type(runs.measure)("loss", "", "", lower_is_better=True)
    runs = type(runs)(runs.study, runs.frame, runs.factors, measure=measure)
    better, worse = decided(runs, "bn better than srelu by 0.5", "srelu better than bn")
    assert (better.word, worse.word) == ("confirmed", "denied")
    assert better.margin.mean_pp == pytest.approx(-1, abs=0.1)


def test_they_are_adjusted_among_themselves():
    runs = study(lambda bits, width: 0.12, noise_pp=0.2)
    (alone,) = decided(runs, "bn better than srelu at bits=1")
    first, *_ = decided(runs, "bn better than srelu at bits=1", *(f"bn better than srelu by {by}" for by in (3, 4, 5)))
    assert first.p_confirm == pytest.approx(min(1, 4 * alone.p_confirm))


def test_a_cell_that_never_trained_leaves_it_undecided_and_failures_speak():
    runs = study(lambda bits, width: 5.0, dead={(32, 1, seed) for seed in range(6)})
    (tested,) = decided(runs, "bn better than srelu at bits=32")
    assert (tested.word, tested.failed) == ("not testable", 6)
    runs = study(lambda bits, width: -5.0, dead={(32, width, seed) for width in (1, 4) for seed in (0, 1, 2)})
    (tested,) = decided(runs, "srelu better than bn at bits=32")
    assert (tested.word, tested.why) == ("undecided", "it holds where both trained, but an arm fails more often")


def test_one_seed_and_levels_without_a_trial_are_not_testable():
    single, absent = decided(study(lambda bits, width: 1.0, seeds=1), "bn better than srelu", "bn better than gn")
    assert (single.word, single.why) == ("not testable", "1 seed done in all of its cells")
    assert (absent.word, absent.why) == ("not testable", "no trial has its levels")


def test_few_test_images_count():
    """All seeds agree; but of 50 images one more or less is chance."""
    rng = np.random.default_rng(1)
    runs = study(lambda bits, width: 2.0, noise_pp=0.01)
    right = {run_id: rng.random(50) < 0.8 for run_id in runs.frame["run_id"]}
    (here,) = decided(runs, "bn better than srelu")
    (elsewhere,) = decided(runs, "bn better than srelu", right=right)
    assert (here.word, elsewhere.word) == ("confirmed", "undecided")


@pytest.mark.parametrize("text", ["bn better than srelu", "bn equivalent to srelu", "bn better than srelu by 0.4"])
def test_at_the_bound_it_is_confirmed_in_5_percent(text):
    by = 0.4 if text.endswith("0.4") else 0.5 if "equivalent" in text else 0.0
    words = []
    for number in range(300):
        rng = np.random.default_rng(number)
        trials = [
            ({"norm": norm, "bits": 1}, seed, 0.8 + (norm == "bn") * by / 100 + rng.normal(0, 0.003))
            for norm in ("bn", "srelu")
            for seed in range(4)
        ]
        words.append(decided(rows(*trials), text)[0].word)
    share = words.count("confirmed") / len(words)
    assert share <= 0.05 + 3 * (0.05 * 0.95 / len(words)) ** 0.5


def test_the_report_decides_them_first_and_calls_the_rest_exploratory(folder, say):
    first = {"equivalence_pp": 0.5, "collapsed_below": None, "hypotheses": ["bn better than srelu at bits=32"]}
    make_study(well, folder, metadata={"registered": first})
    later = {**first, "hypotheses": ["srelu better than bn"]}
    make_study(well, folder, metadata={"registered": later})
    status, _, err = say("analysis.report")
    assert (status, err) == (0, "")
    report = json.loads(Path("reports/mine/report.json").read_text())
    assert report["summary"][0].startswith("Hypothesis, bn better than srelu at bits=32: ")
    assert report["summary"][1].endswith("All else here is exploratory.")
    assert [tested["hypothesis"] for tested in report["hypotheses"]] == ["bn better than srelu at bits=32"]
    assert (
        "Stated after the study was first requested, so not decided here: 'srelu better than bn'." in report["warnings"]
    )


def test_a_line_states_them_and_a_mistake_is_one_line(planned, folder, say, monkeypatch):
    text = "bn better than srelu by 0.5 at bits=32"
    made = planned("norm=bn,srelu", "bits=1,32", f'hypotheses=["{text}"]')
    assert made.study.metadata["registered"]["hypotheses"] == [text]
    assert len(made.study.cells) == 4
    monkeypatch.undo()  # what `planned` put in place of the command
    monkeypatch.chdir(folder)
    status, _, err = say("ablate.run", "-m", "norm=bn,srelu", "bits=1,32", "hypotheses=[bn rocks]", "mode=plan")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("hypotheses: 'bn rocks': allowed: 'A better than B [by X]")
