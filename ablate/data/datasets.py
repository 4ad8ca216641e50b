"""Data sets of small images, whole in memory: uint8 arrays that a trial moves to its device.

Nothing here imports torch. `content`, in a trial's config, identifies files other than the published ones.
"""

from __future__ import annotations

import numpy as np

from ablate.data import files
from ablate.data.splits import Dataset, Split, set_aside


def digits(*, valid_fraction: float) -> Dataset:
    """Load scikit-learn's 1,797 handwritten digits, 8x8, grey 0..16 rescaled to 0..255; 360 are test images.

    Source: UCI, Optical Recognition of Handwritten Digits, its test part.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = set_aside(Split(images, raw.target.astype(np.int64)), fraction=0.2)
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
    """Make images from a seed: one random pattern per class, plus normal noise. A network can learn them, in tests.

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


def mnist(*, root: str | None, valid_fraction: float, content: str | None = None) -> Dataset:
    """Load MNIST: 60,000 + 10,000 grey images of digits, 28x28. Source: LeCun, Cortes and Burges."""
    return _from_files("mnist", root, valid_fraction)


def fashion_mnist(*, root: str | None, valid_fraction: float, content: str | None = None) -> Dataset:
    """Load Fashion-MNIST: 60,000 + 10,000 grey images of clothing, 28x28, 10 classes.

    Source: Xiao, Rasul and Vollgraf, arXiv 1708.07747.
    """
    return _from_files("fashion_mnist", root, valid_fraction)


def cifar10(*, root: str | None, valid_fraction: float, content: str | None = None) -> Dataset:
    """Load CIFAR-10: 50,000 + 10,000 colour images, 32x32. Source: Krizhevsky (2009)."""
    return _from_files("cifar10", root, valid_fraction)


def cifar100(*, root: str | None, valid_fraction: float, content: str | None = None) -> Dataset:
    """Load CIFAR-100: 50,000 + 10,000 colour images, 32x32, by their fine labels. Source: Krizhevsky (2009)."""
    return _from_files("cifar100", root, valid_fraction)


def svhn(*, root: str | None, valid_fraction: float, content: str | None = None) -> Dataset:
    """Load Street View House Numbers: 73,257 + 26,032 colour images, 32x32. Source: Netzer et al. (2011)."""
    return _from_files("svhn", root, valid_fraction)


def imagenet32(*, root: str | None, valid_fraction: float, content: str | None = None) -> Dataset:
    """Load ImageNet at 32x32: 1,281,167 + 50,000 colour images, 1000 classes. Source: arXiv 1707.08819."""
    return _from_files("imagenet32", root, valid_fraction)


def _from_files(name: str, root: str | None, valid_fraction: float) -> Dataset:
    """Load a data set of `files`.

    Raises:
        UsageError: a file is missing or damaged; it names the file.
    """
    train, test = files.load(name, root)
    return _with_valid(Split(*train), Split(*test), valid_fraction, files.SOURCES[name].classes)


def _with_valid(train: Split, test: Split, valid_fraction: float, classes: int) -> Dataset:
    if not valid_fraction:
        return Dataset(train, None, test, classes)
    train, valid = set_aside(train, valid_fraction)
    return Dataset(train, valid, test, classes)
