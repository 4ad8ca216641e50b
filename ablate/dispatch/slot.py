"""What a trial is given to run in, and what both ways of running share."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from ablate.core.events import Event
from ablate.core.study import Trial
from ablate.store import run_directory

TrialEvents = Generator[tuple[Trial, Event], None, None]


@dataclass(frozen=True)
class Slot:
    """What one trial is given. Fractions share a core or a GPU; gpus=None is one where there is one.

    With several workers a trial is trained by as many processes, and each of them is given this.
    """

    cpus: float = 1
    gpus: float | None = 0
    workers: int = 1

    @property
    def threads(self) -> int:
        """Threads of one process: its cores, rounded down, and at least one."""
        return max(1, int(self.cpus))


RunInSlot = Callable[[Slot], run_directory.Run]
"""What trains, once the slot is known: its thread count and its device."""


def never() -> bool:
    return False
