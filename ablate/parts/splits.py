"""The splits of a data set. They are fixed: the seed of a trial never moves an image from one to another.

Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
