from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ablate import CONF, __version__
from ablate.core import provenance
from ablate.core.events import Failed
from ablate.driver import session, study_run, trial_source
from ablate.store import run_directory
from tests.support.fakes import make_trial

TINY = "dataset=synthetic dataset.train_items=60 dataset.test_items=20 dataset.classes=2"
HERE = "dispatch=in_process"


def open_mlflow():
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")


def statuses():
    client = open_mlflow()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {r.info.run_name: r.data.tags.get("outcome") for r in client.search_runs(experiments, "tags.kind = 'trial'")}


def test_a_study_runs_is_tracked_and_reported(folder, say):
    status, out, err = say("ablate.run", *f"-m norm=bn,srelu bits=1,32 seeds=2 {TINY} {HERE}".split())
    assert (status, err) == (0, "")
    assert "study synthetic-bits-norm: 4 cells, 8 trials" in out
    assert len(statuses()) == 8
    assert set(statuses().values()) == {"done"}
    assert not Path("outputs").exists()
    assert not Path("multirun").exists()
    status, out, err = say("analysis.report")
    assert (status, err) == (0, "")
    assert "study synthetic-bits-norm, norm: bn minus srelu" in out


def test_the_same_line_again_trains_nothing_and_says_so(folder, say, monkeypatch):
    line = f"-m bits=1,32 seeds=1 {TINY} {HERE}".split()
    say("ablate.run", *line)
    monkeypatch.setattr(session, "_train", None)
    status, out, _ = say("ablate.run", *line)
    assert status == 0
    assert "Nothing to train: every trial had its outcome already." in out


def test_a_finished_line_said_again_imports_neither_torch_nor_ray(folder, say):
    line = f"-m bits=1,32 seeds=1 {TINY} {HERE}".split()
    say("ablate.run", *line)
    completed = subprocess.run(
        [sys.executable, "-m", "ablate.run", *line],
        env={**os.environ, "PYTHONPATH": str(CONF.parent), "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {
        row.rpartition("|")[2].strip() for row in completed.stderr.splitlines() if row.startswith("import time")
    }
    assert "Nothing to train" in completed.stdout
    assert "mlflow" in imported
    assert not imported & {"torch", "ray"}


def test_more_seeds_and_levels_train_only_what_is_new(folder, say):
    say("ablate.run", *f"-m bits=1 seeds=1 study=s {TINY} {HERE}".split())
    _, out, _ = say("ablate.run", *f"-m bits=1,32 seeds=2 study=s {TINY} {HERE}".split())
    assert out.startswith("3 trials to run")
    assert len(statuses()) == 4


def test_mode_plan_names_exactly_the_new_trials_and_starts_nothing(folder, say):
    say("ablate.run", *f"-m bits=1 seeds=1 {TINY} {HERE}".split())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    status, out, _ = say("ablate.run", *f"-m bits=1,32 seeds=2 {TINY} mode=plan".split())
    named = [line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  t")]
    assert status == 0
    assert [name for _, name in named] == ["bits=1 seed=1", "bits=32 seed=0", "bits=32 seed=1"]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_line_without_m_is_one_trial_in_this_process(folder, say, monkeypatch):
    monkeypatch.setattr(session.dispatch, "on_ray", None)
    status, out, _ = say("ablate.run", *f"norm=srelu seed=4 {TINY}".split())
    assert status == 0
    assert "study synthetic: 1 cell, 1 trial\n" in out
    assert statuses() == {"seed=4": "done"}


def test_a_failed_trial_is_summed_up_kept_and_tried_again_on_request(folder, say):
    line = f"-m norm=srelu recipe.lr=0.1,1e6 seeds=1 {TINY} {HERE}".split()
    status, out, _ = say("ablate.run", *line)
    assert status == 1
    assert "recipe.lr=1000000 seed=0: diverged: the training loss is " in out
    assert statuses() == {"recipe.lr=0.1 seed=0": "done", "recipe.lr=1000000 seed=0": "diverged"}
    status, out, _ = say("ablate.run", *line)
    assert (status, "Nothing to train" in out) == (1, True)
    status, out, _ = say("ablate.run", *line, "retry=failed")
    assert (status, out.startswith("1 trial to run")) == (1, True)
    assert len(statuses()) == 2


def test_fail_fast_stops_at_the_first_failure(folder, say):
    line = f"-m norm=srelu recipe.lr=1e6,0.1,0.05 seeds=1 fail_fast=true {TINY} {HERE}".split()
    status, out, _ = say("ablate.run", *line)
    assert status == 1
    assert "Stopped at the first failure (fail_fast=true). " in out
    assert statuses() == {"recipe.lr=1000000 seed=0": "diverged"}


def test_an_error_shows_its_traceback_and_leaves_the_others_alone(folder, say):
    Path("mine/norm").mkdir(parents=True)
    Path("mine/norm/broken.yaml").write_text("_target_: ablate.networks.norm.nothing\n")
    line = f"--config-dir=mine -m norm=bn,broken seeds=1 {TINY} {HERE}".split()
    status, out, _ = say("ablate.run", *line)
    assert status == 1
    assert "Traceback (most recent call last)" in out
    assert statuses() == {"norm=bn seed=0": "done", "norm=broken seed=0": "error"}


def test_an_mlflow_that_fails_in_mid_study_loses_nothing(folder, say, monkeypatch):
    from mlflow.tracking import MlflowClient

    line = f"-m bits=1,32 seeds=1 {TINY} {HERE}".split()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
        status, out, _ = say("ablate.run", *line)
    assert status == 1
    assert "did not take everything (disk full); nothing is lost: say the same line again" in out
    assert "or python -m ablate.track study=synthetic-bits: 2 trials" in out
    status, out, _ = say("ablate.run", *line)
    assert status == 0
    assert statuses() == {"bits=1 seed=0": "done", "bits=32 seed=0": "done"}


def test_stopped_now_it_ends_in_one_line_and_the_same_line_goes_on(folder, say, monkeypatch):
    line = f"-m bits=1,32 seeds=1 {TINY} {HERE}".split()
    here = session.dispatch.in_process

    def interrupted(*args, **kwargs):
        for number, event in enumerate(here(*args, **kwargs)):
            if number == 6:
                raise KeyboardInterrupt
            yield event

    with monkeypatch.context() as patch:
        patch.setattr(session.dispatch, "in_process", interrupted)
        status, out, err = say("ablate.run", *line)
    assert (status, err) == (130, "")
    assert out.splitlines()[-1] == f"Stopped now. {study_run.GOES_ON}"
    status, out, _ = say("ablate.run", *line)
    assert (status, out.startswith("1 trial to run")) == (0, True)
    assert statuses() == {"bits=1 seed=0": "done", "bits=32 seed=0": "done"}


def test_a_trial_that_two_studies_ask_for_is_trained_once_and_stands_in_both(folder, say):
    say("ablate.run", *f"-m bits=1 seeds=1 study=first {TINY} {HERE}".split())
    _, out, _ = say("ablate.run", *f"-m bits=1 seeds=1 study=second {TINY} {HERE}".split())
    assert "Nothing to train" in out
    client = open_mlflow()
    for name in ("first", "second"):
        experiment = client.get_experiment_by_name(name)
        assert len(client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")) == 1


def test_the_code_version_names_the_commit():
    assert provenance.code_version().startswith(__version__)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_worker_costs_no_trial(folder, mlflow_db):
    """A real study on Ray; one worker is killed with SIGKILL once it has trained for an epoch."""
    line = "-m bits=1,32 seeds=2 dataset=synthetic dataset.train_items=2000 recipe.epochs=3 cost=false"
    process = subprocess.Popen(
        [sys.executable, "-m", "ablate.run", *line.split()],
        env={**os.environ, "PYTHONPATH": str(CONF.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killed = threading.Event()

    def kill_a_worker():
        while process.poll() is None and not killed.is_set():
            for log in folder.glob("runs/t*/events.jsonl"):
                lines = [json.loads(text) for text in log.read_text().splitlines()]
                if [entry["event"] for entry in lines] == ["Started", "Epoch"]:
                    os.kill(lines[0]["pid"], signal.SIGKILL)
                    killed.set()
                    return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    out, _ = process.communicate(timeout=350)
    killer.join()
    assert killed.is_set()
    assert process.returncode == 0, out
    assert set(statuses().values()) == {"done"}
    assert len(statuses()) == 4
    attempts = [
        max(json.loads(text)["attempt"] for text in log.read_text().splitlines())
        for log in folder.glob("runs/t*/events.jsonl")
    ]
    assert sorted(attempts) == [1, 1, 1, 2]


def test_a_lost_trial_is_to_do_again(tmp_path):
    trial = make_trial(0)
    run_directory.mark(trial, tmp_path, Failed(kind="lost", reason="its worker process died 4 times"))
    assert trial_source.is_to_do(run_directory.outcome(trial, tmp_path), "none")


def test_a_line_that_holds_something_else_fixed_is_another_study(say, folder):
    line = [
        "-m",
        "norm=bn,srelu",
        *TINY.split(),
        "width=1",
        "depth=8",
        "recipe.epochs=1",
        "seeds=1",
        HERE,
        "cost=false",
    ]
    assert say("ablate.run", *line)[0] == 0
    assert say("analysis.report")[0] == 0
    report = Path("reports/synthetic-norm/index.html").read_bytes()
    for mode in ("run", "plan"):
        status, _, err = say("ablate.run", *line, "width=2", f"mode={mode}")
        assert status == 2
        assert err == (
            "study=synthetic-norm: all its trials have width=1, and this line has width=2; "
            "allowed: width=1, or a study of its own, as in study=synthetic-norm-width2\n"
        )
    assert say("ablate.run", *line, "width=2", "study=synthetic-norm-width2")[0] == 0
    assert say("analysis.report")[0] == 0
    assert Path("reports/synthetic-norm/index.html").read_bytes() == report
    assert Path("reports/synthetic-norm-width2/index.html").is_file()
