"""The capacity of the machines that Ray uses, and the share of it that a trial requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from ablate.core import container, hardware
from ablate.core.errors import UsageError
from ablate.dispatch import ray_folder
from ablate.dispatch.slot import Slot


@dataclass(frozen=True)
class Machine:
    """The capacity of one machine.

    `memory` are the bytes that Ray lets tasks request. `gpu_memory` are the bytes of the smallest GPU, None where they
    are unknown.
    """

    cpus: float
    gpus: float
    memory: float
    gpu_memory: float | None

    def slots(self, slot: Slot) -> int:
        """Return how many processes of trials run side by side on it."""
        fit = self.cpus / slot.cpus
        return int(min(fit, self.gpus / slot.gpus) if slot.gpus else fit)


def check_here(slot: Slot) -> None:
    """Raise UsageError where an embedded Ray of this machine would have no room for one trial, or no folder.

    So it is refused before Ray starts. Where Ray counts fewer GPUs, it is refused then.
    """
    ray_folder.check()
    gpus = max(len(hardware.gpu_bytes()), 1 if hardware.kind_of_device(slot.gpus) == "cuda" else 0)
    Machines([Machine(container.cpus(), gpus, 0, None)]).resolve(slot)


@dataclass(frozen=True)
class Machines:
    """The machines that have cores for trials: this one, or the nodes of a cluster.

    There are none while a cluster that grows on demand has no nodes yet.
    """

    each: Sequence[Machine]

    @classmethod
    def of(cls, ray: Any, gpu_memory: float | None) -> Self:
        """Return the machines that run now."""
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return cls(
            [Machine(has["CPU"], has.get("GPU", 0), has["memory"], gpu_memory) for has in alive if has.get("CPU")]
        )

    def resolve(self, slot: Slot) -> Slot:
        """Return the slot with its number of GPUs decided. Raise UsageError when there is no room for one trial."""
        gpus = min(1, max((machine.gpus for machine in self.each), default=0)) if slot.gpus is None else slot.gpus
        resolved = Slot(slot.cpus, gpus, slot.workers)
        if self.each and self._processes(resolved) < resolved.workers:
            raise UsageError(self._too_large(resolved))
        return resolved

    def _processes(self, slot: Slot) -> int:
        return sum(machine.slots(slot) for machine in self.each)

    def _too_large(self, slot: Slot) -> str:
        """Return the message of the error about a slot that has no room, with the most that is allowed."""
        room = self._processes(slot)
        if room and len(self.each) > 1:
            share = f"dispatch.cpus_per_trial={slot.cpus:g} dispatch.gpus_per_trial={slot.gpus:g}"
            return f"dispatch.workers_per_trial={slot.workers}: allowed: up to {room} with {share}, on these machines"
        many = f"with dispatch.workers_per_trial={slot.workers} " if slot.workers > 1 else ""
        has = "this machine has" if len(self.each) == 1 else "the largest machine has"
        for key, requested, largest in (
            ("cpus", slot.cpus, max(machine.cpus for machine in self.each)),
            ("gpus", slot.gpus or 0, max(machine.gpus for machine in self.each)),
        ):
            if requested * slot.workers > largest:
                parts = 100 if key == "cpus" or slot.workers == 1 else 1  # two processes share no GPU
                most = math.floor(parts * largest / slot.workers) / parts
                return f"dispatch.{key}_per_trial={requested:g}: {many}allowed: up to {most:g}, what {has}"
        both = ", ".join(f"{machine.cpus:g} and {machine.gpus:g}" for machine in self.each)
        typed = f"dispatch.cpus_per_trial={slot.cpus:g} dispatch.gpus_per_trial={slot.gpus:g}"
        return f"{typed}: no machine has both; allowed: {both}, or less"

    def slots(self, slot: Slot) -> int:
        """Return how many trials run side by side, at least 1."""
        return max(1, self._processes(slot) // slot.workers)

    def at_once(self, slot: Slot) -> int:
        """Return how many trials Ray is given at a time: two for each slot, so that no slot waits for us.

        A trial on several workers holds its lease from its start, while they wait for their slots. So there are only
        as many of them as there are slots.
        """
        return self.slots(slot) * (2 if slot.workers == 1 else 1)

    def share(self, slot: Slot, needed: int | None) -> dict[str, float]:
        """Return the resources to request from Ray: the slot, or more of the GPU or memory where the trial needs more.

        A trial that needs no more than its slot's share of the memory requests none: Ray starts trials that request the
        same resources in their order, and reuses their processes. A trial on several workers requests nothing, since it
        only waits for them.

        Args:
            slot: the slot of each trial.
            needed: the bytes of memory that the trial needs, of the GPU where it has one. None where unknown.
        """
        if slot.workers > 1:
            return {"num_cpus": 0, "num_gpus": 0}
        resources: dict[str, float] = {"num_cpus": slot.cpus, "num_gpus": slot.gpus or 0}
        fit = [machine for machine in self.each if machine.slots(slot)]
        if not needed or not fit:
            return resources
        gpu_memory = min((machine.gpu_memory for machine in fit if machine.gpu_memory), default=None)
        if 0 < (slot.gpus or 0) < 1 and gpu_memory:
            part = math.ceil(20 * needed / gpu_memory) / 20
            resources["num_gpus"] = min(1, max(resources["num_gpus"], part))
        elif not slot.gpus and any(needed > machine.memory / machine.slots(slot) for machine in fit):
            resources["memory"] = min(needed, max(machine.memory for machine in fit))
        return resources

    def whole(self, slot: Slot) -> dict[str, float]:
        """Return the resources of a trial that runs alone: all cores, and one GPU where there is any, of one machine.

        It is the machine with the most memory among those that have room for the slot.
        """
        fit = [machine for machine in self.each if machine.slots(slot)]
        if not fit:
            return self.share(slot, None)
        largest = max(fit, key=lambda machine: machine.memory)
        return {"num_cpus": largest.cpus, "num_gpus": min(1, largest.gpus)}
