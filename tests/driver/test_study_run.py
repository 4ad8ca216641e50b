"""What belongs to somebody else is told in one line, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.driver import session
from ablate.store import run_directory
from tests.support.fakes import raises_on_seed_1, well
from tests.support.plain_user import plain_user

LINE = ["-m", "norm=bn", "depth=8", "width=1", "seeds=2", "dispatch=in_process", "track=off"]


@pytest.fixture
def study(folder, say, monkeypatch):
    """A study of two trials, of which one failed."""
    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: raises_on_seed_1)
    assert say("ablate.run", *LINE)[0] == 1
    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: well)
    yield folder / "runs"
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def logs(runs):
    return {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}


def failed_of(runs):
    return next(log.parent for log in runs.rglob(run_directory.LOG) if '"Failed"' in log.read_text())


@pytest.mark.parametrize(
    "theirs",
    [
        lambda runs: runs,
        lambda runs: runs / "studies",
        lambda runs: next((runs / "studies").glob("*.lock")),
        failed_of,
        lambda runs: failed_of(runs) / run_directory.LOG,
        lambda runs: failed_of(runs) / run_directory.LEASE,
    ],
)
def test_runs_of_somebody_else_are_read_and_not_written_to(study, say, theirs):
    path = theirs(study)
    path.chmod(0o555 if path.is_dir() else 0o444)
    before = logs(study)
    with plain_user():
        assert say("ablate.run", *LINE, "mode=plan")[::2] == (0, "")
        assert say("ablate.studies")[::2] == (0, "")
        status, out, err = say("ablate.run", *LINE, "retry=failed")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"runs=runs: Permission denied: {path}; allowed: a folder ")
    assert logs(study) == before


def test_a_trial_directory_of_somebody_else_is_no_matter_once_the_trial_is_done(study, say):
    assert say("ablate.run", *LINE, "retry=failed")[0] == 0
    for path in study.glob("t*"):
        path.chmod(0o555)
    with plain_user():
        assert say("ablate.run", *LINE)[0] == 0


@pytest.mark.parametrize("theirs", ["mlflow.db", "."])
def test_a_database_of_somebody_else_is_not_tracked_to(study, say, mlflow_db, theirs):
    Path(theirs).chmod(0o555 if theirs == "." else 0o444)
    with plain_user():
        status, _, err = say("ablate.run", *LINE, "track.uri=sqlite:///mlflow.db")
    assert (status, len(err.splitlines())) == (2, 1)
    assert err.startswith(f"track.uri=sqlite:///mlflow.db: Permission denied: {Path(theirs).absolute()}; allowed: ")


def test_what_the_system_refuses_on_the_way_is_one_line_that_names_the_folder(folder, say, monkeypatch):
    def refused(config, directory):
        raise AssertionError

    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: refused)
    monkeypatch.setattr(run_directory, "files_to_write", lambda *_: [])  # as if it became somebody else's later
    assert say("ablate.run", *LINE)[0] == 1
    directory = failed_of(folder / "runs")
    directory.chmod(0o555)
    with plain_user():
        status, _, err = say("ablate.run", *LINE, "retry=failed")
    directory.chmod(0o755)
    assert (status, len(err.splitlines())) == (2, 1)
    assert err.startswith(f"runs=runs: Permission denied: {directory}/")


def test_a_name_too_long_for_a_folder_is_told_as_such(folder, say):
    name = "x" * 300
    status, _, err = say("ablate.run", *LINE, f"runs={name}")
    assert (status, len(err.splitlines())) == (2, 1)
    assert err.startswith(f"runs={name}: File name too long: ")
