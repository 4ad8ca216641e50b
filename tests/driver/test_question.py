"""A study's last line says which levels its report has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.driver import session
from tests.support.fakes import well

BASE = ("-m", "depth=8", "width=1", "dispatch=in_process", "study=mine", "track.uri=sqlite:///mlflow.db")


@pytest.fixture
def run(folder, say, mlflow_db, monkeypatch):
    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: well)
    monkeypatch.setenv("COLUMNS", "200")

    def type_line(*words):
        status, out, err = say("ablate.run", *BASE, *words)
        assert (status, err) == (0, "")
        return out

    return type_line


def report(say):
    status, out, err = say("analysis.report", "study=mine")
    assert (status, err) == (0, "")
    return out, json.loads(Path("reports/mine/report.json").read_text())


def levels(say, factor="norm"):
    import analysis

    return sorted(set(analysis.load("mine")[factor]))


def test_an_arm_is_dropped_by_a_line_without_it_and_comes_back_with_it_and_nothing_trains_again(run, say):
    run("norm=bn,srelu,gn", "seeds=2")
    assert levels(say) == ["bn", "gn", "srelu"]
    out = run("norm=bn,srelu", "seeds=2")
    assert "norm=gn: 2 trials that earlier lines of the study asked for and this one does not; the report leaves" in out
    assert "Nothing to train" in out
    out, _ = report(say)
    assert levels(say) == ["bn", "srelu"]
    assert (
        "Left out: 2 trials of norm=gn, which the study's last line does not ask for. They were dropped after a look: "
        "verdicts are adjusted for what is left alone."
    ) in " ".join(out.split())
    assert "earlier lines" not in run("norm=bn,srelu,gn", "seeds=2")
    assert levels(say) == ["bn", "gn", "srelu"]
    assert "Left out" not in report(say)[0]


def test_a_factor_that_is_fixed_now_leaves_its_other_levels_out(run, say):
    run("norm=bn,srelu", "bits=1,32", "seeds=1")
    run("norm=bn,srelu", "bits=32", "seeds=1")
    assert levels(say, "bits") == [32]


def test_a_line_of_a_single_arm_leaves_the_others_out(run, say):
    run("norm=bn,srelu", "seeds=1")
    run("norm=bn", "seeds=1")
    assert levels(say) == ["bn"]


def test_one_trial_beside_the_study_brings_no_dropped_arm_back(run, say):
    run("norm=bn,srelu,gn", "seeds=2")
    run("norm=bn,srelu", "seeds=2")
    line = [word for word in BASE if word != "-m" and not word.startswith("seeds")]
    assert say("ablate.run", *line, "study=mine", "norm=bn", "seed=5")[0] == 0
    assert "Left out: 2 trials of norm=gn" in " ".join(report(say)[0].split())
    assert say("ablate.run", *line, "study=mine", "norm=gn", "seed=5")[0] == 0
    assert "Left out" not in report(say)[0]


def test_an_arm_that_is_added_trains_alone(run, say):
    run("norm=bn,srelu", "seeds=1")
    out = run("norm=bn,srelu,gn", "seeds=1", "mode=plan")
    assert "\n1 to do, " in out
    run("norm=bn,srelu,gn", "seeds=1")
    assert levels(say) == ["bn", "gn", "srelu"]


def test_seeds_are_never_left_out(run, say):
    import analysis

    run("norm=bn,srelu", "seeds=3")
    run("norm=bn,srelu", "seeds=2")
    assert sorted(set(analysis.load("mine")["seed"])) == [0, 1, 2]
