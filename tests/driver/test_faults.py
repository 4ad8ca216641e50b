from __future__ import annotations

import pytest

from tests.support import faults
from tests.support.faults import SHORT


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_whose_driver_and_workers_are_killed_ends_as_if_they_had_not_been(tmp_path):
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    assert faults.begin(undisturbed, SHORT).wait() == 0
    faults.disturb(disturbed, SHORT, seed=0, kills=6, fresh_s=4, later_s=12)
    faults.compare(undisturbed, disturbed, trials=4)


@pytest.mark.ray
@pytest.mark.slow
def test_two_drivers_that_start_at_once_train_each_trial_once(tmp_path):
    faults.say_twice_at_once(tmp_path, SHORT, faults.SHORT_TRIALS)
