"""The random streams of one trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


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
