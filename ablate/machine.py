"""What this machine has for trials: memory, GPUs, slots and disk, told without importing torch."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def kind_of_device(dispatch: Mapping[str, Any]) -> str:
    """Where a trial with these settings would run: "cuda", or "cpu"."""
    gpus = dispatch["gpus_per_trial"]
    return "cuda" if gpus or (gpus is None and gpu_bytes()) else "cpu"


def memory_bytes(kind: str) -> int | None:
    """Memory of the host, or of the largest GPU; None where that cannot be told."""
    if kind == "cuda":
        return max(gpu_bytes(), default=None)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def slots(dispatch: Mapping[str, Any]) -> int:
    """Trials that run at once here."""
    if dispatch["executor"] == "in_process":
        return 1
    if kind_of_device(dispatch) == "cuda":
        return max(1, int(len(gpu_bytes()) / (dispatch["gpus_per_trial"] or 1)))
    return max(1, int((os.cpu_count() or 1) / dispatch["cpus_per_trial"]))


def free_disk_bytes(folder: Path) -> int:
    """Free for this user, on the file system that holds the folder, or will."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


@functools.cache
def gpu_bytes() -> tuple[int, ...]:
    """Memory of each GPU; empty on a machine without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return ()
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(int(line) * 2**20 for line in told.split("\n") if line.strip().isdigit())
