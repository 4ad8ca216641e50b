"""Studies that a cluster runs by itself. Ray's Jobs API submits, lists, follows and stops them from anywhere."""

from __future__ import annotations

import asyncio
import json
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

from ablate.core import invocation, provenance
from ablate.core.errors import UsageError
from ablate.dispatch import cluster_access, code_bundle, ray_private
from ablate.dispatch.cluster import JOB

ALLOWED = "http://HOST:8265, the dashboard of a cluster's head"
SECONDS_TO_STOP = 120
"""The time in which trials write their checkpoints, before Ray kills a study that was requested to stop."""

SECONDS_BETWEEN_LOOKS = 1.0

STATES = {"PENDING": "waiting", "RUNNING": "running", "SUCCEEDED": "done", "FAILED": "failed", "STOPPED": "stopped"}


@dataclass(frozen=True)
class Job:
    """A submitted study: its name, who submitted which line, and its state (a value of `STATES`).

    `began` and `ended` are in seconds since the epoch, None before that.
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
    """The submitted studies of one cluster.

    Args:
        address: the URL of the dashboard of its head.
        key: the key with which the address was typed, for errors.

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
        ray_private.quiet_job_client()
        token = cluster_access.token()
        try:
            self._client = JobSubmissionClient(address)
        except ConnectionError as error:
            raise UsageError(f"{key}={address}: no Ray answers there; allowed: {ALLOWED}") from error
        except Exception as error:  # Ray raises a bare RuntimeError for every answer but 200
            if not ray_private.is_refusal(error):
                text = " ".join(str(error).split())[:200]
                raise UsageError(f"{key}={address}: something answers there, but no Ray ({text})") from error
            reason = "the cluster refused the token" if token else "the cluster wants a token, and there is none"
            raise UsageError(
                f"{key}={address}: {reason}; allowed: the cluster's own, in {cluster_access.TOKENS}"
            ) from error

    def send(self, words: Sequence[str], study: str) -> Job:
        """Have the cluster's head run the line with the code as it is here, and return at once."""
        job_id = f"{re.sub(r'[^A-Za-z0-9_-]', '-', study)}-{secrets.token_hex(4)}"
        user, revision = provenance.name(), provenance.code_version().partition("+")[2]
        states = provenance.checkouts(Path.cwd())
        line = shlex.join(["python", "-m", "ablate.run", *words])
        variables = {
            JOB: "1",
            provenance.USER: user,
            provenance.REVISION: revision,
            provenance.REQUEST: json.dumps(provenance.typed_request(states)),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "110",
            "RAY_JOB_STOP_SIGNAL": "SIGTERM",
            "RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP),
        }
        if server := os.environ.get("MLFLOW_TRACKING_URI"):
            variables["MLFLOW_TRACKING_URI"] = server  # user and password are the head's own
        with tempfile.TemporaryDirectory(prefix="ablate-code-") as folder:
            code_bundle.make(Path(folder), Path.cwd())
            for state in states.values():
                if state.diff is not None and state.diff_name:
                    Path(folder, state.diff_name).write_bytes(state.diff)
            self._client.submit_job(
                entrypoint=line,
                submission_id=job_id,
                runtime_env={"working_dir": folder, "env_vars": variables},
                metadata={"study": study, "user": user, "line": line},
            )
        return self.job(job_id)

    def all(self) -> list[Job]:
        """Return every submitted study, the latest first."""
        jobs = [_job(details) for details in self._client.list_jobs() if (details.metadata or {}).get("study")]
        return sorted(jobs, key=lambda job: -(job.began or 0))

    def job(self, job_id: str) -> Job:
        """Return the study with this id, as it is now."""
        return _job(self._client.get_job_info(job_id))

    def latest(self, name: str, key: str) -> Job:
        """Return the job with this id, or the one that runs under this study's name, or else the latest one of it.

        Raises:
            UsageError: there is none.
        """
        jobs = sorted(self.all(), key=lambda job: job.is_over)
        for job in jobs:
            if name in (job.study, job.job_id):
                return job
        allowed = (
            ", ".join(dict.fromkeys(job.study for job in jobs)) or f"none yet; {invocation.command('submit')} -m ..."
        )
        raise UsageError(f"{key}={name}: not sent to {self.address}; allowed: {allowed}")

    def log(self, job: Job) -> str:
        """Return all that the study has printed so far."""
        return "".join(ray_private.lines_of_job(self._client.get_job_logs(job.job_id)))

    def follow(self, job: Job) -> Iterator[str]:
        """Yield the lines that the study prints, from its first one, until it is over."""
        loop = asyncio.new_event_loop()
        try:
            lines: AsyncIterator[str] = self._client.tail_job_logs(job.job_id)
            while True:
                try:
                    yield from ray_private.lines_of_job(loop.run_until_complete(anext(lines)))
                except StopAsyncIteration:
                    return
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def stop(self, job: Job) -> Job:
        """Have its trials write their checkpoints and stop. Return once it is over, or after SECONDS_TO_STOP."""
        self._client.stop_job(job.job_id)
        deadline = time.monotonic() + SECONDS_TO_STOP
        while not (now := self.job(job.job_id)).is_over and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return now

    def wait_for_output(self, job: Job, seconds: float) -> Job:
        """Return once the study is over, or has printed something, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            now = self.job(job.job_id)
            if now.is_over or (now.state == "running" and self.log(now).strip()):
                return now
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return self.job(job.job_id)


def _job(details: Any) -> Job:
    """Return a study, given Ray's JobDetails."""
    metadata: Mapping[str, str] = details.metadata or {}
    return Job(
        job_id=details.submission_id,
        study=metadata.get("study", ""),
        user=metadata.get("user", ""),
        line=details.entrypoint,
        state=STATES[getattr(details.status, "value", details.status)],
        began=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
    )
