"""The random streams of one trial: its own generators, and Python's, NumPy's and torch's global ones.

Parts of ours draw from the trial's own generators alone. A network or data set of a user's own may draw from the global
ones, as `nn.Conv2d` does for its weights and dropout for its masks.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

Item = TypeVar("Item")

OF_GLOBALS = 1
"""The key of the seeds of the global generators, which differ from those of the trial's own."""

OF_DATA = 2
"""The key of the seeds while a data set is read, which all trials share."""


@dataclass(frozen=True)
class Generators:
    """What training draws from.

    order: a CPU generator for the order of the images.
    draws: a generator on the device for augmentation.
    """

    order: torch.Generator
    draws: torch.Generator


def from_seed(seed: int, device: str) -> tuple[torch.Generator, Generators]:
    """Return independent streams from one seed: a CPU generator for the initial weights, and those of training.

    The streams are the same in every arm, so that arms are paired by seed.
    """
    words = np.random.SeedSequence(seed).generate_state(3, np.uint64)
    initial, order, draws = (
        torch.Generator(kind).manual_seed(int(word >> np.uint64(1)))
        for kind, word in zip(("cpu", "cpu", device), words, strict=True)
    )
    return initial, Generators(order, draws)


def seed_globals(seed: int, key: int = OF_GLOBALS, rank: int = 0) -> None:
    """Seed Python's, NumPy's and torch's global generators, on every device.

    Args:
        seed: of the trial.
        key: what draws.
        rank: which of the processes that train the trial draws: their dropout masks are for other images.
    """
    words = np.random.SeedSequence(seed, spawn_key=(key, rank)).generate_state(3, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[1] >> np.uint64(32)))  # the global one is what is meant
    torch.manual_seed(int(words[2] >> np.uint64(1)))


def global_states() -> dict[str, Any]:
    """Return the states of the global generators as plain values and tensors, which a checkpoint can hold."""
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, [int(key) for key in keys], *rest],
        "torch": torch.get_rng_state(),
        # asking for the states would take memory of every GPU, also where the trial uses none
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
    }


def set_global_states(states: dict[str, Any]) -> None:
    """Set the global generators to what `global_states` returned; those of GPUs only where there are as many."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def apart(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items of a generator that has the global generators to itself.

    What draws from them between two items, in the same process, neither changes what it draws nor is changed by it.
    """
    outside = global_states()
    inside = outside
    with contextlib.closing(items):  # type: ignore[type-var]  # a generator
        while True:
            set_global_states(inside)
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                inside = global_states()
                set_global_states(outside)
            yield item
            outside = global_states()
