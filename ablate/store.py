"""The run directory, the truth about a trial: its config, its claim and its event log.

runs/<trial_id>/config.json    the plain config, for people and for later commands
runs/<trial_id>/claim          a lock that the working process holds while it works
runs/<trial_id>/events.jsonl   every event of every attempt, in order, one JSON object a line

A trial keeps files of its own there too, such as its trained weights.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from ablate.design import Mistake, Trial
from ablate.events import Diverged, Done, Event, Failed, Outcome, from_dict, to_dict

Run = Callable[[Mapping[str, Any], Path], Iterator[Event]]
"""What trains: a config and the run directory in, a trial's events out."""


def attempt(run: Run, trial: Trial, runs: Path) -> Iterator[Event]:
    """One try at a trial: hold its claim, log each event before yielding it, end with an outcome.

    A trial that another process finished meanwhile is not trained again: its stored events are yielded.
    An exception raised by `run` becomes `Failed`; only the death of this process leaves no outcome.
    """
    directory = runs / trial.trial_id
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "claim"):
        if isinstance(outcome(trial, runs), Done):
            for event in history(trial, runs):  # Ray sends into its generators, and a list takes nothing
                yield event
            return
        _write_config(directory / "config.json", trial.config)
        number = 1 + max((line["attempt"] for line in _lines(directory)), default=0)
        with _open_log(directory) as log:
            for event in _ending_in_an_outcome(run, trial.config, directory):
                log.write(json.dumps({"attempt": number, **to_dict(event)}) + "\n")
                log.flush()
                yield event


def history(trial: Trial, runs: Path) -> list[Event]:
    """The events of the trial's last attempt, oldest first; empty when it was never started."""
    lines = _lines(runs / trial.trial_id)
    return [from_dict(line) for line in lines if line["attempt"] == lines[-1]["attempt"]]


def outcome(trial: Trial, runs: Path) -> Outcome | None:
    """How the trial's last attempt ended; None when it never started, is running, or lost its process.

    Reads the log's last line only: a study of thousands is checked in seconds.
    """
    try:
        last = _last_line(runs / trial.trial_id / "events.jsonl")
    except FileNotFoundError:
        return None
    event = _parse(last)
    return outcome_of(from_dict(event)) if event else None


def outcome_of(event: Event | None) -> Outcome | None:
    return event if isinstance(event, Done | Failed) else None


def mark_lost(trial: Trial, runs: Path, reason: str) -> Failed:
    """Store, and return, that the trial's process died too often to try again."""
    failed = Failed(kind="lost", reason=reason)
    directory = runs / trial.trial_id
    directory.mkdir(parents=True, exist_ok=True)
    number = max((line["attempt"] for line in _lines(directory)), default=1)
    with _open_log(directory) as log:
        log.write(json.dumps({"attempt": number, **to_dict(failed)}) + "\n")
    return failed


def _ending_in_an_outcome(run: Run, config: Mapping[str, Any], directory: Path) -> Iterator[Event]:
    try:
        last: Event | None = None
        for last in run(config, directory):
            yield last
        if outcome_of(last) is None:
            yield Failed(kind="error", reason="the trial ended without saying Done or Failed")
    except Diverged as error:
        yield Failed(kind="diverged", reason=str(error))
    except Exception as error:
        out_of_memory = (
            isinstance(error, MemoryError)
            or type(error).__name__ == "OutOfMemoryError"
            or "can't allocate memory" in str(error)  # torch on a CPU raises a bare RuntimeError
        )
        yield Failed(
            kind="oom" if out_of_memory else "error",
            reason=str(error) if isinstance(error, Mistake) else f"{type(error).__name__}: {error}".splitlines()[0],
            traceback=traceback.format_exc(),
        )


def _write_config(path: Path, config: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(config, indent=2) + "\n")
    temporary.replace(path)


def _open_log(directory: Path) -> IO[str]:
    """The event log, open to append; a line that a killed process left torn is closed off first."""
    log = (directory / "events.jsonl").open("a+b")
    if log.seek(0, os.SEEK_END) and _byte_before_end(log) != b"\n":
        log.write(b"\n")
    log.close()
    return (directory / "events.jsonl").open("a", encoding="utf-8")


def _byte_before_end(file: IO[bytes]) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _lines(directory: Path) -> list[dict[str, Any]]:
    try:
        text = (directory / "events.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [line for line in map(_parse, text.splitlines()) if line]


def _last_line(path: Path, block: int = 65536) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail = b""
        while size and tail.rstrip(b"\n").count(b"\n") == 0:
            start = max(0, size - block)
            file.seek(start)
            tail = file.read(size - start) + tail
            size = start
    return tail.decode("utf-8", "replace").rstrip("\n").rpartition("\n")[2]


def _parse(line: str) -> dict[str, Any] | None:
    """The line's object; None for a line that a killed process left torn."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
