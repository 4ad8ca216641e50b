"""Several studies in one report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.driver import session
from ablate.tracking.client import connect_to_existing
from analysis.effects import several
from analysis.effects.factors import factors
from tests.support.fakes import well

URI = "sqlite:///mlflow.db"
BASE = ("-m", "width=1", "dispatch=in_process", f"track.uri={URI}", "seeds=2")


@pytest.fixture
def run(folder, say, mlflow_db, monkeypatch):
    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: well)

    def type_line(name, *words):
        status, _, err = say("ablate.run", *BASE, f"study={name}", *words)
        assert (status, err) == (0, "")

    return type_line


def read(*names, **how):
    return several.read(connect_to_existing(f"sqlite:///{Path.cwd() / 'mlflow.db'}"), names, None, **how)


def test_what_each_study_holds_fixed_and_another_does_not_is_a_factor(run, say):
    run("deep", "norm=bn,srelu", "depth=14")
    run("flat", "norm=bn,srelu", "depth=8")
    runs = read("deep", "flat")
    assert (runs.study, factors(runs), len(runs.frame)) == ("deep+flat", ["norm", "depth"], 8)
    status, out, err = say("analysis.report", "study=[deep,flat]")
    assert (status, err) == (0, "")
    assert "Report: reports/deep+flat/index.html" in out
    report = json.loads(Path("reports/deep+flat/report.json").read_text())
    assert "depth" in json.dumps(report)
    assert [request["command"] != "" for request in report["provenance"]["requests"]] == [True, True]
    assert len(set(runs.origin.machines)) == 8
    assert "MLflow" not in out  # margins of several studies belong to none of them
    assert not Path("reports/deep").exists()


def test_a_trial_that_both_have_counts_once_and_levels_add_up(run):
    run("first", "norm=bn,srelu", "depth=8")
    run("second", "norm=bn,gn", "depth=8")
    runs = read("first", "second")
    assert (factors(runs), len(runs.frame)) == (["norm"], 6)
    assert sorted(runs.frame["norm"].unique()) == ["bn", "gn", "srelu"]


def test_data_sets_are_a_factor_of_studies_on_different_data(run):
    run("digits", "norm=bn,srelu", "depth=8")
    run("made", "norm=bn,srelu", "depth=8", "dataset=synthetic")
    assert "dataset" in factors(read("digits", "made"))


def test_the_study_itself_is_compared_where_that_is_asked_for(run, say):
    run("deep", "norm=bn,srelu", "depth=14")
    run("flat", "norm=bn,srelu", "depth=8")
    assert factors(read("deep", "flat", by_study=True)) == ["study", "norm"]
    status, out, err = say("analysis.report", "study=[deep,flat]", "contrast.factor=study")
    assert (status, err) == (0, "")
    assert "deep minus flat" in out


def test_bounds_that_only_one_study_registered_are_not_used_and_that_is_told(run):
    run("first", "norm=bn,srelu", "depth=8", "equivalence_pp=0.3")
    run("second", "norm=bn,srelu", "depth=14")
    runs = read("first", "second")
    assert "equivalence_pp" not in runs.metadata["registered"]
    assert "Not registered alike by all of the studies, and so not used here: equivalence_pp." in runs.notes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study=[first,first]"], "study=[first,first]: allowed: one study, or several that differ\n"),
        (["study=[first,nowhere]"], "study=nowhere: no such study; allowed: first\n"),
        (["study=[]"], "study=[]: "),
        (["study=[first,other]", "metric=nonsense"], "metric=nonsense: no trial of study first has it; allowed: "),
    ],
)
def test_a_mistake_is_one_line(run, say, words, message):
    run("first", "norm=bn,srelu", "depth=8")
    status, out, err = say("analysis.report", *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(message)


def test_a_list_of_one_is_that_study(run, say):
    run("first", "norm=bn,srelu", "depth=8")
    assert "Report: reports/first/index.html" in say("analysis.report", "study=[first]")[1]
