from __future__ import annotations

import dataclasses
import re
import sys

import pytest

from ablate.catalogue.trial import show_trial
from ablate.driver.terminal import Terminal
from ablate.store import manifest, run_directory
from ablate.store.folder import FolderStore
from ablate.store.text_log import logged
from ablate.tracking.tracker import Tracker
from tests.support.fakes import well


@pytest.fixture
def page(folder, capsys):
    """page(ID) -> what is shown of the trial."""

    def show(typed):
        capsys.readouterr()
        show_trial(Terminal(), typed, folder / "runs", None)
        return capsys.readouterr().out

    return show


def fields(out):
    """The text of each field of a trial's page by its name, a line each."""
    by_name, name = {}, ""
    for line in out.splitlines():
        if re.match(r"\S", line):
            name = line[:10].strip()
        by_name.setdefault(name, []).append(line[10:].rstrip())
    return by_name


def test_a_trial_is_shown_by_the_first_characters_of_its_id(planned, page, folder):
    plan = planned("norm=srelu", "bits=1", "depth=8", "seeds=1", "study=mine")
    (trial,) = plan.study.trials
    runs = folder / "runs"
    for name in ("mine", "other"):
        manifest.save(dataclasses.replace(plan.study, name=name), runs, None)

    def talks(config, directory):
        sys.stdout.write("lr is \x1b[31m0.03\n")
        yield from well(config, directory)

    list(run_directory.attempt(logged(talks, "python"), trial, runs))
    out = page(trial.trial_id[:7])
    shown = fields(out)
    assert shown["studies"] == ["mine", "other"]
    assert shown["outcome"][0] == "done, test accuracy 90.00%, 0.1 s"
    assert shown["config"][:2] == ["norm=srelu bits=1 depth=8", f"all of it: runs/{trial.trial_id}/config.json"]
    assert shown["log"][0] == f"runs/{trial.trial_id}/log.txt"
    assert shown["log"][2] == "| lr is 0.03"
    assert shown["files"][0] == f"runs/{trial.trial_id}/"
    assert "config.json" in shown["files"][1]
    assert shown["MLflow"] == ["no run"]
    assert shown["made by"] == [
        "python -m ablate.run model=wrn norm=srelu dataset=digits bits=1 depth=8 width=2 seed=0"
    ]
    assert shown["again"] == [f"python -m ablate.run trial={trial.trial_id}"]
    assert re.search(r"^ +1/14 +1\.0000 +50\.00% +50\.00%", out, re.MULTILINE)


def test_a_trial_that_has_not_begun_and_one_that_no_study_requests_are_shown_too(planned, page, folder):
    (trial,) = planned("seeds=1").study.trials
    list(run_directory.attempt(well, trial, folder / "runs"))
    shown = fields(page(trial.trial_id))
    assert shown["studies"] == ["none: no study of this folder requests it"]
    waiting = planned("seeds=1", "bits=1", "study=next").study
    manifest.save(waiting, folder / "runs", None)
    shown = fields(page(waiting.trials[0].trial_id))
    assert (shown["outcome"], shown["config"]) == (["to do"], ["bits=1", "not begun yet"])


def test_the_runs_of_a_trial_in_mlflow_are_named_with_their_page(planned, page, folder, mlflow_db):
    study = planned("seeds=1", "study=mine").study
    (trial,) = study.trials
    uri = f"sqlite:///{mlflow_db}"
    manifest.save(study, folder / "runs", uri)
    list(run_directory.attempt(well, trial, folder / "runs"))
    assert Tracker(uri, study, store=FolderStore(folder / "runs"), completed=study.trials).close() is None
    run, page = fields(page(trial.trial_id))["MLflow"]
    run_id = re.fullmatch(r"run (\w{32}) of mine, in mlflow.db", run)[1]
    assert page == f"mlflow ui, then http://127.0.0.1:5000/#/experiments/1/runs/{run_id}"
