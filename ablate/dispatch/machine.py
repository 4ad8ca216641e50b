"""What there is to hand out, and what a trial asks of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ablate.design import Mistake
from ablate.dispatch.slot import Slot
from ablate.machine import gpu_bytes


@dataclass(frozen=True)
class Machine:
    """cpus, gpus: how many; memory: bytes that Ray hands out; gpu_memory: bytes of the smallest GPU, if known."""

    cpus: float
    gpus: float
    memory: float
    gpu_memory: float | None

    @classmethod
    def of(cls, ray: Any) -> Machine:
        there = ray.cluster_resources()
        gpus = there.get("GPU", 0)
        return cls(there["CPU"], gpus, there["memory"], min(gpu_bytes(), default=None))

    def settled(self, slot: Slot) -> Slot:
        """The slot with its GPUs settled; raise Mistake when it is larger than the machine."""
        gpus = min(1, self.gpus) if slot.gpus is None else slot.gpus
        for key, asked, there in (("cpus", slot.cpus, self.cpus), ("gpus", gpus, self.gpus)):
            if asked > there:
                raise Mistake(f"dispatch.{key}_per_trial={asked:g}: allowed: up to {there:g}, what this machine has")
        return Slot(slot.cpus, gpus)

    def slots(self, slot: Slot) -> int:
        """Trials that run side by side."""
        fit = self.cpus / slot.cpus
        return max(1, int(min(fit, self.gpus / slot.gpus) if slot.gpus else fit))

    def share(self, slot: Slot, needed: int | None) -> dict[str, float]:
        """What to ask Ray for: the slot, and more of the GPU, or of the memory, where the trial needs more.

        A trial that needs no more than its slot's part asks for no memory: Ray hands out trials that ask for the
        same in their order, and keeps their processes.
        """
        asked: dict[str, float] = {"num_cpus": slot.cpus, "num_gpus": slot.gpus or 0}
        if needed and 0 < (slot.gpus or 0) < 1 and self.gpu_memory:
            part = math.ceil(20 * needed / self.gpu_memory) / 20
            asked["num_gpus"] = min(1, max(asked["num_gpus"], part))
        elif needed and not slot.gpus and needed > self.memory / self.slots(slot):
            asked["memory"] = min(needed, self.memory)
        return asked

    def whole(self) -> dict[str, float]:
        """All cores, and one GPU where there are any: nothing of ours runs beside it."""
        return {"num_cpus": self.cpus, "num_gpus": min(1, self.gpus)}
