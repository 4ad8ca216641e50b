from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ablate.driver import session
from tests.tuning.test_tuner import HERE, OPTIMA, SPACE, Fake

LINE = ["-m", "norm=bn,srelu", "bits=1,32", "tune=random", "tune.trials=6", *SPACE, *HERE]
TRACKED = [word for word in LINE if word != "track=off"]


@pytest.fixture
def tuned(say, mlflow_db, monkeypatch):
    monkeypatch.setattr(session, "_train", Fake(OPTIMA))
    assert say("ablate.run", *TRACKED)[0] == 0


def test_mlflow_shows_that_every_cell_started_as_many_and_their_epochs(tuned):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits-bits-norm-tuned").experiment_id
    runs = client.search_runs([experiment], "tags.kind = 'tuning'")
    by_cell = pd.Series([run.data.tags["cell"] for run in runs]).value_counts()
    assert by_cell.tolist() == [6] * 4
    assert {run.data.tags["epochs"] for run in runs} == {"5"}
    assert len(client.search_runs([experiment], "tags.kind = 'trial'")) == 12
    assert {run.info.status for run in client.search_runs([experiment])} == {"FINISHED"}


def test_the_report_tells_what_was_spent_and_chosen_and_the_margin_at_every_budget(tuned, say):
    status, out, err = say("analysis.report")
    assert (status, err) == (0, "")
    assert "Each cell had the same budget, 6 configurations of random search" in out
    folder = Path("reports/digits-bits-norm-tuned")
    page = (folder / "index.html").read_text()
    assert "Tuning: what was spent and chosen" in page
    assert "The margin at every tuning budget" in page
    assert (folder / "budgets.svg").is_file()
    report = json.loads((folder / "report.json").read_text())
    assert [row["tried"] for row in report["tuning"]] == [6] * 4
    assert {row["budget"] for row in report["tuning_curves"]} == {1, 2, 3, 4, 5, 6}
    assert len(report["margins"]) == 2
    assert all(row["n"] == 3 for row in report["margins"])
    assert len(pd.read_csv(folder / "tuning-tried.csv")) == 24


def test_what_was_chosen_once_and_no_longer_is_makes_no_margin(tuned, say):
    assert say("ablate.run", *TRACKED, "tune.trials=14")[0] == 0
    status, out, _ = say("analysis.report")
    assert status == 0
    report = json.loads(Path("reports/digits-bits-norm-tuned/report.json").read_text())
    assert [(row["n"]) for row in report["margins"]] == [3, 3]
    assert "of what tuning chose when the study was requested otherwise" in out
    assert [row["tried"] for row in report["tuning"]] == [14] * 4


def test_a_choice_at_the_edge_is_warned_of(say, mlflow_db, monkeypatch):
    monkeypatch.setattr(session, "_train", Fake({"bn": (0.001, 0.9), "srelu": (0.01, 0.9)}))
    line = ["-m", "norm=bn,srelu", "tune=grid", "tune.space.recipe.lr=0.001,0.01,0.1", *HERE[:1], *HERE[2:]]
    say("ablate.run", *line)
    out = say("analysis.report")[1]
    warning = "Chosen at the edge of its space, recipe.lr from 0.001, 0.01, 0.1: norm bn (lowest, 0.001)."
    assert warning in out


def test_another_search_under_the_same_name_is_not_pooled_with_the_first(tuned, say):
    narrow = ["-m", "norm=bn,srelu", "bits=1,32", "tune=random", "tune.trials=4", *HERE[:1], *HERE[2:]]
    space = "tune.space.recipe.lr=tag(log,interval(0.001,0.01))"
    assert say("ablate.run", *narrow, space, "tune.pruner=median")[0] == 0
    assert say("analysis.report")[0] == 0
    folder = Path("reports/digits-bits-norm-tuned")
    report = json.loads((folder / "report.json").read_text())
    assert [row["tried"] for row in report["tuning"]] == [4] * 4
    assert pd.read_csv(folder / "tuning-tried.csv")["recipe.lr"].max() <= 0.01
    assert all(row["n"] == 3 for row in report["margins"])


def test_nuisance_values_drawn_otherwise_are_not_pooled(say, mlflow_db, monkeypatch):
    monkeypatch.setattr(session, "_train", Fake(OPTIMA))
    line = ["-m", "norm=bn,srelu", "study=one", *HERE[:1], *HERE[2:]]
    say("ablate.run", *line, "nuisance.recipe.batch_size=64,125", "seeds=4")
    say("ablate.run", *line, "nuisance.recipe.batch_size=32,100", "seeds=3")
    _, out, _ = say("analysis.report")
    (row,) = json.loads(Path("reports/one/report.json").read_text())["margins"]
    assert row["n"] == 3
    assert "Left out: 8 trials whose nuisance values were drawn otherwise" in out
    assert "Margins average over recipe.batch_size from 32, 100" in out


def test_a_cell_in_which_nothing_came_through_stands_in_the_table_of_what_was_spent(say, mlflow_db, monkeypatch):
    class ShiftedReluDiverges(Fake):
        def run(self, config, directory):
            self.diverges_above = 0.0 if config["norm"]["_target_"].endswith("srelu") else 1e9
            return super().run(config, directory)

    monkeypatch.setattr(session, "_train", ShiftedReluDiverges(OPTIMA))
    line = ["-m", "norm=bn,srelu", "tune=random", "tune.trials=2", "tune.space.recipe.lr=0.1,0.2", *HERE[:1], *HERE[2:]]
    assert say("ablate.run", *line)[0] == 1
    assert say("analysis.report")[0] == 0
    report = json.loads(Path("reports/digits-norm-tuned/report.json").read_text())
    assert [(row["norm"], row["tried"], row["done"], row["diverged"]) for row in report["tuning"]] == [
        ("bn", 2, 2, 0),
        ("srelu", 2, 0, 2),
    ]
    assert "none came through" in Path("reports/digits-norm-tuned/index.html").read_text()
