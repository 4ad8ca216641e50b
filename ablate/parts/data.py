"""Data sets of small images, whole in memory: uint8 arrays that a trial moves to its device.

Nothing here imports torch. Splits are fixed: the seed of a trial never moves an image
between training, validation and test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.parts import files

SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """images: (n, channels, height, width) uint8, 0 to 255; labels: (n,) int64 class indices."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """What one trains on, chooses on (None when nothing is set aside) and reports once."""

    train: Split
    valid: Split | None
    test: Split
    classes: int

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]


def digits(*, valid_fraction: float) -> Dataset:
    """scikit-learn's bundled 1,797 handwritten digits, 8x8, grey 0..16 rescaled to 0..255; 360 are test.

    Source: UCI, Optical Recognition of Handwritten Digits, its test part.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = _set_aside(Split(images, raw.target.astype(np.int64)), fraction=0.2)
    return _with_valid(train, test, valid_fraction, classes=10)


def synthetic(
    *,
    valid_fraction: float,
    train_items: int,
    test_items: int,
    channels: int,
    size: int,
    classes: int,
    noise: float,
    data_seed: int,
) -> Dataset:
    """Images made from a seed: one random pattern a class, plus normal noise. Learnable, for tests.

    `noise` is the noise's standard deviation in units of the pattern's (about 32 grey levels).
    """
    rng = np.random.default_rng(data_seed)
    patterns = rng.standard_normal((classes, channels, size, size))
    labels = rng.permutation(np.arange(train_items + test_items) % classes)
    values = patterns[labels] + noise * rng.standard_normal((len(labels), channels, size, size))
    images = np.clip(128 + 32 * values, 0, 255).astype(np.uint8)
    train = Split(images[:train_items], labels[:train_items])
    test = Split(images[train_items:], labels[train_items:])
    return _with_valid(train, test, valid_fraction, classes)


def mnist(*, root: str | None, valid_fraction: float) -> Dataset:
    """MNIST: 60,000 + 10,000 grey images of digits, 28x28. Source: LeCun, Cortes and Burges."""
    return _from_files("mnist", root, valid_fraction)


def fashion_mnist(*, root: str | None, valid_fraction: float) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 grey images of clothing, 28x28, 10 classes.

    Source: Xiao, Rasul and Vollgraf, arXiv 1708.07747.
    """
    return _from_files("fashion_mnist", root, valid_fraction)


def cifar10(*, root: str | None, valid_fraction: float) -> Dataset:
    """CIFAR-10: 50,000 + 10,000 colour images, 32x32. Source: Krizhevsky (2009)."""
    return _from_files("cifar10", root, valid_fraction)


def cifar100(*, root: str | None, valid_fraction: float) -> Dataset:
    """CIFAR-100: 50,000 + 10,000 colour images, 32x32, by their fine labels. Source: Krizhevsky (2009)."""
    return _from_files("cifar100", root, valid_fraction)


def svhn(*, root: str | None, valid_fraction: float) -> Dataset:
    """Street View House Numbers: 73,257 + 26,032 colour images, 32x32. Source: Netzer et al. (2011)."""
    return _from_files("svhn", root, valid_fraction)


def imagenet32(*, root: str | None, valid_fraction: float) -> Dataset:
    """ImageNet at 32x32: 1,281,167 + 50,000 colour images, 1000 classes. Source: arXiv 1707.08819."""
    return _from_files("imagenet32", root, valid_fraction)


def _from_files(name: str, root: str | None, valid_fraction: float) -> Dataset:
    """A data set of `files`. Raises Mistake, naming the file that is missing or damaged."""
    train, test = files.load(name, root)
    return _with_valid(Split(*train), Split(*test), valid_fraction, files.SOURCES[name].classes)


def _with_valid(train: Split, test: Split, valid_fraction: float, classes: int) -> Dataset:
    if not valid_fraction:
        return Dataset(train, None, test, classes)
    train, valid = _set_aside(train, valid_fraction)
    return Dataset(train, valid, test, classes)


def _set_aside(split: Split, fraction: float) -> tuple[Split, Split]:
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
    return Split(split.images[~aside], split.labels[~aside]), Split(split.images[aside], split.labels[aside])
