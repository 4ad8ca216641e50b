"""Who runs which code, when, where and by which line: what a study and its report keep of how they came about."""

from __future__ import annotations

import configparser
import datetime
import functools
import getpass
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ablate
from ablate import __version__
from ablate.core import checkout, hardware
from ablate.core.checkout import Checkout
from ablate.core.invocation import SCRIPT

USER = "ABLATE_USER"
REVISION = "ABLATE_REVISION"
"""Environment variables: who submitted a study, and from which commit. `ablate.submit` sets both where the study runs;
an image may set the second."""

REQUEST = "ABLATE_REQUEST"
"""Environment variable: the request that `ablate.submit` was given, as JSON, where the study runs."""

LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn")
"""The libraries whose versions can change what a trial computes."""

LIBRARIES_OF_REPORTS = ("numpy", "scipy", "pandas")

_SECRETS = (
    (re.compile(r"(://)[^/@\s]*:[^@\s]*@"), r"\1...@"),
    (re.compile(r"((?:password|passwd|secret|token|api_?key)[\w.]*=)[^&\s'\",}\]]+", re.IGNORECASE), r"\1..."),
)
"""What in a command line looks like a password, and what stands in its stead."""


def name() -> str:
    """Return the user who submitted the study, or else the user of MLflow's server, or else of this machine."""
    if submitter := os.environ.get(USER):
        return submitter
    if user := credentials()[0]:
        return user
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, of a user without a name
        return str(os.getuid())


def credentials() -> tuple[str | None, str | None]:
    """Return MLflow's user and password, from its two variables, or else from its file, ~/.mlflow/credentials."""
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{what}") for what in ("USERNAME", "PASSWORD"))
    if user and password:
        return user, password
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read(Path.home() / ".mlflow" / "credentials")
    except (configparser.Error, OSError, RuntimeError):
        return user, password
    section = file["mlflow"] if file.has_section("mlflow") else {}
    return user or section.get("mlflow_tracking_username"), password or section.get("mlflow_tracking_password")


def code_version() -> str:
    """Return the release, and in a git checkout the commit too, marked `-dirty` when files differ from it."""
    if commit := os.environ.get(REVISION):
        return f"{__version__}+{commit}"
    package = Path(ablate.__file__).resolve().parent
    if not (package.parent / ".git").exists():
        return __version__
    git = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude=*"]
    described = subprocess.run(git, capture_output=True, text=True, check=False)
    return f"{__version__}+{described.stdout.strip()}" if described.returncode == 0 else __version__


def command_line() -> str:
    """Return the line that this process was started with, quoted for a shell, and without passwords.

    Of the interpreter only its name stands: its folder is another on each machine.
    """
    program, *words = sys.orig_argv or [sys.executable, *sys.argv]
    if words and Path(words[0]).name in (SCRIPT, f"{SCRIPT}.exe"):  # the installed command, which Python runs
        program, *words = words
    return without_secrets(shlex.join([Path(program).name, *words]))


def without_secrets(line: str) -> str:
    """Return a command line with dots in place of what looks like a password.

    >>> without_secrets("run track.uri=postgresql://mia:pw@host/db a.password=pw seeds=3")
    'run track.uri=postgresql://...@host/db a.password=... seeds=3'
    """
    for pattern, stand_in in _SECRETS:
        line = pattern.sub(stand_in, line)
    return line


def now() -> str:
    """Return the date and time to the second, with the time zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def occasion() -> dict[str, Any]:
    """Return the command line of this process with its date, user and host, as JSON-ready values."""
    return {"command": command_line(), "date": now(), "user": name(), "host": platform.node()}


def checkouts(folder: Path, outputs: Collection[str] = ()) -> dict[str, Checkout]:
    """Return the checkout in which somebody works, as `git`; where ablate runs from another, that as `ablate_git`.

    Args:
        folder: where they work.
        outputs: names of files and folders in it that are no code.
    """
    package = Path(ablate.__file__).resolve().parents[1]
    states = {"git": checkout.read(folder, outputs=outputs)}
    if (package / ".git").exists() and not folder.resolve().is_relative_to(package):
        states["ablate_git"] = checkout.read(package)
    return states


def typed_request(states: Mapping[str, Checkout]) -> dict[str, Any]:
    """Return a request as it is typed now, as JSON-ready values: the line, its user, host and date, and the code.

    Args:
        states: as `checkouts` returns them.
    """
    typed = occasion()
    dates = [typed.pop("date")]
    return {**typed, "dates": dates} | {name: state.record() for name, state in states.items()}


def request(states: Mapping[str, Checkout], data: Mapping[str, str]) -> dict[str, Any]:
    """Return how a study is requested now: what was typed, what identifies its data, and this machine's versions.

    Where `ablate.submit` sent the study, it is what was typed there.

    Args:
        states: as `checkouts` returns them.
        data: name of a data set -> what identifies its files.
    """
    submitted = os.environ.get(REQUEST)
    typed: dict[str, Any] = json.loads(submitted) if submitted else typed_request(states)
    return {**typed, "versions": versions(LIBRARIES), "data": dict(data)}


@functools.cache
def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def versions(libraries: Collection[str]) -> dict[str, str]:
    """Return the versions of ablate, of Python, and of those of the libraries that are installed. None is imported."""
    installed = {library: _version(library) for library in libraries}
    known = {library: number for library, number in installed.items() if number}
    return {"ablate": code_version(), "python": platform.python_version(), **known}


def machine(gpu: str | None = None) -> dict[str, str]:
    """Return what computes a trial in this process: the models of its CPU and GPU, and versions.

    Args:
        gpu: the model of the GPU that it uses; None for none.
    """
    used = {"cpu": hardware.cpu_model(), "gpu": gpu}
    libraries = {library: _version(library) for library in LIBRARIES}
    known = {**used, "python": platform.python_version(), "system": platform.platform(), **libraries}
    return {name: text for name, text in known.items() if text}
