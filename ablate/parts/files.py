"""Data sets that come as files: where they may lie, how to get them, how each format is read.

Nothing here imports torch, except a download.
"""

from __future__ import annotations

import codecs
import gzip
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ablate.design import Mistake

DOWNLOADS = "data"
"""Where torchvision puts what it downloads, and where files are looked for when no root is given."""

MOST_BYTES_TO_READ_TWICE = 1_000_000_000
"""Larger data sets are read by the trials alone, so that a damaged file is found only then."""

Items = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""images (n, channels, height, width), 0 to 255, and labels (n,), class indices."""


@dataclass(frozen=True)
class Source:
    """A data set's files.

    files: the names of all of them; each may also be there packed, with .gz behind its name.
    folders: where they lie under a root.
    read: their folder -> the items of the training set, and of the test set.
    classes: how many there are.
    places: roots to look in when none is given.
    torchvision: the class that downloads it, and what else it is called with; None where none can.
    remedy: another way to the files; told first.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    read: Callable[[Path], tuple[Items, Items]]
    classes: int
    places: tuple[str, ...] = (DOWNLOADS,)
    torchvision: tuple[str, Sequence[Mapping[str, Any]]] | None = None
    remedy: str = ""


def load(name: str, root: str | None) -> tuple[Items, Items]:
    """The training items and the test items of a data set.

    Raises:
        Mistake: a file is missing or damaged, naming it.
    """
    folder = find(name, root)
    if folder is None:
        raise Mistake(_missing(name, root))
    return SOURCES[name].read(folder)


def find(name: str, root: str | None) -> Path | None:
    """The folder that holds all of a data set's files: under `root`, or in the usual places."""
    source = SOURCES[name]
    roots = source.places if root is None else (root,)
    folders = [Path(base, folder) for base in roots for folder in (".", *source.folders)]
    return next((f for f in folders if all(_here(f, file) is not None for file in source.files)), None)


def check(config: Mapping[str, Any]) -> None:
    """Raise Mistake when `dataset.root` is given and does not hold the files."""
    name, root = _asked(config)
    if root is not None and find(name, root) is None:
        raise Mistake(_missing(name, root))


def prepare(config: Mapping[str, Any]) -> None:
    """Download the files with torchvision, unless they are here already, and read them once if they are small.

    Raises:
        Mistake: there is no way to the files, or one of them is damaged.
    """
    name, root = _asked(config)
    if find(name, root) is None:
        _download(name, root)
    folder = find(name, root)
    if folder and sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < MOST_BYTES_TO_READ_TWICE:
        load(name, root)


def _asked(config: Mapping[str, Any]) -> tuple[str, str | None]:
    return config["dataset"]["_target_"].rpartition(".")[2], config["dataset"]["root"]


def _download(name: str, root: str | None) -> None:
    source = SOURCES[name]
    if source.torchvision is None or root is not None:
        raise Mistake(_missing(name, root))
    from torchvision import datasets

    kind, parts = source.torchvision
    try:
        for part in parts:
            getattr(datasets, kind)(DOWNLOADS, download=True, **part)
    except (OSError, RuntimeError) as error:
        raise Mistake(f"{_missing(name, root)} (the download failed: {error})") from error


def _missing(name: str, root: str | None) -> str:
    source = SOURCES[name]
    where = f"dataset.root={root}" if root is not None else " or ".join(f"{place}/" for place in source.places)
    files = ", ".join(source.files) if len(source.files) < 5 else f"{source.files[0]} to {source.files[-1]}"
    remedies = [source.remedy] if source.remedy else []
    remedies.append(f"dataset.root=FOLDER that holds {files}, or {' or '.join(source.folders)}")
    if source.torchvision:
        remedies.append("leave dataset.root out where there is internet: torchvision downloads them")
    allowed = ", ".join(f"({place}) {remedy}" for place, remedy in enumerate(remedies, 1))
    return f"dataset={name}: its files are not in {where}; allowed: {allowed}"


def _here(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)


def _content(folder: Path, file: str) -> tuple[Path, bytes]:
    path = _here(folder, file) or folder / file
    try:
        return path, gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise Mistake(f"{path}: not a readable file ({error})") from error


def _items(path: Path, images: NDArray[Any], labels: Any, classes: int) -> Items:
    """Refuse what has the format but cannot be the data set."""
    indices = np.asarray(labels).astype(np.int64)
    if images.dtype != np.uint8 or images.ndim != 4 or indices.shape != (len(images),) or not len(images):
        raise Mistake(f"{path}: {len(indices)} labels for images of shape {images.shape}; it is damaged")
    if indices.min() < 0 or indices.max() >= classes:
        raise Mistake(f"{path}: labels from {indices.min()} to {indices.max()}; allowed: {classes} classes")
    return images, indices


def _joined(parts: Sequence[Items]) -> Items:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _idx(folder: Path, file: str) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: 2 zero bytes, type 8, the number of axes, each axis's length."""
    path, data = _content(folder, file)
    axes = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = tuple(int(length) for length in np.frombuffer(data[4 : 4 + 4 * axes], ">u4"))
    body = data[4 + 4 * axes :]
    if not axes or len(body) != np.prod(shape):
        raise Mistake(f"{path}: not a whole IDX file of unsigned bytes ({len(data)} bytes)")
    return np.frombuffer(body, np.uint8).reshape(shape).copy()


def _mnist(folder: Path) -> tuple[Items, Items]:
    def part(name: str) -> Items:
        images, labels = _idx(folder, f"{name}-images-idx3-ubyte"), _idx(folder, f"{name}-labels-idx1-ubyte")
        return _items(folder / f"{name}-labels-idx1-ubyte", images[:, None], labels, 10)

    return part("train"), part("t10k")


_OF_AN_ARRAY = {
    "_reconstruct": np.ndarray(0).__reduce__()[0],
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "encode": codecs.encode,
}


class _ArraysOnly(pickle.Unpickler):
    """Reads what the CIFAR files hold: an array among plain values, and no code."""

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in _OF_AN_ARRAY:
            return _OF_AN_ARRAY[name]
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")


def _cifar(folder: Path, file: str, labels: bytes, classes: int) -> Items:
    """A pickled batch: b"data" of (n, 3072) uint8, red plane first, and its labels."""
    path = folder / file
    try:
        with path.open("rb") as stream:
            batch = _ArraysOnly(stream).load()
        images, indices = batch[b"data"].reshape(-1, 3, 32, 32), batch[labels]
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Mistake(f"{path}: not a whole CIFAR batch ({error})") from error
    return _items(path, images, indices, classes)


def _cifar10(folder: Path) -> tuple[Items, Items]:
    train = [_cifar(folder, f"data_batch_{batch}", b"labels", 10) for batch in range(1, 6)]
    return _joined(train), _cifar(folder, "test_batch", b"labels", 10)


def _cifar100(folder: Path) -> tuple[Items, Items]:
    return _cifar(folder, "train", b"fine_labels", 100), _cifar(folder, "test", b"fine_labels", 100)


def _svhn(folder: Path) -> tuple[Items, Items]:
    """MATLAB files: X of (32, 32, 3, n), and y of (n, 1), in which 10 stands for the digit 0."""
    from scipy.io import loadmat

    def part(name: str) -> Items:
        path = folder / f"{name}_32x32.mat"
        try:
            found = loadmat(path)
            images, labels = found["X"].transpose(3, 2, 0, 1), found["y"][:, 0].astype(np.int64) % 10
        except Exception as error:  # scipy raises whatever its parser trips over
            raise Mistake(f"{path}: not a whole SVHN file ({error})") from error
        return _items(path, np.ascontiguousarray(images), labels, 10)

    return part("train"), part("test")


def _imagenet32(folder: Path) -> tuple[Items, Items]:
    """Batches of Chrabaszcz et al., arXiv 1707.08819, as npz: data of (n, 3072) uint8, labels from 1 to 1000."""

    def part(file: str) -> Items:
        path = folder / file
        try:
            with path.open("rb") as stream, np.load(stream) as batch:
                images, labels = batch["data"].reshape(-1, 3, 32, 32), batch["labels"].astype(np.int64) - 1
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise Mistake(f"{path}: not a whole ImageNet32 batch ({error})") from error
        return _items(path, images, labels, 1000)

    return _joined([part(f"train_data_batch_{batch}.npz") for batch in range(1, 11)]), part("val_data.npz")


_MNIST_FILES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))

SOURCES: Mapping[str, Source] = {
    "mnist": Source(_MNIST_FILES, ("MNIST/raw",), _mnist, 10, torchvision=("MNIST", ({},))),
    "fashion_mnist": Source(
        _MNIST_FILES,
        ("FashionMNIST/raw",),
        _mnist,
        10,
        places=("/usr/share/datasets/fashion-mnist", DOWNLOADS),
        torchvision=("FashionMNIST", ({},)),
        remedy="apt install dataset-fashion-mnist",
    ),
    "cifar10": Source(
        (*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"),
        ("cifar-10-batches-py",),
        _cifar10,
        10,
        torchvision=("CIFAR10", ({},)),
    ),
    "cifar100": Source(("train", "test"), ("cifar-100-python",), _cifar100, 100, torchvision=("CIFAR100", ({},))),
    "svhn": Source(
        ("train_32x32.mat", "test_32x32.mat"),
        ("SVHN",),
        _svhn,
        10,
        torchvision=("SVHN", ({"split": "train"}, {"split": "test"})),
    ),
    "imagenet32": Source(
        (*(f"train_data_batch_{batch}.npz" for batch in range(1, 11)), "val_data.npz"),
        ("Imagenet32",),
        _imagenet32,
        1000,
        remedy="fetch the 32x32 npz batches from image-net.org, with an account there",
    ),
}
