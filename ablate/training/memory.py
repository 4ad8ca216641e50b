"""Peak memory of a trial, by which the next trials are packed."""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def begin(device: str) -> None:
    """Reset the peak, since a worker process runs many trials."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:  # not Linux: the process's own peak then stands for the trial's
        return


def peak_bytes(device: str) -> int:
    """Return the most memory used since `begin`: of the GPU as torch counts it, or of the host by this process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved()
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
