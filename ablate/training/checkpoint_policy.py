"""How often a trial writes checkpoints, and what stays of one that is done. Without torch, for the driver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CheckpointPolicy:
    """When a trial writes checkpoints, what it keeps, and how it is requested to stop.

    epochs, minutes: between two checkpoints; one of both is None.
    keep: what stays of a trial that is done: "none", its "weights", or "all", the last checkpoint too.
    stop: once this file exists, the trial writes a checkpoint and stops between two batches; relative to the
        run directory, unless absolute.
    """

    epochs: int | None = None
    minutes: float | None = 5
    keep: str = "weights"
    stop: Path | None = None
