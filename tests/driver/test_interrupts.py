"""Ctrl-C and SIGTERM, as a terminal and a batch system send them, to the whole process group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablate import CONF
from ablate.store import event_log
from tests.test_run import statuses

LINE = "-m bits=1,32 seeds=1 dataset=synthetic dataset.train_items=1000 recipe.epochs=4 cost=false"


@pytest.fixture(params=["in_process", pytest.param("ray", marks=pytest.mark.ray)])
def line(request, mlflow_db):
    return f"{LINE} dispatch={request.param}".split()


def begin(line):
    return subprocess.Popen(
        [sys.executable, "-m", "ablate.run", *line],
        env={**os.environ, "PYTHONPATH": str(CONF.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def epochs_logged():
    lines = [line for log in Path("runs").glob("t*/events.jsonl") for line in event_log.lines(log)]
    return sum(line["event"] == "Epoch" for line in lines)


def wait_for_an_epoch(process):
    while not epochs_logged():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(400)  # two Rays are started, one after the other
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_once_it_stops_with_checkpoints_and_the_same_line_goes_on(line, say, sent, status):
    process = begin(line)
    wait_for_an_epoch(process)
    os.killpg(process.pid, sent)
    out, _ = process.communicate()
    assert process.returncode == status, out
    assert "Traceback" not in out
    assert "Stopping: running trials write their checkpoints. Once more stops now." in out
    assert out.splitlines()[-1] == (
        "Stopped: 0 of 2 trials done. Nothing that was done is lost: say the same line again to go on."
    )
    assert list(Path("runs").glob("t*/checkpoint.pt"))
    assert not list(Path("runs").glob(".stop*"))
    assert "RUNNING" not in run_statuses()

    again, _, err = say("ablate.run", *line)
    assert again == 0, err
    assert statuses() == {"bits=1 seed=0": "done", "bits=32 seed=0": "done"}
    assert run_statuses() == ["FINISHED"] * 3
    assert epochs_logged() == 2 * 4


def test_twice_it_stops_now_in_one_line(line):
    process = begin(line)
    wait_for_an_epoch(process)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    for _ in range(3):  # an impatient user
        if process.poll() is None:
            time.sleep(0.1)
    out, _ = process.communicate()
    assert process.returncode == 130, out
    assert "Traceback" not in out
    assert out.splitlines()[-1].startswith(("Stopped now. ", "Stopped: "))


def run_statuses():
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.status for run in client.search_runs(experiments)]
