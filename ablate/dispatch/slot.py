"""The resources of a trial, and the types that both ways of running share."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from ablate.core.events import Event
from ablate.core.study import Trial
from ablate.store import run_directory

TrialEvents = Generator[tuple[Trial, Event], None, None]


@dataclass(frozen=True)
class Slot:
    """The resources of one trial. Fractions share a core or a GPU. gpus=None means one GPU where there is any.

    With several workers, as many processes train the trial, and each of them has these resources.
    """

    cpus: float = 1
    gpus: float | None = 0
    workers: int = 1

    @property
    def threads(self) -> int:
        """Return the threads of one process: its cores, rounded down, and at least 1."""
        return max(1, int(self.cpus))


RunInSlot = Callable[[Slot], run_directory.Run]
"""Given the slot, hence the thread count and the device, returns the function that trains."""


def never() -> bool:
    """Return False: no request to stop."""
    return False
