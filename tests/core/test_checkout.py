"""The state of the git checkout that a person works in."""

from __future__ import annotations

import subprocess

import pytest

from ablate.core import checkout


def git(*words):
    subprocess.run(["git", "-c", "user.name=mia", "-c", "user.email=mia@example.org", *words], check=True)


@pytest.fixture
def repository(folder):
    git("init", "-q", ".")
    (folder / "arms.py").write_text("slope = 1\n")
    (folder / "with space.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return folder


def test_a_clean_checkout_has_a_commit_and_nothing_else(repository):
    state = checkout.read(repository)
    assert len(state.commit) == 40
    assert (state.changed, state.untracked, state.diff, state.diff_name, state.note) == ([], [], None, None, "")


def test_changes_are_named_and_kept_as_a_patch_that_git_applies(repository):
    (repository / "arms.py").write_text("slope = 2\n")
    (repository / "with space.py").unlink()
    git("mv", "arms.py", "legs.py")
    state = checkout.read(repository)
    assert sorted(state.changed) == ["legs.py", "with space.py"]
    git("reset", "-q", "--hard")
    (repository / "patch").write_bytes(state.diff)
    git("apply", "patch")
    assert (repository / "legs.py").read_text() == "slope = 2\n"
    assert not (repository / "with space.py").exists()


def test_the_same_changes_have_one_name(repository):
    names = []
    for text in ("slope = 2\n", "slope = 3\n", "slope = 2\n"):
        (repository / "arms.py").write_text(text)
        names.append(checkout.read(repository).diff_name)
    assert names[0] == names[2] != names[1]


def test_untracked_files_are_named_but_for_what_ablate_writes(repository):
    for name in ("new.py", "runs/t1/config.json", "mine/t2/config.json", "mlflow.db", "mlflow.db-wal", "mlruns/0/x"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("")
    assert checkout.read(repository, outputs={"mine"}).untracked == ["new.py"]


def test_of_many_files_the_first_are_named_and_the_rest_are_counted(repository):
    for number in range(checkout.MOST_NAMES + 3):
        (repository / f"n{number:03}.py").write_text("")
    named = checkout.read(repository).record()["untracked"]
    assert named[-1] == "and 3 more"
    assert len(named) == checkout.MOST_NAMES + 1


def test_a_huge_patch_is_not_kept_and_that_is_noted(repository, monkeypatch):
    (repository / "arms.py").write_text("slope = 2\n" * 1000)
    monkeypatch.setattr(checkout, "MOST_BYTES_OF_DIFF", 5000)
    state = checkout.read(repository)
    assert (state.changed, state.diff) == (["arms.py"], None)
    assert state.note == "the changes are not kept: more than 0.005 MB"


def test_no_program_of_the_users_makes_the_patch(repository):
    git("config", "diff.external", "touch was-run; false")
    (repository / "arms.py").write_text("slope = 2\n")
    assert b"+slope = 2" in checkout.read(repository).diff
    assert not (repository / "was-run").exists()


def test_a_folder_outside_of_any_repository_is_noted(folder):
    state = checkout.read(folder)
    assert (state.commit, state.note) == (None, "no git repository")


def test_a_repository_without_a_commit_has_none(folder):
    git("init", "-q", ".")
    (folder / "arms.py").write_text("")
    git("add", ".")
    state = checkout.read(folder)
    assert (state.commit, state.changed, state.diff) == (None, ["arms.py"], None)


def test_a_machine_without_git_is_noted(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    assert checkout.read(folder).note == "git is not installed"


def test_a_git_that_does_not_answer_is_noted(folder, monkeypatch):
    (folder / "git").write_text("#!/bin/sh\nexec sleep 5\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(checkout, "SECONDS_FOR_GIT", 0.2)
    assert checkout.read(folder).note == "git did not answer within 0 s"
