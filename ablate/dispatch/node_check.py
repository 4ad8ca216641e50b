"""What each machine of a cluster says of itself, before a study starts on it."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ablate.core import hardware
from ablate.core.errors import UsageError

ALIKE = ("ray", "torch", "torchvision", "numpy", "scikit-learn", "hydra-core", "omegaconf")
"""Libraries whose version decides what a trial computes, or whether it is understood."""


@dataclass(frozen=True)
class Question:
    """What a node is asked. runs: the folder of run directories, None where nodes need not see it.

    mark: a file in it that the driver has just written. reads: one for each data set that nodes read by themselves,
    which raises UsageError where they cannot.
    """

    runs: Path | None
    mark: str
    recipes: Sequence[Mapping[str, Any]]
    reads: Sequence[Callable[[], None]]
    on_gpu: bool


@dataclass(frozen=True)
class Answer:
    """versions: of Python and of ALIKE. complaint: why no trial can run there. warnings: what is only slow."""

    host: str
    versions: Mapping[str, str]
    gpu_bytes: Sequence[int]
    complaint: str | None
    warnings: Sequence[str]


def answer(question: Question) -> Answer:
    """On a node: what it has, and what it lacks."""
    warnings: list[str] = []
    try:
        kind = "cuda" if question.on_gpu and hardware.gpu_bytes() else "cpu"
        told = [hardware.check_recipe(recipe, kind) for recipe in question.recipes]
        warnings = [one for one in told if one]
        complaint = _without_folder(question)
        for read in question.reads:
            read()
    except UsageError as mistake:
        complaint = str(mistake)
    return Answer(socket.gethostname(), versions(), hardware.gpu_bytes(), complaint, warnings)


def versions() -> dict[str, str]:
    """Of Python, and of what decides on numbers here."""
    found = {"Python": platform.python_version()}
    for name in ALIKE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def refuse(answers: Mapping[str, Answer]) -> None:
    """Raise UsageError when a node, by its address, cannot run the study as this machine would."""
    ours = versions()
    for node, one in answers.items():
        for name, theirs in one.versions.items():
            if theirs != ours[name]:
                raise UsageError(
                    f"dispatch=cluster: {name} {theirs} on node {node}, {ours[name]} here; "
                    "allowed: the same on every machine of the cluster"
                )
        if one.complaint:
            raise UsageError(f"on node {node}: {one.complaint}")


def _without_folder(question: Question) -> str | None:
    runs = question.runs
    if runs is None or (runs / question.mark).exists():
        return None
    return (
        f"runs={runs}: not the folder of that name on the driver's machine; allowed: a folder of a file system that "
        "all machines share, or storage=s3://BUCKET/PREFIX"
    )
