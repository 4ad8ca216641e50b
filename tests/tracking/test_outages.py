"""MLflow's server is killed, stopped or slow in mid-study: every metric arrives, and the user is told once."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow  # here, before any thread does: two that import it at once get half of it
import pytest

from ablate.core.errors import UsageError
from ablate.core.study import Study
from ablate.store import run_directory
from ablate.store.folder import FolderStore
from ablate.tracking import tracker as tracker_module
from ablate.tracking.metric_names import in_mlflow
from ablate.tracking.tracker import Tracker, Undelivered
from tests.support.fakes import EPOCHS, make_trial, well

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


WITHOUT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""What a server for tests does without; for jobs it would start eight processes more, each of which imports MLflow."""


class Server:
    """A real `mlflow server` on loopback, in a process group of its own, whose database is there already."""

    def __init__(self, folder: Path, empty: Path):
        self.folder = folder
        shutil.copy(empty, folder / "server.db")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        line = f"-m mlflow server --host 127.0.0.1 --port {self.port} --workers 1"
        stores = ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--artifacts-destination", "artifacts"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *line.split(), *stores],
                cwd=self.folder,
                env={**os.environ, **WITHOUT},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def signal(self, which: signal.Signals) -> None:
        assert self.process
        os.killpg(self.process.pid, which)

    def kill(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.process.wait()

    def client(self):
        return mlflow.tracking.MlflowClient(self.uri)

    def has(self, study: Study) -> bool:
        return self.client().get_experiment_by_name(study.name) is not None


def until(condition, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running_server(tmp_path_factory, empty_mlflow):
    made = Server(tmp_path_factory.mktemp("server"), empty_mlflow)
    yield made
    made.kill()


@pytest.fixture
def server(running_server):
    """It answers, whatever a test before did to it; each test has a study of its own there."""
    if not running_server.answers():
        running_server.kill()
        running_server.start()
    return running_server


@pytest.fixture
def study(request):
    trials = [make_trial(seed, bits=bits) for bits in (1, 32) for seed in range(3)]
    return Study(request.node.name, {"bits": [1, 32]}, trials)


def follow(tracker, study, runs, meanwhile=None):
    """Run the trials; after half of their events let `meanwhile` happen."""
    events = [(trial, event) for trial in study.trials for event in run_directory.attempt(well, trial, runs)]
    for number, (trial, event) in enumerate(events):
        if meanwhile and number == len(events) // 2:
            meanwhile()
        tracker.record(trial, event)


def points_of(client, study):
    """(trial, metric, step) of everything in the study's runs, with the runs' statuses."""
    experiment = client.get_experiment_by_name(study.name)
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    points = [
        (run.data.tags["trial_id"], name, point.step)
        for run in runs
        for name in ("train_loss", "train_acc", "valid_acc", "test_acc")
        for point in client.get_metric_history(run.info.run_id, in_mlflow(name))
    ]
    return sorted(points), [run.info.status for run in runs]


def notes_of(study):
    """The points that `well` tells of each trial."""
    return sorted(
        [
            (trial.trial_id, name, step)
            for trial in study.trials
            for name in ("train_loss", "train_acc", "valid_acc")
            for step in range(1, EPOCHS + 1)
        ]
        + [(trial.trial_id, "test_acc", 0) for trial in study.trials]
    )


def assert_all_is_there(server, study):
    points, statuses = points_of(server.client(), study)
    assert points == notes_of(study)
    assert statuses == ["FINISHED"] * len(study.trials)
    for kind in ("study", "trial"):
        experiment = server.client().get_experiment_by_name(study.name)
        runs = server.client().search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")
        assert "RUNNING" not in {run.info.status for run in runs}


def test_a_server_killed_and_started_again_in_mid_study_misses_nothing(server, study, folder):
    notes = []
    tracker = Tracker(server.uri, study, store=FolderStore(folder / "runs"), warn=notes.append)

    def killed():
        until(lambda: server.has(study))
        server.kill()

    follow(tracker, study, folder / "runs", killed)
    until(lambda: notes)
    server.start()
    assert tracker.close() is None
    assert_all_is_there(server, study)
    what = r"\(.{,30}\); training goes on; missing records are sent when it answers again"
    assert len(notes) == 1
    assert re.fullmatch(f"MLflow at {server.uri} does not answer {what}", notes[0])


def test_a_server_that_hangs_is_waited_for_and_nothing_stands_twice(server, study, folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    notes = []
    tracker = Tracker(server.uri, study, store=FolderStore(folder / "runs"), warn=notes.append)

    def stopped():
        until(lambda: server.has(study))
        server.signal(signal.SIGSTOP)

    follow(tracker, study, folder / "runs", stopped)
    until(lambda: notes)
    server.signal(signal.SIGCONT)
    assert tracker.close() is None
    assert_all_is_there(server, study)
    assert len(notes) == 1
    assert "(timed out)" in notes[0]


def test_one_that_stays_away_is_told_of_and_the_next_tracker_delivers(server, study, folder, monkeypatch):
    notes = []
    tracker = Tracker(server.uri, study, store=FolderStore(folder / "runs"), warn=notes.append)
    until(lambda: server.has(study))
    follow(tracker, study, folder / "runs", server.kill)
    started = time.monotonic()
    left = tracker.close(patience_s=1)
    assert time.monotonic() - started < 20
    assert isinstance(left, Undelivered)
    assert str(left) == "Connection refused"
    assert notes[1:] == [f"waiting up to 1 s for MLflow at {server.uri}"]
    server.start()
    again = Tracker(server.uri, study, store=FolderStore(folder / "runs"), completed=study.trials)
    assert again.close() is None
    assert again.delivered >= left.trials > 0
    assert_all_is_there(server, study)


def test_an_interrupted_driver_does_not_wait_for_it(server, study, folder):
    tracker = Tracker(server.uri, study, store=FolderStore(folder / "runs"))
    until(lambda: server.has(study))
    follow(tracker, study, folder / "runs", server.kill)
    started = time.monotonic()
    assert isinstance(tracker.close(patience_s=0), Undelivered)
    assert time.monotonic() - started < tracker_module.LONGEST_DELAY_S


def test_an_address_where_something_else_answers_is_a_mistake(folder, study):
    serve = [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"]
    at_once = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=at_once) as web:
        try:
            port = web.stdout.readline().decode().split("port ")[1].split()[0]
            tracker = Tracker(f"http://127.0.0.1:{port}", study, store=FolderStore(folder / "runs"))
            assert isinstance(tracker.close(), UsageError)
        finally:
            web.kill()
