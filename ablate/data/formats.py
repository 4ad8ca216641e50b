"""Readers of the formats in which image data sets come: their folder -> the training items, and the test items.

Every reader raises UsageError when a file is missing or damaged; it names the file.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.core.errors import UsageError
from ablate.core.text import first_line
from ablate.data import plain_pickle

Items = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (n, channels, height, width), 0 to 255, and labels (n,), class indices."""


def here(folder: Path, file: str) -> Path | None:
    """Return the file's path, None where it is missing; an IDX file may be packed, with .gz after its name."""
    names = (file, f"{file}.gz") if file.endswith("-ubyte") else (file,)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def md5(path: str) -> bytes:
    """Return the MD5 of a file, unpacked: what publishers of data sets give.

    Raises:
        OSError: it cannot be read, or unpacked.
    """
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            whole = hashlib.md5(usedforsecurity=False)
            while part := file.read(1 << 20):
                whole.update(part)
            return whole.digest()
    except (EOFError, zlib.error) as error:
        raise OSError(None, str(error), path) from error


def _content(folder: Path, file: str) -> tuple[Path, bytes]:
    path = here(folder, file) or folder / file
    try:
        return path, gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UsageError(f"{path}: not a readable file ({error})") from error


def _items(path: Path, images: NDArray[Any], labels: Any, classes: int) -> Items:
    """Return images and labels; refuse what has the format but cannot be the data set."""
    indices = np.asarray(labels).astype(np.int64)
    if images.dtype != np.uint8 or images.ndim != 4 or indices.shape != (len(images),) or not len(images):
        raise UsageError(f"{path}: {len(indices)} labels for images of shape {images.shape}; it is damaged")
    if indices.min() < 0 or indices.max() >= classes:
        raise UsageError(f"{path}: labels from {indices.min()} to {indices.max()}; allowed: {classes} classes")
    return images, indices


def _joined(parts: Sequence[Items]) -> Items:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _idx(folder: Path, file: str) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes: 2 zero bytes, type 8, the number of axes, each axis's length, the data."""
    path, data = _content(folder, file)
    axes = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = tuple(int(length) for length in np.frombuffer(data[4 : 4 + 4 * axes], ">u4"))
    body = data[4 + 4 * axes :]
    if not axes or len(body) != np.prod(shape):
        raise UsageError(f"{path}: not a whole IDX file of unsigned bytes ({len(data)} bytes)")
    return np.frombuffer(body, np.uint8).reshape(shape).copy()


def mnist(folder: Path) -> tuple[Items, Items]:
    """Read MNIST or Fashion-MNIST: IDX files, packed or not."""

    def part(name: str) -> Items:
        images, labels = _idx(folder, f"{name}-images-idx3-ubyte"), _idx(folder, f"{name}-labels-idx1-ubyte")
        return _items(folder / f"{name}-labels-idx1-ubyte", images[:, None], labels, 10)

    return part("train"), part("t10k")


def _cifar(folder: Path, file: str, labels: bytes, classes: int) -> Items:
    """Read a pickled batch: b"data" of (n, 3072) uint8, red plane first, and its labels."""
    path = folder / file
    try:
        with path.open("rb") as stream:
            batch = plain_pickle.load(stream)
        images, indices = plain_pickle.uint8_array(batch[b"data"]).reshape(-1, 3, 32, 32), batch[labels]
        if not isinstance(indices, list) or not all(type(index) is int for index in indices):
            raise ValueError("its labels are no list of whole numbers")
        return _items(path, images, indices, classes)
    except UsageError:
        raise
    except Exception as error:  # the reader of pickles raises whatever it trips over
        raise UsageError(f"{path}: not a whole CIFAR batch ({first_line(error)})") from error


def cifar10(folder: Path) -> tuple[Items, Items]:
    """Read CIFAR-10: five pickled batches, and one of test images."""
    train = [_cifar(folder, f"data_batch_{batch}", b"labels", 10) for batch in range(1, 6)]
    return _joined(train), _cifar(folder, "test_batch", b"labels", 10)


def cifar100(folder: Path) -> tuple[Items, Items]:
    """Read CIFAR-100, by its fine labels."""
    return _cifar(folder, "train", b"fine_labels", 100), _cifar(folder, "test", b"fine_labels", 100)


def svhn(folder: Path) -> tuple[Items, Items]:
    """Read SVHN, MATLAB files: X of (32, 32, 3, n), and y of (n, 1), in which 10 stands for the digit 0."""
    from scipy.io import loadmat

    def part(name: str) -> Items:
        path = folder / f"{name}_32x32.mat"
        try:
            arrays = loadmat(path)
            images, labels = arrays["X"].transpose(3, 2, 0, 1), arrays["y"][:, 0].astype(np.int64) % 10
        except Exception as error:  # scipy raises whatever its parser trips over
            raise UsageError(f"{path}: not a whole SVHN file ({error})") from error
        return _items(path, np.ascontiguousarray(images), labels, 10)

    return part("train"), part("test")


def imagenet32(folder: Path) -> tuple[Items, Items]:
    """Read batches of Chrabaszcz et al., arXiv 1707.08819, as npz: data of (n, 3072) uint8, labels from 1 to 1000."""

    def part(file: str) -> Items:
        path = folder / file
        try:
            with path.open("rb") as stream, np.load(stream) as batch:
                images, labels = batch["data"].reshape(-1, 3, 32, 32), batch["labels"].astype(np.int64) - 1
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: not a whole ImageNet32 batch ({error})") from error
        return _items(path, images, labels, 1000)

    return _joined([part(f"train_data_batch_{batch}.npz") for batch in range(1, 11)]), part("val_data.npz")
