from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ablate.core.errors import UsageError
from ablate.core.events import Done
from ablate.dispatch import Slot, on_ray, ray_folder
from ablate.dispatch.ray_folder import MOST_BYTES, own_folder
from ablate.store.folder import FolderStore
from tests.support.fakes import in_slot, make_trial, well
from tests.support.plain_user import plain_user

LONGEST_SOCKET = "/session_2026-11-30_17-00-00_123456_4194304/sockets/plasma_store.9"


@pytest.fixture
def short():
    """A folder with a short path, as pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="a-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_the_longest_socket_fits_into_a_folder_that_is_just_short_enough():
    assert MOST_BYTES + len(LONGEST_SOCKET) <= 107


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize("makes", [True, False])
def test_a_short_folder_of_ones_own_is_left_to_ray(short, monkeypatch, name, makes):
    monkeypatch.setenv(name, str(short))
    if makes:
        (short / "ray").mkdir()
    with own_folder() as folder:
        assert folder is None


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_in_place_of_a_long_one_a_short_one_is_made_and_removed(tmp_path, short, monkeypatch, name):
    long = tmp_path / "slurm_jobdir" / ("tmp.t0016_" * 6)
    long.mkdir(parents=True)
    monkeypatch.setenv(name, str(long))
    monkeypatch.setattr(ray_folder, "FALLBACKS", (tmp_path / "none", short))
    with own_folder() as folder:
        assert folder.parent == short
        assert len(os.fsencode(folder)) <= MOST_BYTES
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "session").mkdir()
    assert not folder.exists()


def test_beside_a_folder_of_somebody_else_one_of_ones_own_is_made(short, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(short))
    (short / "ray").mkdir()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)  # also where it lets everybody write, as Ray's does
    with own_folder() as folder:
        assert folder.parent == short
        assert folder.name.startswith("ray-")


def test_beside_a_folder_that_cannot_be_written_to_one_of_ones_own_is_made(short, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(short))
    (short / "ray").mkdir(0o555)
    with plain_user(), own_folder() as folder:
        assert folder.parent == short


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_beside_what_is_no_folder_one_of_ones_own_is_made(short, monkeypatch, make):
    monkeypatch.setenv("TMPDIR", str(short))
    make(short / "ray")
    with own_folder() as folder:
        assert folder.parent == short


def test_where_none_can_be_made_one_line_says_what_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 100)))
    monkeypatch.setattr(ray_folder, "FALLBACKS", (tmp_path / "none",))
    with pytest.raises(UsageError) as refused, own_folder():
        pass
    assert str(refused.value).startswith(f"dispatch=ray: its folder {tmp_path}/xxx")
    assert "allowed: RAY_TMPDIR=FOLDER, of at most 36 letters" in str(refused.value)


@pytest.mark.ray
def test_ray_comes_up_with_the_tmpdir_of_a_batch_system(tmp_path, monkeypatch):
    long = tmp_path / "slurm_jobdir" / ("tmp.t0016_" * 6)
    long.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(long))
    events = [event for _, event in on_ray(in_slot(well), [make_trial(0)], store=FolderStore(tmp_path), slot=Slot())]
    assert isinstance(events[-1], Done)
