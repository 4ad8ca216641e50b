"""Who runs which code: the tags that distinguish a study's runs from those of others."""

from __future__ import annotations

import configparser
import getpass
import os
import subprocess
from pathlib import Path

import ablate
from ablate import __version__

USER = "ABLATE_USER"
REVISION = "ABLATE_REVISION"
"""Environment variables: who submitted a study, and from which commit. `ablate.submit` sets both where the study runs;
an image may set the second."""


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
