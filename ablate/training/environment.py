"""What numbers can depend on besides a trial's config: versions, the processor, and its instructions."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from ablate.core.events import Started

CPUINFO = Path("/proc/cpuinfo")


def started(device: str, threads: int, epochs: int) -> Started:
    """Return the event that begins an attempt in this process, with all that its numbers may depend on."""
    return Started(
        host=platform.node(),
        pid=os.getpid(),
        device=device,
        threads=threads,
        epochs=epochs,
        environment=environment(device),
    )


def environment(device: str) -> dict[str, str]:
    """Return the versions and the hardware on which a trial computes, by name.

    Args:
        device: "cpu" or "cuda".
    """
    import numpy as np
    import torch

    values = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if device.startswith("cuda"):
        values |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    return values


@functools.cache
def _cpu() -> str:
    """Return the name of the processor's model, or of its kind where the kernel tells no more."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
