"""Data sets of small images, whole in memory: uint8 arrays that a trial moves to its device.

Nothing here imports torch, except a download. Splits are fixed: the seed of a trial never moves an image
between training, validation and test.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.design import Mistake

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


def fashion_mnist(*, root: str | None, valid_fraction: float) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 grey images of clothing, 28x28, 10 classes.

    Source: Xiao, Rasul and Vollgraf, arXiv 1708.07747.
    """
    folder = find_fashion_mnist(root)
    if folder is None:
        raise Mistake(_fashion_mnist_missing(root))
    train, test = (
        Split(
            _idx(folder, f"{part}-images-idx3-ubyte")[:, None],
            _idx(folder, f"{part}-labels-idx1-ubyte").astype(np.int64),
        )
        for part in ("train", "t10k")
    )
    return _with_valid(train, test, valid_fraction, classes=10)


FASHION_MNIST_FILES = tuple(
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
)
DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
DOWNLOAD_FOLDER = "data"


def find_fashion_mnist(root: str | None) -> Path | None:
    """The folder that holds the four files, packed or not: under `root`, or in the usual places."""
    bases = [root] if root is not None else [DEBIAN_FOLDER, DOWNLOAD_FOLDER]
    folders = [Path(base, layout) for base in bases for layout in (".", "FashionMNIST/raw")]
    return next((folder for folder in folders if all(map(_packed_or_not(folder), FASHION_MNIST_FILES))), None)


def check_fashion_mnist(config: Mapping[str, Any]) -> None:
    """Raise Mistake when `dataset.root` is given and holds no Fashion-MNIST."""
    root = config["dataset"]["root"]
    if root is not None and find_fashion_mnist(root) is None:
        raise Mistake(_fashion_mnist_missing(root))


def fetch_fashion_mnist(config: Mapping[str, Any]) -> None:
    """Download the files with torchvision, unless they are here already. Raise Mistake when it fails."""
    root = config["dataset"]["root"]
    if find_fashion_mnist(root) is not None:
        return
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(DOWNLOAD_FOLDER, download=True)
    except (OSError, RuntimeError) as error:
        raise Mistake(f"{_fashion_mnist_missing(root)} (the download failed: {error})") from error


def _fashion_mnist_missing(root: str | None) -> str:
    where = f"dataset.root={root}" if root is not None else f"{DEBIAN_FOLDER} or {DOWNLOAD_FOLDER}/"
    return (
        f"dataset=fashion_mnist: its four files are not in {where}; allowed: "
        "(1) apt install dataset-fashion-mnist, "
        "(2) dataset.root=FOLDER that holds them or torchvision's FashionMNIST/raw, "
        "(3) leave dataset.root out where there is internet: torchvision downloads them"
    )


def _packed_or_not(folder: Path) -> Callable[[str], bool]:
    return lambda name: (folder / name).is_file() or (folder / f"{name}.gz").is_file()


def _idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: 2 zero bytes, type 8, the number of axes, each axis's length."""
    path = folder / name if (folder / name).is_file() else folder / f"{name}.gz"
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise Mistake(f"{path}: not a readable gzip file ({error})") from error
    axes = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = tuple(int(length) for length in np.frombuffer(data[4 : 4 + 4 * axes], ">u4"))
    body = data[4 + 4 * axes :]
    if not axes or len(body) != np.prod(shape):
        raise Mistake(f"{path}: not a whole IDX file of unsigned bytes ({len(data)} bytes)")
    return np.frombuffer(body, np.uint8).reshape(shape).copy()


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
