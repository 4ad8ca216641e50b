"""What numbers can depend on besides a trial's config: versions, the processor, and its instructions."""

from __future__ import annotations

import os
import platform

from ablate.core import provenance
from ablate.core.events import Started


def started(device: str, threads: int, epochs: int) -> Started:
    """Return the event that begins an attempt in this process, with all that its numbers may depend on.

    Args:
        device: "cpu" or "cuda".
        threads: of torch.
        epochs: of the whole training.
    """
    import torch

    on_gpu = device == "cuda"
    machine = provenance.machine(torch.cuda.get_device_name() if on_gpu else None)
    machine["instructions"] = torch.backends.cpu.get_cpu_capability()
    if on_gpu:
        machine["cuda"] = str(torch.version.cuda)
    return Started(
        host=platform.node(), pid=os.getpid(), device=device, threads=threads, epochs=epochs, machine=machine
    )
