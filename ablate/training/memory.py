"""Peak memory of a trial, so that the next ones are packed by what they need."""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def begin(device: str) -> None:
    """Forget the peak so far: a worker process sees many trials."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:  # not Linux: the process's own peak then stands for the trial's
        return


def peak_bytes(device: str) -> int:
    """The most memory held since `begin`: of the GPU by torch, or of the machine by this process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved()
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
