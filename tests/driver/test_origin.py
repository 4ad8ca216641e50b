"""Each request of a study is kept with it, and the changes in the user's checkout beside its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.core import provenance
from ablate.driver import origin, session
from ablate.store import manifest
from tests.core.test_checkout import git
from tests.support.fakes import well

LINE = ["-m", "norm=bn", "depth=8", "width=1", "seeds=1", "dispatch=in_process", "track=off"]


@pytest.fixture
def run(folder, say, monkeypatch):
    """Run a line of a study of one trial; return its requests."""
    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: well)
    monkeypatch.delenv(provenance.REQUEST, raising=False)

    def run(*words):
        monkeypatch.setattr("sys.orig_argv", ["python", "-m", "ablate.run", *LINE, *words])
        assert say("ablate.run", *LINE, *words)[0] == 0
        return manifest.load("digits", Path("runs")).study.metadata["requests"]

    return run


def test_each_line_that_built_a_study_is_kept_with_it(run):
    assert [request["command"] for request in run()] == [f"python -m ablate.run {' '.join(LINE)}"]
    first, second = run("seeds=2")
    assert second["command"].endswith("seeds=2")
    assert first["git"]["note"] == "no git repository"
    run("seeds=2", "mode=plan")
    again = run("seeds=2")
    assert len(again) == 2


def test_changes_to_the_users_checkout_are_kept_once_for_each_content(run):
    git("init", "-q", ".")
    Path("arms.py").write_text("slope = 1\n")
    git("add", "arms.py")
    git("commit", "-q", "-m", "first")
    (clean,) = run()
    assert (clean["git"]["changed"], clean["git"]["untracked"], clean["git"]["diff"]) == ([], [], None)
    for slope, kept in ((2, 2), (2, 2), (3, 3)):
        Path("arms.py").write_text(f"slope = {slope}\n")
        requests = run()
        assert len(requests) == kept
        patch = Path("runs/code") / requests[-1]["git"]["diff"]
        assert f"+slope = {slope}" in patch.read_text()


def test_a_submitted_patch_is_taken_from_the_folder_that_was_sent(run, monkeypatch):
    Path("git-1.diff").write_text("+slope = 2\n")
    sent = '{"command": "c", "dates": ["2026-01-01T09:00:00+00:00"], "git": {"diff": "git-1.diff"}}'
    monkeypatch.setenv(provenance.REQUEST, sent)
    assert run()[0]["command"] == "c"
    assert Path("runs/code/git-1.diff").read_text() == "+slope = 2\n"


def test_published_files_have_an_identifier_too():
    published, own = (
        {"dataset": {"_target_": "ablate.data.datasets.cifar10", **content}} for content in ({}, {"content": "c1"})
    )
    assert origin.data_sets([published])["cifar10"].startswith("c")
    assert origin.data_sets([own]) == {"cifar10": "c1"}
    assert origin.data_sets([{"dataset": {"_target_": "ablate.data.datasets.digits"}}]) == {}
