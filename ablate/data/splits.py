"""The splits of a data set. They are fixed: the seed of a trial never moves an image from one to another.

Nothing here imports torch.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """images: (n, channels, height, width) uint8, 0 to 255; labels: (n,) int64 class indices."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: NDArray[np.bool_]) -> Split:
        """The items where `chosen`, (n,), is true, in their own order."""
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class FileSplit:
    """Images that stay files until a batch needs them.

    root: the folder below which `paths`, (n,), lie. They are bytes in one array, which the reading processes
        share; a million strings would be copied to each of them.
    labels: (n,) int64 class indices.
    mode: "RGB", or "L" for one grey channel.
    side: to how many pixels an image's shorter side is brought; None leaves images as they are.
    crop: side, in pixels, of the square that is then cut from the centre; None cuts nothing.
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

    def only(self, chosen: NDArray[np.bool_]) -> FileSplit:
        """The items where `chosen`, (n,), is true, in their own order."""
        return replace(self, paths=self.paths[chosen], labels=self.labels[chosen])

    def name(self, item: int) -> str:
        """The item's path below the root."""
        return os.fsdecode(self.paths[item])


@dataclass(frozen=True)
class Dataset:
    """What one trains on, chooses on (None when nothing is set aside) and reports once."""

    train: Split
    valid: Split | None
    test: Split
    classes: int

    multi_crop: ClassVar[bool] = False

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]


AnySplit = TypeVar("AnySplit", bound=Any)


def set_aside(split: AnySplit, fraction: float) -> tuple[AnySplit, AnySplit]:
    """The rest, and a fixed random `fraction` of the items, rounded up, with every class's share in it.

    Both keep the data set's own order. RandomState's streams are frozen for good (NEP 19); a Generator's
    may change between numpy versions.
    """
    rng = np.random.RandomState(SPLIT_SEED)
    classes, counts = np.unique(split.labels, return_counts=True)
    shares = fraction * counts
    quotas = np.floor(shares).astype(int)
    missing = math.ceil(round(fraction * len(split), 6)) - quotas.sum()
    quotas[np.argsort(quotas - shares, kind="stable")[:missing]] += 1
    aside = np.zeros(len(split), dtype=bool)
    for label, quota in zip(classes, quotas, strict=True):
        aside[rng.permutation(np.flatnonzero(split.labels == label))[:quota]] = True
    return split.only(~aside), split.only(aside)
