"""What this machine has for trials: memory, GPUs, slots and disk, told without importing torch."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.core.errors import UsageError

CPUINFO = Path("/proc/cpuinfo")

AMPERE = 8.0
"""The first compute capability with bf16 and tf32."""

FP16_FLAG = "avx512_fp16"
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}
"""What the kernel calls a CPU's instructions for short numbers."""

COMPILED = "TORCHINDUCTOR_CACHE_DIR"
"""Names the folder of what torch.compile made; a temporary one of this user otherwise."""


def kind_of_device(gpus_per_trial: float | None) -> str:
    """Return the kind of device that a trial with so many GPUs would run on: "cuda", or "cpu"."""
    return "cuda" if gpus_per_trial or (gpus_per_trial is None and gpu_bytes()) else "cpu"


def check_gpus(gpus_per_trial: float | None) -> None:
    """Raise UsageError when a GPU is requested and none is here; how many there are is Ray's to say."""
    if gpus_per_trial and not gpu_bytes():
        raise UsageError(f"dispatch.gpus_per_trial={gpus_per_trial:g}: allowed: 0, as nvidia-smi tells of no GPU here")


def precisions(kind: str) -> tuple[str, ...]:
    """Values of recipe.precision that every device of this kind here computes with; bf16 any CPU, if slowly."""
    if kind == "cuda":
        lowest = min(gpu_capabilities(), default=AMPERE)
        return ("fp32", "tf32", "bf16", "fp16") if lowest >= AMPERE else ("fp32", "fp16")
    return ("fp32", "bf16", "fp16") if FP16_FLAG in _cpu_flags() else ("fp32", "bf16")


def check_recipe(recipe: Mapping[str, Any], kind: str) -> str | None:
    """What to warn of before trials with this recipe run on a device of this kind, if anything.

    Raises:
        UsageError: it cannot compute so.
    """
    precision, device = recipe["precision"], "GPU" if kind == "cuda" else "CPU"
    allowed = precisions(kind)
    if precision not in allowed:
        raise UsageError(f"recipe.precision={precision}: not on this {device}; allowed here: {', '.join(allowed)}")
    if recipe["compile"] and not has_compiler(kind):
        language, package = ("C", "gcc") if kind == "cuda" else ("C++", "g++")
        raise UsageError(
            f"recipe.compile=true: on a {device} needs a {language} compiler and Python's headers "
            f"(apt install {package} python3-dev), and they are not here; allowed: false"
        )
    if recipe["compile"] and (kept := os.environ.get(COMPILED)) and not _can_write(Path(kept)):
        raise UsageError(f"{COMPILED}={kept}: nothing can be written there; allowed: a folder for recipe.compile=true")
    if precision == "bf16" and kind == "cpu" and lacks_bf16():
        return "recipe.precision=bf16: this CPU has no instructions for it: expect about a tenth of fp32's speed."
    return None


def lacks_bf16() -> bool:
    """Whether this CPU computes bf16 without instructions for it, many times slower than fp32."""
    return not _cpu_flags() & BF16_FLAGS


def has_compiler(kind: str) -> bool:
    """Whether torch.compile finds Python's headers, and a compiler: of C++ for a CPU, of C for a GPU."""
    if kind == "cuda":
        compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    else:
        compilers = [os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")]
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return headers.exists() and any(shutil.which(compiler) for compiler in compilers)


def _can_write(folder: Path) -> bool:
    standing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return standing.is_dir() and os.access(standing, os.W_OK | os.X_OK)


@functools.cache
def _cpu_flags() -> frozenset[str]:
    """What an x86 CPU, or the features that an ARM one, says that it can; empty where that is not told."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    told = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return frozenset(told.partition(":")[2].split())


def memory_bytes(kind: str) -> int | None:
    """Memory of the host, or of the largest GPU; None where that cannot be told."""
    if kind == "cuda":
        return max(gpu_bytes(), default=None)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def slots(cpus_per_trial: float, gpus_per_trial: float | None, workers_per_trial: int) -> int:
    """Return how many trials fit on this machine side by side; each worker of a trial has the CPUs and GPUs."""
    if kind_of_device(gpus_per_trial) == "cuda":
        return max(1, int(len(gpu_bytes()) / (workers_per_trial * (gpus_per_trial or 1))))
    return max(1, int((os.cpu_count() or 1) / (workers_per_trial * cpus_per_trial)))


def free_disk_bytes(folder: Path) -> int:
    """Free for this user, on the file system that holds the folder, or will."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


@functools.cache
def gpu_bytes() -> tuple[int, ...]:
    """Memory of each GPU; empty on a machine without nvidia-smi."""
    return tuple(int(value) * 2**20 for value in _of_each_gpu("memory.total"))


@functools.cache
def gpu_capabilities() -> tuple[float, ...]:
    """Compute capability of each GPU, such as 8.0; empty where it is not told."""
    return tuple(_of_each_gpu("compute_cap"))


def _of_each_gpu(what: str) -> list[float]:
    """A number of each GPU, as nvidia-smi tells it."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    values = (line.strip() for line in told.splitlines())
    return [float(value) for value in values if value.replace(".", "", 1).isdigit()]
