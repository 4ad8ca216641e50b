"""A study that goes on without you: `python -m ablate.submit -m norm=bn,srelu bits=1,32 runs=/shared/runs`.

The line is that of `ablate.run`. It is planned here, so that mistakes are told here, and then run by the cluster's
head, with the code as it stands here; this machine may be switched off.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ablate.cli import app
from ablate.cli.commands import COMMANDS
from ablate.core import invocation, urls
from ablate.core.errors import UsageError
from ablate.core.text import counted
from ablate.dispatch.jobs import Jobs
from ablate.planning import plan, schema
from ablate.planning.settings import Settings

SECONDS_FOR_A_WORD = 90.0


def main() -> None:
    schema.register()
    typed = sys.argv[1:]
    chosen = COMMANDS["submit"].chosen.items()
    words = [*typed, *(word for group, option in chosen for word in _unless_typed(typed, group, option))]
    sys.argv[1:] = words
    app.main("submit", lambda planned: submit(planned, sys.argv[1:]), sweeps=True)  # with ~ as it is here


def submit(planned: Any, words: list[str]) -> int:
    """Send a study; return exit status 0 once it runs there, 1 where it ended at once."""
    if not isinstance(planned, plan.Plan):
        raise UsageError("a study is sent; allowed: with -m")
    settings = planned.settings
    _check(settings)
    jobs = Jobs(settings.dispatch.jobs or "", "dispatch.jobs")
    for job in jobs.all():
        if job.study == planned.study.name and not job.is_over:
            raise UsageError(
                f"study={job.study}: sent already, by {job.user}, as {job.job_id}, which is {job.state}; allowed: "
                f"stop it first, {invocation.command('studies')} stop={job.study}, or study=NAME of your own"
            )
    job = jobs.send(words, planned.study.name)
    trials = counted(len(planned.study.trials), "trial") if not planned.is_adaptive else "its trials"
    _say(f"study {planned.study.name}: {trials} sent to {jobs.address} as {job.job_id}")
    job = jobs.wait_for_output(job, SECONDS_FOR_A_WORD)
    where = f"jobs={jobs.address}"
    if job.state in ("failed", "stopped"):
        lines = jobs.log(job).strip().splitlines()
        _say(f"it ended there at once: {lines[-1] if lines else job.state}")
        return 1
    _say(f"it is {job.state} there. Next: {invocation.command('studies')} {where} follow={planned.study.name}")
    return 0


def _check(settings: Settings) -> None:
    executor = settings.dispatch.executor
    if executor != "cluster":
        raise UsageError(
            f"dispatch={executor}: what is sent runs on the cluster; allowed: dispatch=cluster, or nothing"
        )
    if settings.mode == "plan":
        raise UsageError(f"mode=plan: nothing is sent; allowed: {invocation.command('run')} with mode=plan")
    if not Path(settings.runs).is_absolute():
        raise UsageError(
            f"runs={settings.runs}: read by the cluster's head, in a folder that comes and goes; "
            "allowed: an absolute path there, which outlives the study"
        )
    uri = settings.track.uri
    if uri == urls.SERVER_NOT_NAMED:
        raise UsageError(
            "track=server: MLFLOW_TRACKING_URI is not set here; allowed: "
            "MLFLOW_TRACKING_URI=http://SERVER:5000, as the cluster's head reaches it; or track=off"
        )
    if uri is not None:
        urls.refuse_password("track.uri", uri)
    if uri is not None and uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        raise UsageError(
            f"track.uri={uri}: read by the cluster's head; allowed: track=server, or an absolute path there"
        )


def _unless_typed(words: list[str], group: str, option: str) -> list[str]:
    keys = [word.lstrip("+~").partition("=")[0] for word in words]
    return [] if any(key in (group, f"{group}.uri") for key in keys) else [f"{group}={option}"]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
