"""Where runs come from, as far as their source records it: requests, machines, files. The report states all of it."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablate.core.requests import Request
from ablate.tracking.record import TrialRecord

ABLATE, USER = "ablate", "user"


@dataclass(frozen=True)
class SourceFile:
    """A file that runs were read from.

    sha256: of its bytes, in hex. modified: when it was last written, with the time zone.
    """

    path: str
    sha256: str
    modified: str


@dataclass(frozen=True)
class Origin:
    """Where the runs of a report come from.

    requests: every request of the study, oldest first, as `ablate.core.provenance.request` returns it; empty for runs
        that ablate did not make, and where an earlier release did.
    machines: run_id -> what computed the run, by name: host, device, threads, cpu, gpu, python, torch, ...
    files: those that runs were read from.
    """

    requests: Sequence[Request] = ()
    machines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    files: Sequence[SourceFile] = ()


def joined(origins: Iterable[Origin]) -> Origin:
    """Return the origin of runs that were read from several places, each request, run and file once."""
    each = list(origins)
    requests = [request for origin in each for request in origin.requests]
    return Origin(
        requests=[request for number, request in enumerate(requests) if request not in requests[:number]],
        machines={run_id: machine for origin in each for run_id, machine in origin.machines.items()},
        files=list(dict.fromkeys(file for origin in each for file in origin.files)),
    )


def of_trial(record: TrialRecord) -> dict[str, str]:
    """Return what is recorded of where a trial ran, with which code, and for whom."""
    recorded = {
        "host": record.host,
        "device": record.device,
        "threads": record.threads,
        **record.machine,
        ABLATE: record.code_version,
        USER: record.user,
    }
    return {name: str(value) for name, value in recorded.items() if value is not None}


def of_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return what MLflow itself records, in a run's tags, of where a run that ablate did not make comes from."""
    names = {"source": "mlflow.source.name", "commit": "mlflow.source.git.commit", USER: "mlflow.user"}
    return {name: tags[tag] for name, tag in names.items() if tags.get(tag)}


def of_file(path: Path) -> Origin:
    """Return the origin of runs in a file, which has just been read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    modified = datetime.datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    return Origin(files=[SourceFile(str(path), digest, modified.isoformat(timespec="seconds"))])
