"""The studies that were sent to a cluster: listed, followed, stopped."""

from __future__ import annotations

import sys
import time

from rich import box
from rich.table import Table

from ablate.core import invocation
from ablate.dispatch.jobs import Job, Jobs
from ablate.driver.terminal import Terminal

MOST_LOGS = 20
"""Of studies that were sent: a look at each takes a moment."""


def show_sent(terminal: Terminal, jobs: Jobs) -> None:
    """Show a line for each study sent to the cluster: its sender, its state, when it began, and its last line."""
    sent = jobs.all()
    if not sent:
        terminal.line(f"no studies at {jobs.address} yet; send one: {invocation.command('submit')} -m norm=bn,srelu")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("sent study", "by", "state", "began", "took", "it said last"):
        table.add_column(column, no_wrap=column != "it said last")
    for position, job in enumerate(sent):
        lines = jobs.log(job).strip().splitlines() if position < MOST_LOGS else []
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.began)) if job.began else ""
        took = f"{((job.ended or time.time()) - job.began) / 60:.1f} min" if job.began else ""
        table.add_row(job.study, job.user, job.state, began, took, lines[-1].strip() if lines else "")
    terminal.console.print(table)


def answer(terminal: Terminal, jobs: Jobs, what: str, name: str) -> int:
    """Follow, or stop, a study that was sent."""
    job = jobs.latest(name, what)
    if what == "follow":
        for text in jobs.follow(job):
            sys.stdout.write(text)
            sys.stdout.flush()
        job = jobs.job(job.job_id)
        terminal.line(f"{_in_words(job)} is {job.state}")
        return 0 if job.state == "done" else 1
    if job.is_over:
        terminal.line(f"{_in_words(job)} is {job.state} already")
        return 0
    terminal.line(f"{_in_words(job)}: running trials write their checkpoints")
    job = jobs.stop(job)
    terminal.line(f"{_in_words(job)} is {job.state}; the same line goes on")
    return 0 if job.is_over else 1


def _in_words(job: Job) -> str:
    return f"study {job.study} ({job.job_id}), sent by {job.user},"
