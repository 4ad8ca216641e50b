"""The service as its users have it: real processes, each on a host of its own. See service.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.service import NET

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

STUDY = ["-m", "norm=bn,srelu", "bits=1,32", "depth=8", "width=1", "seeds=2", "recipe.epochs=5", "cost=false"]
"""8 trials of a few seconds each on digits: two end before a node dies, two more before another is cut off."""

QUICK = ["-m", "norm=bn", "depth=8", "width=1", "seeds=2", "recipe.epochs=1", "cost=false"]


def line(*words):
    return [sys.executable, "-m", "ablate.run", *words]


def on_driver(cluster, words, cwd, **env):
    """What the driver's host says to a line: exit status, stdout, stderr."""
    cwd.mkdir(exist_ok=True)
    done = subprocess.run(
        cluster.on("driver", ["env", f"--chdir={cwd}", *words]),
        env=cluster.environment(**env),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def metrics(runs):
    """trial_id -> what the trial ended with, but for what is measured in seconds and bytes; each ended once."""
    ends = {}
    for path in runs.glob("t*/events.jsonl"):
        events = [json.loads(text) for text in path.read_text().splitlines()]
        (done,) = [event for event in events if event["event"] == "Done"]
        kept = {key: value for key, value in done["metrics"].items() if key.endswith(("acc", "loss"))}
        ends[path.parent.name] = kept
    return ends


def until(holds, seconds=300):
    over = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < over, "it took too long"
        time.sleep(0.3)
    return value


def ended(runs):
    return sum('"event": "Done"' in path.read_text() for path in runs.glob("t*/events.jsonl"))


def test_a_node_killed_a_node_cut_off_and_mlflow_restarted_cost_time_and_no_trial(cluster, folder, say):
    began = time.monotonic()
    status, _, err = say("ablate.run", *STUDY, "track=off", "runs=calm/runs", "dispatch=in_process")
    assert status == 0, err
    calm_s = time.monotonic() - began

    (folder / "user").mkdir()
    runs, output = folder / "user" / "runs", folder / "told.txt"
    words = line(*STUDY, "dispatch=cluster", "track=server", "checkpoint.every=1", f"runs={runs}")
    began = time.monotonic()
    with output.open("w") as file:
        driver = subprocess.Popen(
            cluster.on("driver", ["env", f"--chdir={folder / 'user'}", *words]),
            env=cluster.environment(),
            stdout=file,
            stderr=file,
        )
    try:
        until(lambda: ended(runs) >= 2)
        cluster.kill("one")
        until(lambda: ended(runs) >= 4)
        cluster.network.pull("two")
        time.sleep(20)
        cluster.network.plug("two")
        cluster.kill("mlflow")
        time.sleep(3)
        cluster.start_mlflow()
        until(lambda: cluster.start_ray_again("two") or driver.poll() is not None, 500)
    finally:
        driver.kill()
        driver.wait()
    lost_s = time.monotonic() - began - calm_s
    text = output.read_text()
    assert driver.returncode == 0, text
    ends = metrics(runs)
    assert len(ends) == 8
    assert ends == metrics(Path("calm/runs"))
    sys.stderr.write(
        f"\ncalm, on this machine: {calm_s:.0f} s; lost to a node, 20 s of network and MLflow: {lost_s:.0f} s\n"
    )
    for run in runs_in_mlflow(cluster, "digits-bits-norm"):
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.user"] == "admin"
        assert run.data.tags["host"] in ("head", "one", "two")
        assert run.data.tags["code_version"]
        recorded = json.dumps([run.data.tags, run.data.params])
        assert cluster.password not in recorded
        assert cluster.token.read_text() not in recorded


def runs_in_mlflow(cluster, study):
    """The trials' runs, one a trial."""
    from mlflow.tracking import MlflowClient

    before = dict(os.environ)
    os.environ.update({key: value for key, value in cluster.environment().items() if key.startswith("MLFLOW")})
    try:
        client = MlflowClient(cluster.mlflow)
        experiment = client.get_experiment_by_name(study)
        runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'", max_results=1000)
    finally:
        os.environ.clear()
        os.environ.update(before)
    ids = [run.data.tags["trial_id"] for run in runs]
    assert len(ids) == len(set(ids))
    return runs


REFUSED = {
    "a wrong token": ({"RAY_AUTH_TOKEN": "0" * 64}, (), "the cluster refused the token"),
    "no token": ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, (), "the cluster wants a token, and there is none"),
    "no such head": (
        {},
        (f"dispatch.address={NET}.10:6399",),
        f"no Ray answers at {NET}.10:6399 (Connection refused)",
    ),
    "no such machine": ({}, (f"dispatch.address={NET}.99:6379",), f"no Ray answers at {NET}.99:6379 ("),
    "Ray Client": ({}, (f"dispatch.address=ray://{NET}.10:10001",), "Ray Client does not stream"),
    "a wrong password": ({"MLFLOW_TRACKING_PASSWORD": "wrong-wrong-wrong"}, (), "it refused user admin"),
    "no password": (
        {"MLFLOW_TRACKING_USERNAME": "", "MLFLOW_TRACKING_PASSWORD": ""},
        (),
        "it wants a user and a password, and there are none",
    ),
    "no MLflow": ({}, (f"track.uri=http://{NET}.2:5999",), "no server answers there (Connection refused)"),
    "too many cores": ({}, ("dispatch.cpus_per_trial=2",), "allowed: up to 1, what the largest machine has"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_who_may_not_come_in_is_told_so_in_one_line_and_nothing_starts(cluster, folder, what):
    env, words, message = REFUSED[what]
    began = time.monotonic()
    status, out, err = on_driver(
        cluster, line(*QUICK, "dispatch=cluster", "track=server", *words), folder / "user", **env
    )
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert time.monotonic() - began < 30
    assert not list((folder / "user").glob("runs/t*"))
    for secret in (cluster.token.read_text(), cluster.password, "0" * 64, "wrong-wrong-wrong"):
        assert secret not in out + err


def say(cluster, *words, **env):
    """A line typed on a machine that is none of the cluster's."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        env=cluster.environment(RAY_API_SERVER_ADDRESS=cluster.jobs, **env),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_study_that_was_sent_goes_on_without_its_sender_and_is_shown_and_followed(cluster, folder):
    runs = folder / "shared"
    words = ["-m", "ablate.submit", *QUICK, "study=sent", f"runs={runs}"]
    env = cluster.environment(RAY_API_SERVER_ADDRESS=cluster.jobs)
    with subprocess.Popen([sys.executable, *words], env=env, stdout=subprocess.PIPE, text=True) as client:
        assert "study sent: 2 trials sent to" in client.stdout.readline()
        client.send_signal(signal.SIGKILL)
    followed = say(cluster, "ablate.studies", "follow=sent")
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert followed.stdout.startswith("2 trials to run\n[1/2] ")
    assert "is done" in followed.stdout
    assert ended(runs) == 2
    shown = say(cluster, "ablate.studies").stdout
    assert "sent" in shown
    assert "done" in shown
    assert "admin" in shown
    assert len(runs_in_mlflow(cluster, "sent")) == 2


def test_a_study_that_was_sent_is_stopped_from_anywhere_and_goes_on_from_its_checkpoints(cluster, folder):
    runs = folder / "shared"
    words = ["norm=bn", "depth=8", "width=1", "seeds=3", "cost=false", f"runs={runs}", "study=long"]
    sent = say(cluster, "ablate.submit", "-m", *words, "recipe.epochs=400")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    until(lambda: list(runs.glob("t*/events.jsonl")), 120)
    stopped = say(cluster, "ablate.studies", "stop=long")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "is stopped" in stopped.stdout
    assert list(runs.glob("t*/checkpoint.pt"))
    assert ended(runs) == 0


def test_what_is_sent_must_outlive_the_study(cluster, folder):
    answer = say(cluster, "ablate.submit", *QUICK)
    assert answer.returncode == 2
    assert answer.stderr.startswith("runs=runs: read by the cluster's head")
    unknown = say(cluster, "ablate.studies", "follow=nobody")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("follow=nobody: not sent to")
    wrong = say(cluster, "ablate.studies", RAY_AUTH_TOKEN="0" * 64)
    assert wrong.returncode == 2
    assert "the cluster refused the token" in wrong.stderr
