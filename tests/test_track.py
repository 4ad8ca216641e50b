from __future__ import annotations

import json
import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from ablate import store, track
from ablate.design import Mistake, Study
from ablate.events import Failed
from ablate.track.client import connect
from tests.fakes import done, epoch, make_trial, raises_on_seed_one, started, well

URI = "sqlite:///mlflow.db"


@pytest.fixture
def study():
    trials = [make_trial(seed, bits=bits) for bits in (1, 32) for seed in (0, 1)]
    return Study("mine", {"bits": [1, 32]}, trials, derived=["norm.temperature"], contrast=("bits", [32, 1]))


def tracked(study, run, runs, settled=()):
    """Run the trials that are not settled, and track the study, as the driver does."""
    tracker = track.Tracker(URI, study, runs=runs, settled=settled, tags={"code_version": "1.2.3"})
    for trial in study.trials:
        if trial not in settled:
            for event in store.attempt(run, trial, runs):
                tracker.record(trial, event)
    assert tracker.close() is None


@pytest.fixture
def client(folder):
    from mlflow.tracking import MlflowClient

    return lambda: MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs_of(client, kind):
    (experiment,) = [e for e in client.search_experiments() if e.name == "mine"]
    return client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")


def test_a_study_is_an_experiment_with_a_parent_run_and_a_child_run_a_trial(study, client, folder):
    tracked(study, raises_on_seed_one, folder / "runs")
    (parent,) = runs_of(client(), "study")
    assert parent.info.run_name == "mine"
    assert parent.data.tags["factor.bits"] == "1, 32"
    assert [tag for tag in parent.data.tags if tag.startswith("derived.")] == ["derived.norm.temperature"]
    assert json.loads(parent.data.tags["contrast"]) == {"factor": "bits", "levels": [32, 1]}
    children = {run.data.tags["trial_id"]: run for run in runs_of(client(), "trial")}
    assert set(children) == {trial.trial_id for trial in study.trials}
    for trial in study.trials:
        run = children[trial.trial_id]
        assert run.info.run_name == str(trial)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["code_version"] == "1.2.3"
        assert run.data.tags["outcome"] == ("error" if trial.seed == 1 else "done")
        assert run.info.status == ("FAILED" if trial.seed == 1 else "FINISHED")
        assert run.data.params == {"recipe.epochs": "3", "seed": str(trial.seed), "bits": str(trial.config["bits"])}


def test_metrics_stand_at_their_epoch_once_and_predictions_are_kept(study, client, folder):
    tracked(study, well, folder / "runs")
    (run,) = (run for run in runs_of(client(), "trial") if run.info.run_name == "bits=1 seed=0")
    history = client().get_metric_history(run.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    (test_acc,) = client().get_metric_history(run.info.run_id, "test_acc")
    assert test_acc.step == 3
    assert client().list_artifacts(run.info.run_id)
    kept = json.loads(Path(client().download_artifacts(run.info.run_id, "predictions.json")).read_text())
    assert kept == {"predicted": [1, 0, 1], "labels": [1, 0, 0]}
    assert json.loads(Path(client().download_artifacts(run.info.run_id, "config.json")).read_text())["seed"] == 0


def test_saying_the_line_again_adds_no_run(study, client, folder):
    tracked(study, well, folder / "runs")
    before = {run.info.run_id for kind in ("study", "trial") for run in runs_of(client(), kind)}
    tracked(study, well, folder / "runs", settled=study.trials)
    assert {run.info.run_id for kind in ("study", "trial") for run in runs_of(client(), kind)} == before


def test_trials_that_mlflow_lacks_are_delivered_from_their_run_directories(study, client, folder):
    for trial in study.trials:
        list(store.attempt(well, trial, folder / "runs"))
    tracked(study, None, folder / "runs", settled=study.trials)
    children = runs_of(client(), "trial")
    assert len(children) == 4
    for run in children:
        assert len(client().get_metric_history(run.info.run_id, "train_loss")) == 3


def test_a_run_left_unfinished_is_replaced_and_no_metric_is_doubled(study, client, folder):
    trial = study.trials[0]
    tracker = track.Tracker(URI, study, runs=folder / "runs", settled=(), tags={})
    for event in (started(), epoch(1), epoch(2)):
        tracker.record(trial, event)
    assert tracker.close() is None
    (left,) = runs_of(client(), "trial")
    assert left.info.status == "KILLED"
    tracked(study, well, folder / "runs")
    children = [run for run in runs_of(client(), "trial") if run.data.tags["trial_id"] == trial.trial_id]
    assert [run.info.status for run in children] == ["FINISHED"]
    assert len(client().get_metric_history(children[0].info.run_id, "train_loss")) == 3


def test_two_drivers_of_one_study_share_its_runs(study, client, folder):
    trial, uri = study.trials[0], f"sqlite:///{folder}/mlflow.db"
    events = list(store.attempt(well, trial, folder / "runs"))
    drivers = [track.Tracker(uri, study, runs=folder / "runs", settled=(), tags={}) for _ in range(2)]
    for event in events:
        for driver in drivers:
            driver.record(trial, event)
    assert [driver.close() for driver in drivers] == [None, None]
    (run,) = runs_of(client(), "trial")
    assert run.info.status == "FINISHED"
    assert len(client().get_metric_history(run.info.run_id, "train_loss")) == 3


def test_a_trial_that_failed_before_it_started_has_a_run(study, client, folder):
    tracker = track.Tracker(URI, study, runs=folder / "runs", settled=(), tags={})
    tracker.record(study.trials[0], Failed(kind="lost", reason="its worker process died 4 times"))
    assert tracker.close() is None
    (run,) = runs_of(client(), "trial")
    assert (run.data.tags["outcome"], run.data.tags["reason"]) == ("lost", "its worker process died 4 times")


def test_an_address_that_cannot_be_opened_is_a_mistake(study, folder):
    Path("mlflow.db").write_text("SQLite format 3\0 or so it says")
    tracker = track.Tracker(URI, study, runs=folder, settled=(), tags={})
    assert isinstance(tracker.close(), Mistake)
    with pytest.raises(Mistake, match="cannot be opened"):
        tracker.record(study.trials[0], done())


def test_a_new_database_opened_by_many_processes_at_once_is_whole(folder):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=connect, args=(f"sqlite:///{folder}/mlflow.db",)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sqlite3.connect("mlflow.db").execute("select count(*) from experiments").fetchone() == (1,)
    assert not Path("mlflow.db.new").exists()


def test_a_database_whose_maker_was_killed_is_made_anew(folder):
    Path("mlflow.db.new").write_text("half of it")
    connect(f"sqlite:///{folder}/mlflow.db")
    assert sqlite3.connect("mlflow.db").execute("select count(*) from experiments").fetchone() == (1,)
