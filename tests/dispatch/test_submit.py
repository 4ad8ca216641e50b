from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from ablate import submit
from ablate.core import provenance
from ablate.core.errors import UsageError
from ablate.dispatch import jobs
from ablate.dispatch.jobs import Job, Jobs

ADDRESS = "http://head:8265"
LINE = "-m norm=bn,srelu seeds=2 runs=/shared/runs"


class Client:
    """Ray's Jobs API: a job that was sent runs, and is over at the third look."""

    def __init__(self, log="2 trials to run\n", ends="SUCCEEDED"):
        self.sent, self.looks, self.text, self.ends, self.stopped = {}, 0, log, ends, []

    def submit_job(self, *, entrypoint, submission_id, runtime_env, metadata):
        self.sent[submission_id] = {"entrypoint": entrypoint, "env": runtime_env["env_vars"], "metadata": metadata}

    def get_job_info(self, job_id):
        self.looks += 1
        status = self.ends if self.looks > 3 or self.stopped else "RUNNING"
        sent = self.sent[job_id]
        return SimpleNamespace(
            submission_id=job_id,
            metadata=sent["metadata"],
            status=status,
            entrypoint=sent["entrypoint"],
            start_time=1000.0 * (1 + list(self.sent).index(job_id)),
            end_time=None,
        )

    def list_jobs(self):
        return [self.get_job_info(job_id) for job_id in self.sent]

    def get_job_logs(self, job_id):
        rays_own = "2026-11-27 03:20:04,179\tINFO job_manager.py:581 -- Runtime env\nRunning entrypoint for job x\n"
        return rays_own + self.text

    async def tail_job_logs(self, job_id):
        for line in self.get_job_logs(job_id).splitlines(keepends=True):
            yield line

    def stop_job(self, job_id):
        self.stopped.append(job_id)


@pytest.fixture
def client(monkeypatch, folder):
    client = Client()
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda address: client)
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ADDRESS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    return client


def type_line(monkeypatch, capsys, line):
    monkeypatch.setattr(sys, "argv", ["ablate.submit", *line.split()])
    with pytest.raises(SystemExit) as ended:
        submit.main()
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_a_line_is_sent_as_typed_with_the_cluster_and_the_server_as_defaults(client, monkeypatch, capsys):
    status, out, err = type_line(monkeypatch, capsys, LINE)
    assert (status, err) == (0, "")
    assert f"study digits-norm: 4 trials sent to {ADDRESS} as digits-norm-" in out
    assert f"python -m ablate.studies jobs={ADDRESS} follow=digits-norm" in out
    (sent,) = client.sent.values()
    assert sent["entrypoint"] == f"python -m ablate.run {LINE} dispatch=cluster track=server"
    assert sent["metadata"]["user"] == sent["env"][provenance.USER] == provenance.name()
    assert sent["env"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert not any("PASSWORD" in key or "TOKEN" in key for key in sent["env"])


def test_a_study_that_runs_there_is_not_sent_twice(client, monkeypatch, capsys):
    type_line(monkeypatch, capsys, LINE)
    client.looks = 0
    status, _, err = type_line(monkeypatch, capsys, LINE)
    assert (status, len(client.sent)) == (2, 1)
    assert err.startswith(f"study=digits-norm: sent already, by {provenance.name()}, as digits-norm-")


def test_without_a_server_one_must_say_where_it_is_tracked(client, monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    status, _, err = type_line(monkeypatch, capsys, LINE)
    assert (status, client.sent) == (2, {})
    assert err.startswith("track=server: MLFLOW_TRACKING_URI is not set here; allowed: ")
    assert type_line(monkeypatch, capsys, f"{LINE} track=off")[0] == 0


def test_what_the_cluster_refuses_is_printed_here(client, monkeypatch, capsys):
    client.text, client.ends = "track.uri=http://x: it refused user mia\n", "FAILED"
    client.looks = 3
    status, out, _ = type_line(monkeypatch, capsys, LINE)
    assert status == 1
    assert "it ended there at once: track.uri=http://x: it refused user mia" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-m norm=bn", "runs=runs: read by the cluster's head, in a folder that comes and goes"),
        ("norm=bn runs=/r", "a study is sent; allowed: with -m"),
        ("-m norm=bn runs=/r mode=plan", "mode=plan: nothing is sent; allowed: python -m ablate.run"),
        ("-m norm=bn runs=/r dispatch=ray", "dispatch=ray: what is sent runs on the cluster"),
        (
            "-m norm=bn runs=/r track.uri=sqlite:///mlflow.db",
            "track.uri=sqlite:///mlflow.db: read by the cluster's head",
        ),
        ("-m norm=nonsense runs=/r", "norm=nonsense: no such option"),
        ("-m norm=bn runs=/r dispatch.jobs=head:8265", "dispatch.jobs=head:8265: allowed: http://HOST:8265"),
    ],
)
def test_a_user_error_is_refused_before_anything_is_sent(client, monkeypatch, capsys, line, message):
    status, out, err = type_line(monkeypatch, capsys, line)
    assert (status, out, client.sent) == (2, "", {})
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_studies_that_were_sent_are_listed_followed_and_stopped(client, say):
    there = Jobs(ADDRESS, "jobs")
    first, second = (there.send(["-m", "norm=bn"], name).job_id for name in ("one", "two"))
    client.looks = 0
    status, out, _ = say("ablate.studies")
    assert status == 0
    assert out.index("two") < out.index("one")
    client.looks = 0
    status, out, _ = say("ablate.studies", "stop=one")
    assert (status, client.stopped) == (0, [first])
    assert f"study one ({first}), sent by {provenance.name()}, is done" in out
    status, out, _ = say("ablate.studies", f"follow={second}")
    assert (status, out) == (0, f"2 trials to run\nstudy two ({second}), sent by {provenance.name()}, is done\n")
    status, _, err = say("ablate.studies", "stop=nobody")
    assert (status, err) == (2, f"stop=nobody: not sent to {ADDRESS}; allowed: two, one\n")


def test_following_a_job_that_failed_fails(client, say):
    client.ends = "FAILED"
    Jobs(ADDRESS, "jobs").send(["-m", "norm=bn"], "one")
    client.looks = 9
    assert say("ablate.studies", "follow=one")[0] == 1


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ConnectionError("refused"), "jobs=http://head:8265: no Ray answers there"),
        (RuntimeError("Request failed with status code 401: Unauthorized"), "refused the token|wants a token"),
        (RuntimeError("Request failed with status code 404"), "something answers there, but no Ray"),
    ],
)
def test_a_cluster_that_refuses_access_says_why(monkeypatch, raised, message):
    def fails(address):
        raise raised

    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", fails)
    with pytest.raises(UsageError, match=message):
        Jobs(ADDRESS, "jobs")


def test_a_stopped_job_is_over_and_a_waiting_one_is_not():
    assert Job("id", "study", "mia", "line", "stopped", 1.0, None).is_over
    assert not Job("id", "study", "mia", "line", "waiting", None, None).is_over
