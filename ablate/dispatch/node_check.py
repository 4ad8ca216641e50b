"""The check that each machine of a cluster makes of itself before a study starts."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ablate.core import hardware
from ablate.core.config import Config
from ablate.core.errors import UsageError

ALIKE = ("ray", "torch", "torchvision", "numpy", "scikit-learn", "hydra-core", "omegaconf")
"""The libraries whose version decides what a trial computes, or whether machines understand each other."""


@dataclass(frozen=True)
class Question:
    """What a node has to check.

    `runs` is the folder of run directories, None where nodes need not see it. `mark` is the name of a file in it that
    the driver has just written. `reads` holds a function for each data set that nodes read by themselves; it raises
    UsageError where they cannot. `on_gpu` says whether trials run on GPUs where there are any.
    """

    runs: Path | None
    mark: str
    recipes: Sequence[Config]
    reads: Sequence[Callable[[], None]]
    on_gpu: bool


@dataclass(frozen=True)
class Answer:
    """The result of a node's check.

    `versions` are those of Python and of `ALIKE`. `complaint` says why no trial can run there, None where one can.
    `warnings` say what is only slow.
    """

    host: str
    versions: Mapping[str, str]
    gpu_bytes: Sequence[int]
    complaint: str | None
    warnings: Sequence[str]


def answer(question: Question) -> Answer:
    """Check the machine that this runs on, and return what it has and what it lacks."""
    warnings: list[str] = []
    try:
        kind = "cuda" if question.on_gpu and hardware.gpu_bytes() else "cpu"
        warnings = [warning for recipe in question.recipes if (warning := hardware.check_recipe(recipe, kind))]
        complaint = _without_folder(question)
        for read in question.reads:
            read()
    except UsageError as error:
        complaint = str(error)
    return Answer(socket.gethostname(), versions(), hardware.gpu_bytes(), complaint, warnings)


def versions() -> dict[str, str]:
    """Return the versions of Python and of `ALIKE` on this machine."""
    installed = {"Python": platform.python_version()}
    for name in ALIKE:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "none"
    return installed


def refuse(answers: Mapping[str, Answer]) -> None:
    """Raise UsageError when a node cannot run the study as this machine would. `answers`: address -> answer."""
    here = versions()
    for node, answered in answers.items():
        for name, there in answered.versions.items():
            if there != here[name]:
                raise UsageError(
                    f"dispatch=cluster: {name} {there} on node {node}, {here[name]} here; "
                    "allowed: the same on every machine of the cluster"
                )
        if answered.complaint:
            raise UsageError(f"on node {node}: {answered.complaint}")


def _without_folder(question: Question) -> str | None:
    """Return a complaint where the node does not see the driver's folder of run directories."""
    runs = question.runs
    if runs is None or (runs / question.mark).exists():
        return None
    return (
        f"runs={runs}: not the folder of that name on the driver's machine; allowed: a folder of a file system that "
        "all machines share, or storage=s3://BUCKET/PREFIX"
    )
