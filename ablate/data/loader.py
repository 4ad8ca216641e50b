"""A split in batches, on the device that trains on it: whole in its memory, or streamed from files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.core.errors import UsageError
from ablate.data.batches import Batch, Loader, Share, all_rows
from ablate.data.splits import FileSplit, Split


@dataclass(frozen=True)
class InMemory:
    """Small images, all of them on the device: (n, C, H, W) uint8 with their (n,) int64 labels."""

    images: Tensor
    labels: Tensor

    evaluation_batch: ClassVar[int] = 10_000

    def __len__(self) -> int:
        return len(self.labels)

    def first(self) -> Tensor:
        return self.images[:1]

    def batches(
        self, size: int, order: torch.Generator | None = None, skip: int = 0, share: Share = all_rows
    ) -> Iterator[Batch]:
        if order is None:
            batches = zip(torch.split(self.images, size), torch.split(self.labels, size), strict=True)
            for images, labels in list(batches)[skip:]:
                yield share(images), share(labels)
            return
        drawn = torch.randperm(len(self), generator=order).to(self.images.device)
        for items in torch.split(drawn, size)[skip:]:
            yield self.images[share(items)], self.labels[share(items)]


def on_device(
    split: Split | FileSplit, device: str, *, threads: int = 1, augment: str = "none", many_crops: bool = False
) -> Loader:
    """Return a loader of the split on the device.

    Args:
        split: in memory, or as files.
        device: "cpu" or "cuda".
        threads: how many processes read files, where the split does not say so.
        augment: "scale_crop_flip" is applied while files are read, all others later, on the device.
        many_crops: each image comes as its 25 crops, (n, 25, C, H, W).

    Raises:
        UsageError: "scale_crop_flip" of images in memory.
    """
    if isinstance(split, FileSplit):
        return _streamed(split, device, threads, augment, many_crops)
    if augment == "scale_crop_flip":
        raise UsageError(
            "recipe.augment=scale_crop_flip: for images that are read from folders; this data set is small"
        )
    return InMemory(_tensor(split.images).to(device), _tensor(split.labels).to(device))


def _tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor on the array's own memory, which may be shared with other processes, and is only ever read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def _streamed(split: FileSplit, device: str, threads: int, augment: str, many_crops: bool) -> Loader:
    from ablate.data import stream  # not above: torchvision takes a second to import

    workers = threads if split.workers is None else split.workers
    if many_crops:
        crops = len(stream.SCALES) * stream.POSITIONS
        return stream.Streamed(split, device, stream.multi_crop, workers, evaluation_batch=100 // crops)
    if augment == "scale_crop_flip":
        return stream.Streamed(split, device, stream.scale_crop_flip, workers)
    return stream.Streamed(split, device, stream.single_crop(split.side, split.crop), workers)
