"""What this machine has for trials: CPUs, memory, GPUs, slots and disk, read without importing torch."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from ablate.core import container
from ablate.core.config import Config
from ablate.core.errors import UsageError

CPUINFO = Path("/proc/cpuinfo")

AMPERE = 8.0
"""The first compute capability with bf16 and tf32."""

FP16_FLAG = "avx512_fp16"
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}
"""The kernel's names of a CPU's instructions for 16-bit numbers."""

COMPILED = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that names the folder of what torch.compile has made. Without it, a temporary folder of the user's."""


def kind_of_device(gpus_per_trial: float | None) -> str:
    """Return the kind of device that a trial with so many GPUs would run on: "cuda", or "cpu"."""
    return "cuda" if gpus_per_trial or (gpus_per_trial is None and gpu_bytes()) else "cpu"


def check_gpus(gpus_per_trial: float | None) -> None:
    """Raise UsageError when a trial wants GPUs and this machine has none. Whether there are enough, Ray decides."""
    if gpus_per_trial and not gpu_bytes():
        raise UsageError(f"dispatch.gpus_per_trial={gpus_per_trial:g}: allowed: 0, as nvidia-smi reports no GPU here")


def precisions(kind: str) -> tuple[str, ...]:
    """Return the values of recipe.precision that every device of this kind here supports.

    Every CPU supports bf16, some of them slowly: see `lacks_bf16`.
    """
    if kind == "cuda":
        lowest = min(gpu_capabilities(), default=AMPERE)
        return ("fp32", "tf32", "bf16", "fp16") if lowest >= AMPERE else ("fp32", "fp16")
    return ("fp32", "bf16", "fp16") if FP16_FLAG in _cpu_flags() else ("fp32", "bf16")


def check_recipe(recipe: Config, kind: str) -> str | None:
    """Return a warning about running trials with this recipe on a device of this kind, None where there is none.

    Raises:
        UsageError: the device lacks the precision, or what torch.compile needs is missing.
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
    if recipe["compile"] and (folder := os.environ.get(COMPILED)) and not _can_write(Path(folder)):
        raise UsageError(f"{COMPILED}={folder}: cannot be written to; allowed: a folder for recipe.compile=true")
    if precision == "bf16" and kind == "cpu" and lacks_bf16():
        return "recipe.precision=bf16: this CPU has no instructions for it: expect about a tenth of fp32's speed."
    return None


def lacks_bf16() -> bool:
    """Return whether this CPU has no instructions for bf16, which makes it many times slower than fp32."""
    return not _cpu_flags() & BF16_FLAGS


def has_compiler(kind: str) -> bool:
    """Return whether torch.compile finds Python's headers and a compiler: of C++ for a CPU, of C for a GPU."""
    if kind == "cuda":
        compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    else:
        compilers = [os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")]
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return headers.exists() and any(shutil.which(compiler) for compiler in compilers)


def _can_write(folder: Path) -> bool:
    existing = _nearest_existing(folder.absolute())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _nearest_existing(path: Path) -> Path:
    """Return the path itself, or the closest parent of it that exists."""
    return next(existing for existing in (path, *path.parents) if existing.exists())


@functools.cache
def _cpu_flags() -> frozenset[str]:
    """Return the flags of an x86 CPU, or the features of an ARM one. Empty where the kernel lists none."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return frozenset(flags.partition(":")[2].split())


@functools.cache
def cpu_model() -> str:
    """Return the model of this machine's CPU as its kernel names it, else as Python does; empty where nobody does."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, "") or platform.processor() or platform.machine()


def memory_bytes(kind: str) -> int | None:
    """Return the bytes of memory that trials may use here, or those of the largest GPU. None where it is unknown."""
    return max(gpu_bytes(), default=None) if kind == "cuda" else container.memory_bytes()


def slots(cpus_per_trial: float, gpus_per_trial: float | None, workers_per_trial: int) -> int:
    """Return how many trials run side by side here, at least 1. Each worker of a trial has the CPUs and GPUs."""
    if kind_of_device(gpus_per_trial) == "cuda":
        return max(1, int(len(gpu_bytes()) / (workers_per_trial * (gpus_per_trial or 1))))
    return max(1, int(container.cpus() / (workers_per_trial * cpus_per_trial)))


def free_disk_bytes(folder: Path) -> int:
    """Return the bytes that are free for this user on the file system that holds the folder, or will hold it."""
    return shutil.disk_usage(_nearest_existing(folder)).free


@functools.cache
def gpu_bytes() -> tuple[int, ...]:
    """Return the bytes of memory of each GPU. Empty on a machine without nvidia-smi."""
    return tuple(int(value) * 2**20 for value in _of_each_gpu("memory.total"))


@functools.cache
def gpu_capabilities() -> tuple[float, ...]:
    """Return the compute capability of each GPU, such as 8.0. Empty where nvidia-smi does not report it."""
    return tuple(_of_each_gpu("compute_cap"))


def _of_each_gpu(quantity: str) -> list[float]:
    """Return one number for each GPU, as nvidia-smi reports it."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", f"--query-gpu={quantity}", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    values = (line.strip() for line in output.splitlines())
    return [float(value) for value in values if value.replace(".", "", 1).isdigit()]
