from __future__ import annotations

import re
from pathlib import Path

import pytest

from ablate.cli.home import expanded, refuse_unexpanded
from ablate.core.errors import UsageError

HERE = ["-m", "norm=bn", "mode=plan", "track=off"]


@pytest.fixture
def home(folder, monkeypatch):
    path = folder / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("runs=~/x", "runs=H/x"),
        ("runs=~", "runs=H"),
        ('runs="~/x y"', 'runs="H/x y"'),
        ("runs='~'", "runs='H'"),
        ("+dataset.root=~/a", "+dataset.root=H/a"),
        ("dataset.root=~/a,~/b", "dataset.root=H/a,H/b"),
        ("dataset.root=[~/a,'~/b']", "dataset.root=[H/a,'H/b']"),
        ("track.uri=sqlite:///~/all.db", "track.uri=sqlite:///H/all.db"),
        ('track.uri="sqlite:///~/all.db"', 'track.uri="sqlite:///H/all.db"'),
    ],
)
def test_a_tilde_is_the_home_folder(home, typed, expected):
    assert expanded(typed) == expected.replace("H", str(home))


@pytest.mark.parametrize(
    "word", ["~bits", "-m", "runs=a~", "runs=a/~/b", "runs=~x~y", "runs=./~", "where='norm == bn'", "~dispatch.jobs=~"]
)
def test_a_tilde_elsewhere_stays(home, word):
    assert expanded(word) == (word if word != "~dispatch.jobs=~" else f"~dispatch.jobs={home}")


def test_a_home_whose_name_needs_quotes_gets_them(folder, monkeypatch):
    monkeypatch.setenv("HOME", "/home/Mia Müller")
    assert expanded("runs=~/x") == "runs='/home/Mia Müller/x'"
    assert expanded("dataset.root=~/a,~/b") == "dataset.root='/home/Mia Müller/a','/home/Mia Müller/b'"


def test_the_home_of_nobody_is_refused():
    with pytest.raises(
        UsageError, match=r"^runs=~nobody_here/x: there is no home folder ~nobody_here; allowed: an abs"
    ):
        expanded("runs=~nobody_here/x")


@pytest.mark.parametrize("typed", ["runs=~/mine", 'runs="~/mine"', "runs='~/mine'"])
def test_a_folder_in_the_home_is_no_folder_named_tilde(home, say, typed):
    status, _, err = say("ablate.run", *HERE, typed)
    assert (status, err) == (0, "")
    status, _, err = say("ablate.studies", typed)
    assert err == f"runs={home}/mine: there is no such folder; allowed: the folder of the run directories\n"
    assert not Path("~").exists()


def test_a_tilde_in_a_file_or_the_environment_is_refused(home, say, monkeypatch):
    for key in ("root", "path"):
        with pytest.raises(UsageError, match=re.escape(f"dataset.{key}=~/a: ~ stands for the home folder on the comm")):
            refuse_unexpanded({"dataset": {key: "~/a"}})
    refuse_unexpanded({"a": None, "b": "x~/y", "c": 3, "d": ["~/in/a/list"]})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/all.db")
    status, _, err = say("ablate.run", "-m", "norm=bn", "track=server")
    assert (status, len(err.splitlines())) == (2, 1)
    assert err.startswith("track.uri=sqlite:///~/all.db: ~ stands for ")
