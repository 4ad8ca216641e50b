"""Batches of a split: the interface that training and evaluation use, whatever holds the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""Images (n, C, H, W) uint8, or (n, crops, C, H, W) where each comes as its crops, and labels (n,) int64."""

Share = Callable[[Tensor], Tensor]
"""The rows of a batch -> those that this process works on, where several processes train one trial."""


def all_rows(rows: Tensor) -> Tensor:
    """Return every row: the share of a process that trains alone."""
    return rows


class Loader(Protocol):
    """Images and labels in batches."""

    def __len__(self) -> int: ...

    @property
    def evaluation_batch(self) -> int:
        """Images to fetch at once when nothing is trained."""

    def first(self) -> Tensor:
        """Return one image, (1, C, H, W) uint8, on the device, as batches hold it."""

    def batches(
        self, size: int, order: torch.Generator | None = None, skip: int = 0, share: Share = all_rows
    ) -> Iterator[Batch]:
        """Yield every item once, `size` at a time; of each batch the rows that `share` keeps.

        Args:
            size: images in a batch.
            order: a CPU generator that draws the order; None for the split's own order.
            skip: how many batches to leave out at the beginning; the order is drawn as if they had been taken.
            share: called once for each batch's images and once for its labels.
        """
