"""The code that is sent to a cluster: the ablate package of this machine, and the user's own parts and configs."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ablate import CONF
from ablate.core.errors import UsageError

PACKAGES = ("ablate", "analysis", "hydra_plugins")
ENDINGS = (".py", ".yaml", ".yml")
NOT_CODE = {"conf", "data", "docker", "docs", "mlartifacts", "mlruns", "node_modules", "reports", "runs", "tests"}
"""Folders of the working directory that hold no parts of a network."""

MOST_BYTES = 20_000_000
"""The most bytes of the user's files."""


def make(folder: Path, here: Path) -> None:
    """Copy into the empty `folder` what a machine needs to run studies as they would run in the folder `here`.

    These are the packages with their configs, and the Python and YAML files of `here`, the folder where the line was
    typed.

    Raises:
        UsageError: the files of `here` are too large to send.
    """
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        locations = list(spec.submodule_search_locations or ()) if spec else []
        if locations:
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(locations[0], folder / package, ignore=ignored, dirs_exist_ok=True)
    shutil.copytree(CONF, folder / "ablate" / "conf", dirs_exist_ok=True)
    left = MOST_BYTES
    for path in _files_of_user(here):
        left -= path.stat().st_size
        if left < 0:
            raise UsageError(
                f"{here}: holds more than {MOST_BYTES // 1_000_000} MB of .py and .yaml files, too many to send; "
                "allowed: a folder with only the parts of the study"
            )
        target = folder / path.relative_to(here)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _files_of_user(here: Path) -> Iterator[Path]:
    """Yield the user's code files in order, without those of environments, of hidden folders and of our packages."""
    for parent, folders, names in os.walk(here):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "__pycache__"))
            and not (Path(parent) == here and name in {*PACKAGES, *NOT_CODE})
            and not Path(parent, name, "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            path = Path(parent, name)
            if name.endswith(ENDINGS) and path.is_file() and not path.is_symlink():
                yield path
