"""A project that was renamed or copied has its artifacts where they are now; the old place stays as it is."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ablate.core.study import Study
from ablate.store import run_directory
from ablate.store.folder import FolderStore
from ablate.tracking import moved
from ablate.tracking.client import connect_to_existing
from ablate.tracking.moved import bring_up_to_date, local_folder
from ablate.tracking.tracker import Tracker
from analysis import report
from analysis.sources import predictions, studies
from tests.support.fakes import make_trial, well
from tests.support.plain_user import plain_user

URI = "sqlite:///mlflow.db"


def study(seeds):
    return Study("mine", {"bits": [1, 32]}, [make_trial(seed, bits=bits) for bits in (1, 32) for seed in range(seeds)])


def track(seeds):
    """Run and track the study in the working directory, as the driver does."""
    requested, runs = study(seeds), Path("runs").absolute()
    before = [trial for trial in requested.trials if run_directory.outcome(trial, runs)]
    tracker = Tracker(URI, requested, store=FolderStore(runs), completed=before)
    for trial in requested.trials:
        if trial not in before:
            for event in run_directory.attempt(well, trial, runs):
                tracker.record(trial, event)
    assert tracker.close() is None


@pytest.fixture
def project(folder, empty_mlflow, monkeypatch):
    """A project folder with a study of two cells and a seed."""
    (folder / "before").mkdir()
    shutil.copy(empty_mlflow, folder / "before" / "mlflow.db")
    monkeypatch.chdir(folder / "before")
    track(1)
    return folder / "before"


def read():
    """Return (the trials whose predictions are found, sentences on those whose files are not)."""
    client = connect_to_existing(URI)
    frame = studies.read(client, "mine").frame
    return len(predictions.read(client, frame)), predictions.missing_files(frame)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_renamed_project_is_as_it_was_and_the_old_folder_is_not_made_again(project, monkeypatch):
    after = project.rename(project.with_name("after"))
    monkeypatch.chdir(after)
    assert read() == (2, [])
    track(2)
    assert read() == (4, [])
    assert not project.exists()
    assert len(list((after / "mlruns" / "mine").glob("*/artifacts/predictions.json"))) == 4


def test_a_copied_project_writes_nothing_to_the_one_that_it_was_copied_from(project, monkeypatch):
    after = Path(shutil.copytree(project, project.with_name("after")))
    before = files(project)
    monkeypatch.chdir(after)
    assert read() == (2, [])
    track(2)
    assert read() == (4, [])
    assert files(project) == before
    monkeypatch.chdir(project)
    assert read() == (2, [])


def test_a_database_that_was_moved_alone_finds_its_artifacts_where_they_stayed(project, folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    (project / "mlflow.db").rename(folder / "elsewhere" / "mlflow.db")
    monkeypatch.chdir(folder / "elsewhere")
    assert read() == (2, [])


def test_files_that_did_not_come_along_are_said_to_be_missing(project, monkeypatch):
    after = project.rename(project.with_name("after"))
    shutil.rmtree(after / "mlruns")
    monkeypatch.chdir(after)
    count, sentences = read()
    assert count == 0
    assert len(sentences) == 1
    assert sentences[0].startswith(f"The files of 2 of 2 trials are not found, the first at {after}/mlruns/mine/")
    track(2)
    assert read()[0] == 2
    assert not project.exists()


def test_a_moved_project_in_which_one_may_not_write_is_read_all_the_same(project, monkeypatch):
    monkeypatch.setattr(moved, "_READ_ONLY", {})
    after = project.rename(project.with_name("after"))
    monkeypatch.chdir(after)
    (after / "mlflow.db").chmod(0o444)
    before = (after / "mlflow.db").read_bytes()
    with plain_user():
        assert read() == (2, [])
        runs = studies.read(connect_to_existing(URI), "mine")
        assert runs.frame["artifacts"].map(moved.is_out_of_date).all()
        monkeypatch.setattr(studies, "keep_copy", lambda *_: pytest.fail("a copy would go to the old place"))
        assert (
            report._keep_copy(None, runs, after, "report")
            == "the project was moved, and one may not write in its database"
        )
    assert (after / "mlflow.db").read_bytes() == before
    assert not project.exists()


@pytest.mark.parametrize("location", ["s3://bucket/mlruns/mine", "mlflow-artifacts:/1", "file:///lab/mlruns/7"])
def test_artifacts_that_are_not_beside_the_database_of_a_study_are_left_alone(folder, mlflow_db, location):
    with closing(sqlite3.connect(mlflow_db)) as database:
        database.execute("UPDATE experiments SET artifact_location = ?", (location,))
        database.commit()
        bring_up_to_date(mlflow_db)
        assert database.execute("SELECT artifact_location FROM experiments").fetchone() == (location,)


def test_an_address_is_a_folder_where_it_is_on_this_machine():
    assert local_folder("file:///lab/a%20b") == Path("/lab/a b")
    assert local_folder("/lab/a") == Path("/lab/a")
    assert local_folder("s3://bucket/a") is None
