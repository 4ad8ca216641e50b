from __future__ import annotations

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


def test_a_driver_does_not_begin_while_the_study_is_removed(tmp_path):
    manifest.folder(tmp_path).mkdir()
    with study_lock.alone("remove=mine", "mine", tmp_path):
        with (
            pytest.raises(UsageError, match=r"^study=mine: somebody removes or renames it now; say the line again$"),
            study_lock.shared("mine", tmp_path),
        ):
            pass
        (manifest.folder(tmp_path) / "mine.in_use").unlink()
    with study_lock.shared("mine", tmp_path):
        assert (manifest.folder(tmp_path) / "mine.in_use").exists()
