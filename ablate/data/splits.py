"""The splits of a data set. They are fixed, unless `ablate.data.resampling` draws them for a trial's seed.

Nothing here imports torch.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

SPLIT_SEED = 0

Chosen = NDArray[np.bool_] | NDArray[np.int_]


@dataclass(frozen=True)
class Split:
    """Images in memory.

    images: (n, channels, height, width) uint8, 0 to 255.
    labels: (n,) int64 class indices.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: Chosen) -> Split:
        """Return the items where `chosen`, (n,), is true, in their own order; or those at these indices."""
        return Split(self.images[chosen], self.labels[chosen])

    def joined(self, other: Split) -> Split:
        """Return the items of both."""
        return Split(np.concatenate([self.images, other.images]), np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class FileSplit:
    """Images that stay files until a batch needs them.

    root: the folder below which `paths` lie.
    paths: (n,) bytes in one array, which the reading processes share; a million strings would be copied to each.
    labels: (n,) int64 class indices.
    mode: "RGB", or "L" for one grey channel.
    side: the pixels to which an image's shorter side is scaled; None leaves images as they are.
    crop: the side, in pixels, of the square that is then cut from the centre; None cuts nothing.
    workers: processes that read; None for as many as the trial has threads.
    """

    root: Path
    paths: NDArray[np.bytes_]
    labels: NDArray[np.int64]
    mode: str
    side: int | None
    crop: int | None
    workers: int | None

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: Chosen) -> FileSplit:
        """Return the items where `chosen`, (n,), is true, in their own order; or those at these indices."""
        return replace(self, paths=self.paths[chosen], labels=self.labels[chosen])

    def joined(self, other: FileSplit) -> FileSplit:
        """Return the items of both, which lie below the same root."""
        paths, labels = [self.paths, other.paths], [self.labels, other.labels]
        return replace(self, paths=np.concatenate(paths), labels=np.concatenate(labels))

    def name(self, item: int) -> str:
        """Return the item's path below the root."""
        return os.fsdecode(self.paths[item])


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    train: what a trial trains on.
    valid: what a choice between trials is made by; None when nothing is set aside.
    test: what is reported, once.
    classes: how many there are.
    """

    train: Split
    valid: Split | None
    test: Split
    classes: int

    multi_crop: ClassVar[bool] = False

    @property
    def channels(self) -> int:
        channels: int = self.train.images.shape[1]
        return channels


class ImageDataset(Protocol):
    """What training needs of a data set: `Dataset` and `ablate.data.folders.FolderDataset` have it."""

    @property
    def train(self) -> Split | FileSplit: ...

    @property
    def valid(self) -> Split | FileSplit | None: ...

    @property
    def test(self) -> Split | FileSplit: ...

    @property
    def classes(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def multi_crop(self) -> bool:
        """Whether the test images are evaluated in many crops too."""


AnySplit = TypeVar("AnySplit", Split, FileSplit)


def set_aside(split: AnySplit, fraction: float, seed: int | tuple[int, ...] = SPLIT_SEED) -> tuple[AnySplit, AnySplit]:
    """Split off a random `fraction` of the items, rounded up, in which every class has its share.

    Return the remaining items and those set aside, both in the data set's own order. RandomState's streams are frozen
    for good (NEP 19); a Generator's may change between numpy versions.
    """
    rng = np.random.RandomState(seed)
    classes, counts = np.unique(split.labels, return_counts=True)
    shares = fraction * counts
    quotas = np.floor(shares).astype(int)
    missing = math.ceil(round(fraction * len(split), 6)) - quotas.sum()
    quotas[np.argsort(quotas - shares, kind="stable")[:missing]] += 1
    aside = np.zeros(len(split), dtype=bool)
    for label, quota in zip(classes, quotas, strict=True):
        aside[rng.permutation(np.flatnonzero(split.labels == label))[:quota]] = True
    return split.only(~aside), split.only(aside)
