"""What a run refuses before anything starts is told by mode=plan, too, in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from ablate.core import hardware
from ablate.dispatch import ray_folder
from ablate.driver import session
from tests.support.fakes import well
from tests.support.image_files import halve, picture, write_own
from tests.support.plain_user import plain_user

LINE = ("-m", "norm=bn", "depth=8", "width=1", "seeds=1", "dispatch=in_process", "track=off")
TUNED = ("tune=random", "tune.trials=2", "tune.space.recipe.lr=0.1,0.2")
OWN_DATA = ("dataset=image_folder", "dataset.root=own", "dataset.workers=0")
SENTENCE = "The run would refuse this: "


def nothing():
    pass


def own(change):
    return lambda: change(write_own(Path("own")))


def not_ours():
    Path("theirs").mkdir()
    Path("theirs").chmod(0o555)


def a_file(path):
    return lambda: Path(path).write_text("mine\n")


IN_THE_PLAN = {
    "data set missing": (nothing, ("dataset=imagenet",), "data/imagenet/train: there is no such folder; allowed: "),
    "no data set to download": (nothing, ("dataset=imagenet32",), "dataset=imagenet32: its files are not in "),
    "damaged image": (own(lambda root: halve(root / "test" / "1" / "0.png")), OWN_DATA, "0.png: not a whole image ("),
    "images of two sizes": (own(lambda root: picture(root / "test" / "1" / "9.png", (9, 8))), OWN_DATA, ": 9x8 pixels"),
    "runs not writable": (not_ours, ("runs=theirs/runs",), "runs=theirs/runs: Permission denied: "),
    "database not writable": (not_ours, ("track.uri=sqlite:///theirs/all.db",), "theirs/all.db: Permission denied: "),
    "tuning in another file": (a_file("my.csv"), (*TUNED, "tune.storage=my.csv"), "tune.storage=my.csv: there is "),
    "tuning in a folder": (lambda: Path("all").mkdir(), (*TUNED, "tune.storage=all"), "tune.storage=all: "),
    "tuning not writable": (not_ours, (*TUNED, "tune.storage=theirs/all"), "tune.storage=theirs/all: "),
    "tuning in no database": (nothing, (*TUNED, "tune.storage=no://host/all"), "tune.storage=no://host/all: "),
    "no cluster": (nothing, ("dispatch=cluster", "dispatch.address=127.0.0.1:9"), ": no Ray answers at 127.0.0.1:9"),
}

BY_THE_PLAN = {
    "too many cores": (nothing, ("dispatch=ray", "dispatch.cpus_per_trial=4096"), "dispatch.cpus_per_trial=4096: "),
    "too many processes": (
        nothing,
        ("dispatch=ray", "dispatch.workers_per_trial=125", "dispatch.cpus_per_trial=100"),
        "dispatch.cpus_per_trial=100: with dispatch.workers_per_trial=125 allowed: up to ",
    ),
    "no GPU": (nothing, ("dispatch.gpus_per_trial=1",), "dispatch.gpus_per_trial=1: "),
    "precision": (nothing, ("recipe.precision=tf32",), "recipe.precision=tf32: not on this CPU; allowed here"),
    "no root": (nothing, ("dataset=image_folder",), "dataset.root=null: allowed: a folder"),
    "class missing": (
        own(lambda root: (root / "test" / "1").rename(root / "test" / "7")),
        OWN_DATA,
        "own/train: no class folder 7, which the other images have",
    ),
    "no MLflow": (nothing, ("track.uri=http://127.0.0.1:9",), "track.uri=http://127.0.0.1:9: no server answers there"),
    "no database": (a_file("my.txt"), ("track.uri=sqlite:///my.txt",), "my.txt is a file, but not an SQLite database"),
    "one database for two": (
        nothing,
        (*TUNED, "tune.storage=sqlite:///all.db", "track.uri=sqlite:///all.db"),
        "tune.storage=sqlite:///all.db track.uri=sqlite:///all.db: one database for both",
    ),
    "no storage": (nothing, ("storage=ftp://host/all",), "storage=ftp://host/all: "),
    "micro batch": (nothing, ("recipe.micro_batch=0",), "recipe.micro_batch=0"),
    "runs a file": (a_file("runs"), (), "runs=runs: "),
    "hypothesis": (nothing, ("hypotheses=[nonsense]",), "nonsense"),
}


@pytest.fixture(autouse=True)
def cpus_alone(folder, monkeypatch):
    monkeypatch.setattr(session, "_train", lambda policy, cost, slot: well)
    monkeypatch.setattr(hardware, "gpu_bytes", lambda: ())
    yield
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("case", IN_THE_PLAN)
def test_the_plan_is_shown_with_a_line_for_what_the_run_refuses(folder, say, case):
    make, words, message = IN_THE_PLAN[case]
    make()
    before = everything(folder)
    with plain_user():
        status, out, err = say("ablate.run", *LINE, *words, "mode=plan")
        assert (status, err) == (0, "")
        assert everything(folder) == before
        (refusal,) = [line.removeprefix(SENTENCE) for line in out.splitlines() if line.startswith(SENTENCE)]
        assert message in refusal
        status, _, err = say("ablate.run", *LINE, *words)
    assert (status, err) == (2, f"{refusal}\n")


@pytest.mark.parametrize("case", BY_THE_PLAN)
def test_what_the_plan_refuses_is_what_the_run_refuses(folder, say, case):
    make, words, message = BY_THE_PLAN[case]
    make()
    status, out, err = say("ablate.run", *LINE, *words, "mode=plan")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert say("ablate.run", *LINE, *words) == (2, "", err)
    assert not Path("runs").is_dir()


def test_a_tuning_that_another_process_works_on_is_told(folder, say):
    words = (*LINE, *TUNED, "study=mine", "mode=plan")
    Path("runs/studies").mkdir(parents=True)
    with FileLock("runs/studies/mine.tune.lock"):
        assert f"{SENTENCE}study=mine: another process is tuning it; " in say("ablate.run", *words)[1]
    assert SENTENCE not in say("ablate.run", *words)[1]


def test_without_a_folder_for_ray_neither_the_plan_nor_the_run_begins(folder, say, monkeypatch):
    monkeypatch.setattr(ray_folder, "_is_usable", lambda folder: False)
    monkeypatch.setattr(ray_folder, "_is_usable_parent", lambda parent: False)
    for words in ((*LINE, "dispatch=ray", "mode=plan"), (*LINE, "dispatch=ray")):
        status, out, err = say("ablate.run", *words)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert err.startswith("dispatch=ray: its folder ")


def test_data_that_torchvision_would_download_are_no_refusal(folder, say):
    assert SENTENCE not in say("ablate.run", *LINE, "dataset=cifar10", "mode=plan")[1]


def test_where_nothing_is_to_do_the_data_are_not_missed(folder, say):
    assert SENTENCE in say("ablate.run", *LINE, "dataset=imagenet32", "mode=plan")[1]
    assert say("ablate.run", *LINE)[0] == 0
    (log,) = Path("runs").glob("t*")
    assert say("ablate.run", *LINE, "mode=plan")[0] == 0
    assert log.is_dir()
