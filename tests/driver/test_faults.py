from __future__ import annotations

import shutil

import pytest

from tests.support import faults
from tests.support.faults import SHORT


@pytest.fixture
def fresh(folder, empty_mlflow):
    """fresh(name) -> a new folder with MLflow's empty database: tests/tracking/test_tracker.py kills who makes one."""

    def make(name):
        (folder / name).mkdir()
        shutil.copy(empty_mlflow, folder / name / "mlflow.db")
        return folder / name

    return make


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_whose_driver_and_workers_are_killed_ends_as_if_they_had_not_been(fresh, say, monkeypatch):
    undisturbed, disturbed = fresh("undisturbed"), fresh("disturbed")
    monkeypatch.chdir(undisturbed)
    status, _, err = say("ablate.run", *SHORT, "dispatch=in_process")
    assert status == 0, err
    faults.disturb(disturbed, SHORT, seed=0, kills=6, fresh_s=4, later_s=12)
    faults.compare(undisturbed, disturbed, trials=4)


@pytest.mark.ray
@pytest.mark.slow
def test_two_drivers_that_start_at_once_train_each_trial_once(fresh):
    faults.say_twice_at_once(fresh("twice"), SHORT, faults.SHORT_TRIALS)
