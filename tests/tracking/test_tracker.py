from __future__ import annotations

import contextlib
import json
import multiprocessing
import sqlite3
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from ablate.core.errors import UsageError
from ablate.core.events import Done, Epoch, Failed, Notice
from ablate.core.study import Study
from ablate.store import run_directory
from ablate.store.bucket import BucketStore
from ablate.store.folder import FolderStore
from ablate.tracking.client import connect, connect_to_existing
from ablate.tracking.experiment import Experiment
from ablate.tracking.record import Origin
from ablate.tracking.tracker import Tracker, Undelivered
from analysis.sources import studies
from tests.support import buckets
from tests.support.fakes import done, epoch, make_trial, raises_on_seed_1, started, well

URI = "sqlite:///mlflow.db"


@pytest.fixture
def study():
    trials = [make_trial(seed, bits=bits) for bits in (1, 32) for seed in (0, 1)]
    return Study("mine", {"bits": [1, 32]}, trials, derived=["norm.temperature"], contrast=("bits", [32, 1]))


def tracked(study, run, runs, completed=()):
    """Run the trials that are not completed, and track the study, as the driver does."""
    tracker = Tracker(URI, study, store=FolderStore(runs), completed=completed, origin=Origin("1.2.3"))
    for trial in study.trials:
        if trial not in completed:
            for event in run_directory.attempt(run, trial, runs):
                tracker.record(trial, event)
    assert tracker.close() is None


@pytest.fixture
def client(mlflow_db):
    from mlflow.tracking import MlflowClient

    return lambda: MlflowClient(f"sqlite:///{mlflow_db}")


def runs_of(client, kind):
    (experiment,) = [e for e in client.search_experiments() if e.name == "mine"]
    return client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")


def test_a_study_is_an_experiment_with_a_parent_run_and_a_child_run_a_trial(study, client, folder):
    tracked(study, raises_on_seed_1, folder / "runs")
    (parent,) = runs_of(client(), "study")
    assert parent.info.run_name == "mine"
    assert parent.data.tags["factor.bits"] == "[1, 32]"
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
    history = client().get_metric_history(run.info.run_id, "loss/train_loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    (test_acc,) = client().get_metric_history(run.info.run_id, "accuracy/test_acc")
    assert test_acc.step == 0  # by which MLflow compares runs with bars
    assert client().list_artifacts(run.info.run_id)
    kept = json.loads(Path(client().download_artifacts(run.info.run_id, "predictions.json")).read_text())
    assert kept == {"predicted": [1, 0, 1], "labels": [1, 0, 0]}
    assert json.loads(Path(client().download_artifacts(run.info.run_id, "config.json")).read_text())["seed"] == 0


def test_saying_the_line_again_adds_no_run(study, client, folder):
    tracked(study, well, folder / "runs")
    before = {run.info.run_id for kind in ("study", "trial") for run in runs_of(client(), kind)}
    tracked(study, well, folder / "runs", completed=study.trials)
    assert {run.info.run_id for kind in ("study", "trial") for run in runs_of(client(), kind)} == before


def test_trials_that_mlflow_lacks_are_delivered_from_their_run_directories(study, client, folder):
    for trial in study.trials:
        list(run_directory.attempt(well, trial, folder / "runs"))
    tracked(study, None, folder / "runs", completed=study.trials)
    children = runs_of(client(), "trial")
    assert len(children) == 4
    for run in children:
        assert len(client().get_metric_history(run.info.run_id, "loss/train_loss")) == 3


def test_predictions_that_mlflow_lacks_are_delivered_from_wherever_they_are_stored(study, client, folder):
    for store in (FolderStore(folder / "runs"), BucketStore(buckets.fresh_url("memory"), folder / "mirror")):
        for trial in study.trials:
            list(store.attempt(well, trial))
        store.outcomes(study.trials)
        assert Tracker(URI, study, store=store, completed=study.trials).close() is None
        for run in runs_of(client(), "trial"):
            kept = Path(client().download_artifacts(run.info.run_id, "predictions.json"))
            assert json.loads(kept.read_text()) == {"predicted": [1, 0, 1], "labels": [1, 0, 0]}
            kept.unlink()
            client().delete_run(run.info.run_id)


def test_a_run_left_unfinished_is_replaced_and_no_metric_is_doubled(study, client, folder):
    trial = study.trials[0]
    tracker = Tracker(URI, study, store=FolderStore(folder / "runs"))
    for event in (started(), epoch(1), epoch(2)):
        tracker.record(trial, event)
    assert tracker.close() is None
    (left,) = runs_of(client(), "trial")
    assert left.info.status == "KILLED"
    tracked(study, well, folder / "runs")
    children = [run for run in runs_of(client(), "trial") if run.data.tags["trial_id"] == trial.trial_id]
    assert [run.info.status for run in children] == ["FINISHED"]
    assert len(client().get_metric_history(children[0].info.run_id, "loss/train_loss")) == 3


def test_two_drivers_of_one_study_share_its_runs(study, client, folder):
    trial, uri = study.trials[0], f"sqlite:///{folder}/mlflow.db"
    events = list(run_directory.attempt(well, trial, folder / "runs"))
    drivers = [Tracker(uri, study, store=FolderStore(folder / "runs")) for _ in range(2)]
    for event in events:
        for driver in drivers:
            driver.record(trial, event)
    assert [driver.close() for driver in drivers] == [None, None]
    (run,) = runs_of(client(), "trial")
    assert run.info.status == "FINISHED"
    assert len(client().get_metric_history(run.info.run_id, "loss/train_loss")) == 3


def tracker_of(study, runs, completed=(), **options):
    return Tracker(URI, study, store=FolderStore(runs), completed=completed, **options)


def test_an_interrupted_trial_goes_on_in_its_run(study, client, folder):
    trial, first, middle = study.trials[0], started(), [epoch(1), epoch(2)]
    tracker = tracker_of(study, folder / "runs")
    for event in (first, *middle):
        tracker.record(trial, event)
    assert tracker.close(patience_s=0) is None
    (left,) = runs_of(client(), "trial")
    (parent,) = runs_of(client(), "study")
    assert (left.info.status, parent.info.status) == ("KILLED", "KILLED")
    assert studies.read(client(), "mine").frame["outcome"].tolist() == ["interrupted"]
    tracker = tracker_of(study, folder / "runs")
    for event in (first, *middle, Notice(text="it goes on"), epoch(3), done()):
        tracker.record(trial, event)
    assert tracker.close() is None
    (run,) = runs_of(client(), "trial")
    assert (run.info.run_id, run.info.status) == (left.info.run_id, "FINISHED")
    assert len(client().get_metric_history(run.info.run_id, "loss/train_loss")) == 3
    assert studies.read(client(), "mine").frame["outcome"].tolist() == ["done"]


def test_a_lost_trial_that_goes_on_is_no_longer_called_lost(study, client, folder):
    trial, first = study.trials[0], started()
    tracker = tracker_of(study, folder / "runs")
    for event in (first, epoch(1), Failed(kind="lost", reason="its node died")):
        tracker.record(trial, event)
    assert tracker.close() is None
    tracker = tracker_of(study, folder / "runs")
    for event in (first, epoch(1), epoch(2)):
        tracker.record(trial, event)
    assert tracker.close() is None
    (run,) = runs_of(client(), "trial")
    assert run.info.status == "KILLED"
    assert not {"outcome", "reason"} & run.data.tags.keys()


def test_a_trial_tried_again_from_its_start_has_a_new_run(study, client, folder):
    trial = study.trials[0]
    for last in (Failed(kind="error", reason="no such thing"), done()):
        list(
            run_directory.attempt(lambda config, directory, last=last: iter([started(), last]), trial, folder / "runs")
        )
        tracked_again = tracker_of(study, folder / "runs", completed=[trial])
        assert tracked_again.close() is None
        (run,) = runs_of(client(), "trial")
        assert run.info.status == ("FINISHED" if isinstance(last, Done) else "FAILED")
        if not isinstance(last, Done):
            log = folder / "runs" / trial.trial_id / "events.jsonl"
            log.unlink()


def test_what_a_killed_driver_left_is_delivered_or_set_killed(study, client, folder):
    ended, cut_short, at_work = study.trials[:3]
    tracker = tracker_of(study, folder / "runs")
    for trial in (ended, cut_short, at_work):
        tracker.record(trial, started())
    tracker.close()
    for run in runs_of(client(), "trial"):
        client().update_run(run.info.run_id, "RUNNING")
    list(run_directory.attempt(well, ended, folder / "runs"))
    (folder / "runs" / at_work.trial_id).mkdir()
    with FileLock(folder / "runs" / at_work.trial_id / "claim"):
        assert tracker_of(study, folder / "runs").close() is None
    statuses = {run.data.tags["trial_id"]: run.info.status for run in runs_of(client(), "trial")}
    assert statuses == {ended.trial_id: "FINISHED", cut_short.trial_id: "KILLED", at_work.trial_id: "RUNNING"}


def test_doubles_that_drivers_elsewhere_made_are_merged(study, client, folder):
    tracked(study, well, folder / "runs")
    experiment = client().get_experiment_by_name("mine").experiment_id
    for kind in ("study", "trial"):
        for run in runs_of(client(), kind):
            client().create_run(experiment, start_time=run.info.start_time + 1, tags=run.data.tags)
    before = {run.info.run_id for kind in ("study", "trial") for run in runs_of(client(), kind)}
    assert len(before) == 2 * (1 + 4)
    tracked(study, well, folder / "runs", completed=study.trials)
    (parent,) = runs_of(client(), "study")
    trials = runs_of(client(), "trial")
    assert {run.data.tags["trial_id"] for run in trials} == {trial.trial_id for trial in study.trials}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *trials)} == {"FINISHED"}
    assert len(trials) == 4


def test_a_trial_that_two_studies_ask_for_has_the_same_metrics_in_both(study, client, folder):
    other = Study("other", study.factors, study.trials)
    trackers = [tracker_of(tracked, folder / "runs") for tracked in (study, other)]
    for trial in study.trials:
        for event in run_directory.attempt(well, trial, folder / "runs"):
            for tracker in trackers:
                tracker.record(trial, event)
    assert [tracker.close() for tracker in trackers] == [None, None]
    metrics = []
    for name in ("mine", "other"):
        experiment = client().get_experiment_by_name(name)
        runs = client().search_runs([experiment.experiment_id], "tags.kind = 'trial'")
        metrics.append({run.info.run_name: run.data.metrics for run in runs})
    assert len(metrics[0]) == 4
    assert metrics[0] == metrics[1]


def test_what_mlflow_refuses_of_one_trial_leaves_the_others_alone(study, client, folder):
    wrong, right = study.trials[:2]
    tracker = tracker_of(study, folder / "runs")
    tracker.record(wrong, started())
    tracker.record(wrong, Epoch(epoch=1, metrics={"no metric's name: \n": 1.0}))
    for event in run_directory.attempt(well, right, folder / "runs"):
        tracker.record(right, event)
    left = tracker.close()
    assert isinstance(left, Undelivered)
    assert left.trials == 1
    statuses = {run.data.tags["trial_id"]: run.info.status for run in runs_of(client(), "trial")}
    assert statuses == {wrong.trial_id: "KILLED", right.trial_id: "FINISHED"}


def test_a_database_locked_for_a_while_is_waited_for(study, client, folder, monkeypatch):
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import OperationalError

    notes, tries, log = [], iter(range(3)), MlflowClient.log_batch

    def locked(self, *args, **kwargs):
        if next(tries, None) is not None:
            raise OperationalError("insert", {}, sqlite3.OperationalError("database is locked"))
        return log(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", locked)
    tracker = tracker_of(study, folder / "runs", warn=notes.append)
    for event in run_directory.attempt(well, study.trials[0], folder / "runs"):
        tracker.record(study.trials[0], event)
    assert tracker.close() is None
    assert len(notes) == 2
    assert "does not answer (database is locked)" in notes[0]
    assert notes[1].startswith("waiting up to 30 s")
    (run,) = runs_of(client(), "trial")
    assert run.info.status == "FINISHED"


def test_a_trial_at_which_mlflow_fails_again_and_again_does_not_hold_up_the_others(study, client, folder, monkeypatch):
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    log = MlflowClient.log_batch

    def fails(self, run_id, *args, params=(), **kwargs):
        if {param.key: param.value for param in params}.get("seed") == "7":
            raise MlflowException("Internal server error")
        return log(self, run_id, *args, params=params, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", fails)
    wrong = make_trial(7, bits=1)
    several = Study("mine", study.factors, [wrong, *study.trials])
    tracker = tracker_of(several, folder / "runs")
    for trial in several.trials:
        for event in run_directory.attempt(well, trial, folder / "runs"):
            tracker.record(trial, event)
    left = tracker.close(patience_s=1)
    assert left == Undelivered(1, "Internal server error")
    statuses = {run.data.tags["trial_id"]: run.info.status for run in runs_of(client(), "trial")}
    assert [statuses[trial.trial_id] for trial in study.trials] == ["FINISHED"] * 4
    assert statuses[wrong.trial_id] == "KILLED"
    assert [run.info.status for run in runs_of(client(), "study")] == ["KILLED"]


def test_a_trial_that_ends_during_an_outage_is_told_whole(study, client, folder, monkeypatch):
    from mlflow.tracking import MlflowClient

    log, is_unavailable, has_warned = MlflowClient.log_batch, threading.Event(), threading.Event()

    def refuse(self, *args, **kwargs):
        if is_unavailable.is_set():
            raise ConnectionError("Connection refused")
        return log(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", refuse)
    trial = study.trials[0]
    *first, last = run_directory.attempt(well, trial, folder / "runs")
    is_unavailable.set()
    tracker = tracker_of(study, folder / "runs", warn=lambda line: has_warned.set())
    for event in first:
        tracker.record(trial, event)
    assert has_warned.wait(60)
    tracker.record(trial, last)
    is_unavailable.clear()
    assert tracker.close() is None
    (run,) = runs_of(client(), "trial")
    assert run.info.status == "FINISHED"
    assert len(client().get_metric_history(run.info.run_id, "loss/train_loss")) == 3


def test_a_trial_that_failed_before_it_started_has_a_run(study, client, folder):
    tracker = Tracker(URI, study, store=FolderStore(folder / "runs"))
    tracker.record(study.trials[0], Failed(kind="lost", reason="its worker process died 4 times"))
    assert tracker.close() is None
    (run,) = runs_of(client(), "trial")
    assert (run.data.tags["outcome"], run.data.tags["reason"]) == ("lost", "its worker process died 4 times")


@pytest.mark.makes_database
def test_a_database_that_is_there_is_opened_without_the_lock_of_who_made_it(folder, mlflow_db):
    with FileLock("mlflow.db.lock"):
        assert connect(URI).search_experiments()


def test_a_database_of_a_schema_that_mlflow_does_not_know_is_a_mistake(folder, mlflow_db):
    with contextlib.closing(sqlite3.connect(mlflow_db)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.9'")
        database.commit()
    with pytest.raises(UsageError, match=r"^track\.uri=sqlite:///mlflow\.db: cannot be opened: .*v9\.9"):
        connect_to_existing("sqlite:///mlflow.db")


def test_an_address_that_cannot_be_opened_is_a_mistake(study, folder):
    Path("mlflow.db").write_text("SQLite format 3\0 or so it says")
    tracker = Tracker(URI, study, store=FolderStore(folder))
    assert isinstance(tracker.close(), UsageError)
    with pytest.raises(UsageError, match="cannot be opened"):
        tracker.record(study.trials[0], done())


@pytest.mark.makes_database
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


@pytest.mark.makes_database
def test_a_database_whose_maker_was_killed_is_made_anew(folder):
    Path("mlflow.db.new").write_text("half of it")
    connect(f"sqlite:///{folder}/mlflow.db")
    assert sqlite3.connect("mlflow.db").execute("select count(*) from experiments").fetchone() == (1,)


def test_where_another_driver_was_just_writing_the_same_it_is_written_again(study, client, folder, monkeypatch):
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    real, left = MlflowClient.log_batch, [2]

    def log_batch(self, run_id, **what):
        if what.get("params") and left[0]:
            left[0] -= 1
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: params.key, params.run_uuid")
        return real(self, run_id, **what)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    tracked(study, well, folder / "runs")
    assert left == [0]
    assert {run.info.status for run in runs_of(client(), "trial")} == {"FINISHED"}


def test_two_drivers_that_take_turns_make_one_run_a_trial(client, folder):
    """The second looks for a later trial first, and then for one that the first made in between."""
    early, late = make_trial(0), make_trial(1)
    study = Study("mine", {}, [early, late])
    for trial in (early, late):
        list(run_directory.attempt(well, trial, folder / "runs"))
    uri = f"sqlite:///{folder}/mlflow.db"
    first, second = (Experiment(connect(uri), uri, study, folder / "runs", Origin()) for _ in range(2))
    wanted = {
        wanted_trial.seed: [(wanted_trial, 1000 * (1 + wanted_trial.seed), None)] for wanted_trial in (early, late)
    }
    first.ensure(wanted[0])
    second.ensure(wanted[1])
    second.ensure(wanted[0])
    first.ensure(wanted[1])
    assert sorted(run.data.tags["trial_id"] for run in runs_of(client(), "trial")) == sorted(
        [early.trial_id, late.trial_id]
    )


def test_the_report_has_trials_in_the_order_of_the_design_however_they_ran(study, client, folder):
    backwards = Study(study.name, study.factors, list(reversed(study.trials)))
    tracked(backwards, well, folder / "runs")
    frame = studies.read(client(), "mine").frame
    assert list(zip(frame["bits"], frame["seed"], strict=True)) == [(1, 0), (1, 1), (32, 0), (32, 1)]
