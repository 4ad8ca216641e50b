from __future__ import annotations

import contextlib
import threading
import time

import pytest

from ablate.core.errors import UsageError
from ablate.store import manifest, study_lock


def test_drivers_share_a_study_and_nobody_has_it_alone_meanwhile(tmp_path):
    with study_lock.shared("mine", tmp_path), study_lock.shared("mine", tmp_path):
        with (
            pytest.raises(UsageError, match=r"^remove=mine: a line of study mine runs now; stop it first$"),
            study_lock.alone("remove=mine", "mine", tmp_path),
        ):
            pass
        with study_lock.alone("remove=other", "other", tmp_path):
            pass
    with study_lock.alone("remove=mine", "mine", tmp_path):
        pass


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_driver_waits_for_a_removal_and_then_has_a_lock_that_others_see(tmp_path, is_removed):
    has_it, may_end = threading.Event(), threading.Event()

    def drive():
        with study_lock.shared("mine", tmp_path):
            has_it.set()
            may_end.wait()

    manifest.folder(tmp_path).mkdir()
    with study_lock.alone("remove=mine", "mine", tmp_path):
        driver = threading.Thread(target=drive)
        driver.start()
        time.sleep(0.1)  # it cannot have the lock, however long this is
        assert not has_it.is_set()
        if is_removed:
            (manifest.folder(tmp_path) / "mine.in_use").unlink()
    assert has_it.wait(30)
    with contextlib.suppress(UsageError), study_lock.alone("remove=mine", "mine", tmp_path):
        pytest.fail("the driver's lock is of a file that is gone")
    may_end.set()
    driver.join()
