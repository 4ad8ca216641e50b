"""Studies that a cluster runs by itself, by Ray's Jobs API: sent, listed, followed and stopped from anywhere."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.core import provenance
from ablate.core.errors import UsageError
from ablate.dispatch import cluster_access, code_bundle
from ablate.dispatch.cluster import JOB

ALLOWED = "http://HOST:8265, the dashboard of a cluster's head"
SECONDS_TO_STOP = 120
"""For trials to write their checkpoints, before Ray ends a study that was told to stop."""

SECONDS_BETWEEN_LOOKS = 1.0

_RAYS_OWN = re.compile(r"\d{4}-\S+ \S+\s+INFO job_manager.py|Running entrypoint for job ")

STATES = {"PENDING": "waiting", "RUNNING": "running", "SUCCEEDED": "done", "FAILED": "failed", "STOPPED": "stopped"}


@dataclass(frozen=True)
class Job:
    """A study as it was sent: its name, who sent which line, and what has become of it (a value of STATES).

    began, ended: seconds since the epoch, None where it has not.
    """

    job_id: str
    study: str
    user: str
    line: str
    state: str
    began: float | None
    ended: float | None

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "stopped")


class Jobs:
    """The studies of one cluster.

    Args:
        address: of its head's dashboard.
        key: under which the address was typed, for errors.

    Raises:
        UsageError: nobody answers there, or the token is missing or wrong.
    """

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        if not re.fullmatch(r"https?://[^/@]+/?", address):
            raise UsageError(f"{key}={address}: allowed: {ALLOWED}")
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise UsageError(f"{key}={address}: needs Ray's own client (pip install 'ray[default]')") from error
        for module in ("job.sdk", "dashboard_sdk"):
            logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.ERROR)
        token = cluster_access.token()
        try:
            self._client = JobSubmissionClient(address)
        except ConnectionError as error:
            raise UsageError(f"{key}={address}: no Ray answers there; allowed: {ALLOWED}") from error
        except Exception as error:  # Ray raises a bare RuntimeError for every answer but 200
            if not _is_refusal(error):
                told = " ".join(str(error).split())[:200]
                raise UsageError(f"{key}={address}: something answers there, but no Ray ({told})") from error
            why = "the cluster refused the token" if token else "the cluster wants a token, and there is none"
            raise UsageError(
                f"{key}={address}: {why}; allowed: the cluster's own, in {cluster_access.TOKENS}"
            ) from error

    def send(self, words: Sequence[str], study: str) -> Job:
        """Have the cluster's head run the line, with the code as it stands here; return at once."""
        job_id = f"{re.sub(r'[^A-Za-z0-9_-]', '-', study)}-{secrets.token_hex(4)}"
        user, revision = provenance.name(), provenance.code_version().partition("+")[2]
        line = shlex.join(["python", "-m", "ablate.run", *words])
        variables = {
            JOB: "1",
            provenance.USER: user,
            provenance.REVISION: revision,
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "110",
            "RAY_JOB_STOP_SIGNAL": "SIGTERM",
            "RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP),
        }
        if server := os.environ.get("MLFLOW_TRACKING_URI"):
            variables["MLFLOW_TRACKING_URI"] = server  # user and password are the head's own
        with tempfile.TemporaryDirectory(prefix="ablate-code-") as folder:
            code_bundle.make(Path(folder), Path.cwd())
            self._client.submit_job(
                entrypoint=line,
                submission_id=job_id,
                runtime_env={"working_dir": folder, "env_vars": variables},
                metadata={"study": study, "user": user, "line": line},
            )
        return self.job(job_id)

    def all(self) -> list[Job]:
        """Every study that was sent, the latest first."""
        found = [_job(one) for one in self._client.list_jobs() if (one.metadata or {}).get("study")]
        return sorted(found, key=lambda one: -(one.began or 0))

    def job(self, job_id: str) -> Job:
        return _job(self._client.get_job_info(job_id))

    def latest(self, name: str, key: str) -> Job:
        """One that runs under a study's name, else the latest; or the one with this id.

        Raises:
            UsageError: there is none.
        """
        jobs = sorted(self.all(), key=lambda one: one.is_over)
        for one in jobs:
            if name in (one.study, one.job_id):
                return one
        held = ", ".join(dict.fromkeys(one.study for one in jobs)) or "none yet; python -m ablate.submit -m ..."
        raise UsageError(f"{key}={name}: not sent to {self.address}; allowed: {held}")

    def log(self, job: Job) -> str:
        """All that the study has said so far."""
        return "".join(_own(self._client.get_job_logs(job.job_id)))

    def follow(self, job: Job) -> Iterator[str]:
        """Yield what the study says, from its first line, until it is over."""
        loop = asyncio.new_event_loop()
        try:
            lines: AsyncIterator[str] = self._client.tail_job_logs(job.job_id)
            while True:
                try:
                    yield from _own(loop.run_until_complete(anext(lines)))
                except StopAsyncIteration:
                    return
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def stop(self, job: Job) -> Job:
        """Have its trials write their checkpoints and stop; return once it is over, or after SECONDS_TO_STOP."""
        self._client.stop_job(job.job_id)
        over = time.monotonic() + SECONDS_TO_STOP
        while not (now := self.job(job.job_id)).is_over and time.monotonic() < over:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return now

    def wait_for_word(self, job: Job, seconds: float) -> Job:
        """Return once the study is over, or has said something, or after so many seconds."""
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            now = self.job(job.job_id)
            if now.is_over or (now.state == "running" and self.log(now).strip()):
                return now
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return self.job(job.job_id)


def _own(text: str) -> Iterator[str]:
    """The lines of a log, without those that Ray puts before a job's."""
    yield from (line for line in text.splitlines(keepends=True) if not _RAYS_OWN.match(line))


def _job(told: Any) -> Job:
    about: Mapping[str, str] = told.metadata or {}
    state = STATES[getattr(told.status, "value", told.status)]
    began, ended = (ms / 1000 if ms else None for ms in (told.start_time, told.end_time))
    return Job(told.submission_id, about.get("study", ""), about.get("user", ""), told.entrypoint, state, began, ended)


def _is_refusal(error: BaseException) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return any(word in text for word in ("401", "403", "unauthorized", "forbidden", "authentication"))
