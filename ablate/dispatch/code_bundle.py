"""The code that travels to a cluster: this package as it stands here, and the user's own parts and configs."""

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


def make(folder: Path, here: Path) -> None:
    """Put into the empty `folder` what a machine needs to run studies as they would run in `here`.

    The packages with their configs, then the Python and YAML files of the folder where the line was typed.

    Raises:
        UsageError: those are too many to send.
    """
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        places = list(found.submodule_search_locations or ()) if found else []
        if places:
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(places[0], folder / package, ignore=ignored, dirs_exist_ok=True)
    shutil.copytree(CONF, folder / "ablate" / "conf", dirs_exist_ok=True)
    left = MOST_BYTES
    for path in _own(here):
        left -= path.stat().st_size
        if left < 0:
            raise UsageError(
                f"{here}: holds more than {MOST_BYTES // 1_000_000} MB of .py and .yaml files, too many to send; "
                "allowed: a folder with only the parts of the study"
            )
        target = folder / path.relative_to(here)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _own(here: Path) -> Iterator[Path]:
    """The user's files, in order; of an environment or a hidden folder nothing, of the packages neither."""
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
