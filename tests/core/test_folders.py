from __future__ import annotations

import errno
import os

import pytest

from ablate.core.errors import UsageError
from ablate.core.folders import check_writable, error_line, refusal
from tests.support.plain_user import plain_user


@pytest.fixture
def theirs(tmp_path):
    """A folder that one may read, and not write to."""
    folder = tmp_path / "theirs"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").touch(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize("name", ["", "new", "new/deeper"])
def test_a_folder_of_somebody_else_is_refused_with_all_that_would_be_in_it(theirs, name):
    with plain_user(), pytest.raises(UsageError) as refused:
        check_writable("runs", "typed", theirs / name)
    assert str(refused.value) == (
        f"runs=typed: Permission denied: {theirs}; allowed: a folder in which you may write, or a name for a new one"
    )


def test_a_folder_of_ones_own_is_allowed_and_not_made(theirs, tmp_path):
    with plain_user():
        check_writable("runs", "typed", tmp_path / "new" / "deeper")
        check_writable("runs", "typed", theirs / "sub")
        assert refusal(theirs / "file") == "Permission denied"
    assert not (tmp_path / "new").exists()


def test_a_file_in_place_of_a_folder_is_named(theirs):
    with pytest.raises(UsageError, match=r"^out=x: .*/theirs/file is a file; allowed: a folder, or a name for a new"):
        check_writable("out", "x", theirs / "file" / "sub")


def test_a_file_system_that_is_read_only_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *args, **kwargs: False)
    monkeypatch.setattr(os, "statvfs", lambda path: type("Flags", (), {"f_flag": os.ST_RDONLY}))
    assert refusal(tmp_path) == "Read-only file system"


@pytest.mark.parametrize(
    ("number", "file", "start", "allowed"),
    [
        (
            errno.EACCES,
            "/lab/runs/t1/claim",
            "runs=/lab/runs: Permission denied: /lab/runs/t1/claim",
            "one that you may",
        ),
        (errno.EACCES, b"/lab/runs/t1", "runs=/lab/runs: Permission denied: /lab/runs/t1", "one that you may"),
        (
            errno.ENOSPC,
            "/lab/out/a.csv",
            "out=/lab/out: No space left on device: /lab/out/a.csv",
            "one with space left",
        ),
        (errno.ENAMETOOLONG, "/lab/out/aaa", "out=/lab/out: File name too long: /lab/out/aaa", "a shorter name"),
        (
            errno.EACCES,
            "/db/all.db",
            "track.uri=sqlite:////db/all.db: Permission denied: /db/all.db",
            "one that you may",
        ),
        (errno.EROFS, "/elsewhere/x", "/elsewhere/x: Read-only file system", "one that you may read, and write to"),
        (errno.ENOENT, "/lab", "/lab: No such file or directory", "one that is there"),
    ],
)
def test_what_the_system_refuses_is_one_line_that_names_the_key(number, file, start, allowed):
    values = {"runs": "/lab/runs", "out": "/lab/out", "track.uri": "sqlite:////db/all.db", "path": None, "bits": 1}
    line = error_line(OSError(number, os.strerror(number), file), values)
    assert line.startswith(f"{start}; allowed: {allowed}")
    assert len(line.splitlines()) == 1
