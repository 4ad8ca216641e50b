"""A split in batches, on the device that trains on it: held there whole, or streamed from its files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ablate.parts.splits import Split


class Loader(Protocol):
    """Images and labels in batches."""

    def __len__(self) -> int: ...

    @property
    def evaluation_batch(self) -> int:
        """Images in a batch when nothing is trained."""

    def batches(self, size: int, order: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Every item once: images (n, C, H, W) uint8 and labels (n,) int64, `size` at a time.

        In an order drawn from `order`, a CPU generator; without one, in the split's own.
        """


@dataclass(frozen=True)
class InMemory:
    """Small images, all of them on the device: (n, C, H, W) uint8 with their (n,) int64 labels."""

    images: Tensor
    labels: Tensor

    evaluation_batch: ClassVar[int] = 500

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, order: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        if order is None:
            yield from zip(self.images.split(size), self.labels.split(size), strict=True)
            return
        for items in torch.randperm(len(self), generator=order).to(self.images.device).split(size):
            yield self.images[items], self.labels[items]


def on_device(split: Split, device: str) -> Loader:
    """The split, ready for the device."""
    return InMemory(torch.from_numpy(split.images).to(device), torch.from_numpy(split.labels).to(device))
