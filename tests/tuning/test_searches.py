"""Several searches of each cell, so that the spread over seeds holds that of the search."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ablate.driver import session
from tests.tuning.test_tuner import HERE, LR, OPTIMA, Fake, final, tried

LINE = ["-m", "norm=bn,srelu", "tune=random", "tune.trials=4", LR, "seeds=2", *HERE]
STUDY = "digits-norm-tuned"


@pytest.fixture
def fake(monkeypatch, folder):
    made = Fake(OPTIMA)
    monkeypatch.setattr(session, "_train", made)
    return made


def test_each_search_has_the_whole_budget_and_chooses_for_a_seed_of_its_own(fake, say):
    status, out, err = say("ablate.run", *LINE, "tune.searches=2")
    assert (status, err) == (0, "")
    assert "search" in out
    assert Counter((str(trial.cell), trial.seed) for trial in tried(STUDY)) == {
        (f"norm={norm}", seed): 4 for norm in ("bn", "srelu") for seed in (10_000, 10_001)
    }
    for norm in ("bn", "srelu"):
        of_cell = {
            trial.seed: trial.config["recipe"]["lr"] for trial in final(STUDY) if f"norm={norm}" == str(trial.cell)
        }
        assert sorted(of_cell) == [0, 1]
        assert of_cell[0] != of_cell[1]
        lrs = {
            number: {trial.config["recipe"]["lr"] for trial in tried(STUDY) if trial.seed == 10_000 + number}
            for number in (0, 1)
        }
        assert of_cell[0] in lrs[0]
        assert of_cell[1] in lrs[1]
    trained = len(fake.trained)
    say("ablate.run", *LINE, "tune.searches=2")
    assert len(fake.trained) == trained


def test_the_first_search_is_the_one_that_there_is_without_more(fake, say):
    say("ablate.run", *LINE)
    before = {trial.trial_id for trial in tried(STUDY)}
    say("ablate.run", *LINE, "tune.searches=2")
    assert before == {trial.trial_id for trial in tried(STUDY) if trial.seed == 10_000}


def test_the_report_pairs_seeds_whose_arms_were_searched_as_often_and_says_so(fake, say, mlflow_db):
    tracked = [word for word in LINE if word != "track=off"]
    say("ablate.run", *tracked)
    assert say("ablate.run", *tracked, "tune.searches=2")[0] == 0
    status, out, err = say("analysis.report")
    assert (status, err) == (0, "")
    report = json.loads(Path(f"reports/{STUDY}/report.json").read_text())
    assert [row["n"] for row in report["margins"]] == [2]
    assert [(row["search"], row["tried"]) for row in report["tuning"]] == [(1, 4), (2, 4)] * 2
    assert {row["budget"] for row in report["tuning_curves"]} == {1, 2, 3, 4}
    assert "Each cell was searched 2 times from the start" in " ".join(out.split())
    assert "Left out: 2 trials of what tuning chose when the study was requested otherwise." in " ".join(out.split())


def test_a_search_in_which_nothing_comes_through_is_named(say, monkeypatch, folder):
    made = Fake(OPTIMA, diverges_above=0.0)
    monkeypatch.setattr(session, "_train", made)
    status, out, _ = say("ablate.run", *LINE, "tune.searches=2")
    assert status == 1
    assert "norm=bn, search 2: none of its configurations came through" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune.searches=3"], "tune.searches=3 seeds=2: seeds that share a search are not independent; allowed: 1, or"),
        (
            ["tune.searches=3", "seeds=auto"],
            "tune.searches=3 seeds=auto: seeds that share a search are not independent",
        ),
        (["tune.searches=0"], "tune.searches=0: allowed: 1 or more"),
    ],
)
def test_a_mistake_is_one_line(fake, say, words, message):
    status, _, err = say("ablate.run", *LINE, *words)
    assert status == 2
    assert err.startswith(message)
    assert not fake.trained
