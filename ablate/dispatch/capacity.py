"""What there is to hand out, and what a trial asks of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from ablate.core.errors import UsageError
from ablate.dispatch.slot import Slot


@dataclass(frozen=True)
class Machine:
    """cpus, gpus: how many; memory: bytes that Ray hands out; gpu_memory: bytes of the smallest GPU, if known."""

    cpus: float
    gpus: float
    memory: float
    gpu_memory: float | None

    def slots(self, slot: Slot) -> int:
        """Processes of trials that run side by side on it."""
        fit = self.cpus / slot.cpus
        return int(min(fit, self.gpus / slot.gpus) if slot.gpus else fit)


@dataclass(frozen=True)
class Machines:
    """Those that have cores to give: this one, or the nodes of a cluster; none where a cluster grows from nothing."""

    each: Sequence[Machine]

    @classmethod
    def of(cls, ray: Any, gpu_memory: float | None) -> Self:
        """What runs now."""
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return cls(
            [Machine(has["CPU"], has.get("GPU", 0), has["memory"], gpu_memory) for has in alive if has.get("CPU")]
        )

    def settled(self, slot: Slot) -> Slot:
        """The slot with its GPUs settled; raise UsageError when there is no room for one."""
        gpus = min(1, max((one.gpus for one in self.each), default=0)) if slot.gpus is None else slot.gpus
        settled = Slot(slot.cpus, gpus, slot.workers)
        if self.each and sum(one.slots(settled) for one in self.each) < settled.workers:
            raise UsageError(self._too_large(settled))
        return settled

    def _too_large(self, slot: Slot) -> str:
        room = sum(one.slots(slot) for one in self.each)
        if room and len(self.each) > 1:
            share = f"dispatch.cpus_per_trial={slot.cpus:g} dispatch.gpus_per_trial={slot.gpus:g}"
            return f"dispatch.workers_per_trial={slot.workers}: allowed: up to {room} with {share}, on these machines"
        many = f"with dispatch.workers_per_trial={slot.workers} " if slot.workers > 1 else ""
        has = "this machine has" if len(self.each) == 1 else "the largest machine has"
        for key, asked in (("cpus", slot.cpus), ("gpus", slot.gpus or 0)):
            there = max(getattr(one, key) for one in self.each)
            if asked * slot.workers > there:
                parts = 100 if key == "cpus" or slot.workers == 1 else 1  # two processes share no GPU
                most = math.floor(parts * there / slot.workers) / parts
                return f"dispatch.{key}_per_trial={asked:g}: {many}allowed: up to {most:g}, what {has}"
        both = ", ".join(f"{one.cpus:g} and {one.gpus:g}" for one in self.each)
        asked_for = f"dispatch.cpus_per_trial={slot.cpus:g} dispatch.gpus_per_trial={slot.gpus:g}"
        return f"{asked_for}: no machine has both; allowed: {both}, or less"

    def slots(self, slot: Slot) -> int:
        """Trials that run side by side, at least one."""
        return max(1, sum(one.slots(slot) for one in self.each) // slot.workers)

    def at_once(self, slot: Slot) -> int:
        """Trials to hand to Ray: as many again as there are slots, so that none waits for us.

        But a trial on several workers holds its claim from the first moment on, while they wait for their slots.
        """
        return self.slots(slot) * (2 if slot.workers == 1 else 1)

    def share(self, slot: Slot, needed: int | None) -> dict[str, float]:
        """What to ask Ray for: the slot, and more of the GPU, or of the memory, where the trial needs more.

        A trial that needs no more than its slot's part asks for no memory: Ray hands out trials that ask for the
        same in their order, and keeps their processes. On several workers it only waits for them.
        """
        if slot.workers > 1:
            return {"num_cpus": 0, "num_gpus": 0}
        asked: dict[str, float] = {"num_cpus": slot.cpus, "num_gpus": slot.gpus or 0}
        fit = [one for one in self.each if one.slots(slot)]
        if not needed or not fit:
            return asked
        gpu_memory = min((one.gpu_memory for one in fit if one.gpu_memory), default=None)
        if 0 < (slot.gpus or 0) < 1 and gpu_memory:
            part = math.ceil(20 * needed / gpu_memory) / 20
            asked["num_gpus"] = min(1, max(asked["num_gpus"], part))
        elif not slot.gpus and any(needed > one.memory / one.slots(slot) for one in fit):
            asked["memory"] = min(needed, max(one.memory for one in fit))
        return asked

    def whole(self, slot: Slot) -> dict[str, float]:
        """All cores of the largest machine that has a slot, and one GPU where it has any, for a trial alone."""
        fit = [one for one in self.each if one.slots(slot)]
        if not fit:
            return self.share(slot, None)
        largest = max(fit, key=lambda one: (one.gpus > 0) * bool(slot.gpus) * 1e9 + one.memory)
        return {"num_cpus": largest.cpus, "num_gpus": min(1, largest.gpus)}
