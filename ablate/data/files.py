"""Where the files of a data set are looked for, and what to say where they are missing.

Nothing here imports torch, except a download.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.data import content, formats
from ablate.data.formats import Items

DOWNLOADS = "data"
"""The folder to which torchvision downloads, and where files are looked for when no root is given."""

MOST_BYTES_TO_READ_TWICE = 1_000_000_000
"""Larger data sets are read by the trials alone, so that a damaged file is noticed only then."""


@dataclass(frozen=True)
class Source:
    """The files of a data set, and how to get them.

    files: the names of all of them.
    folders: where they are below a root.
    read: their folder -> the items of the training set, and of the test set.
    classes: how many there are.
    roots: folders to look in when no root is given.
    torchvision: the class that downloads the files, and the arguments of each call; None where it cannot.
    remedy: another way to get the files; messages name it first.
    md5: the MD5 of each file of the data set as published, unpacked; empty where nobody publishes them.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    read: Callable[[Path], tuple[Items, Items]]
    classes: int
    roots: tuple[str, ...] = (DOWNLOADS,)
    torchvision: tuple[str, Sequence[Mapping[str, str]]] | None = None
    remedy: str = ""
    md5: Sequence[str] = ()


def load(name: str, root: str | None) -> tuple[Items, Items]:
    """Return the training items and the test items of a data set.

    Raises:
        UsageError: a file is missing or damaged; it names the file.
    """
    folder = find(name, root)
    if folder is None:
        raise UsageError(_missing(name, root))
    return SOURCES[name].read(folder)


def find(name: str, root: str | None) -> Path | None:
    """Return the folder that holds all of a data set's files, below `root` or the usual roots, or None."""
    source = SOURCES[name]
    roots = source.roots if root is None else (root,)
    folders = [Path(base, folder) for base in roots for folder in (".", *source.folders)]
    return next(
        (folder for folder in folders if all(formats.here(folder, file) is not None for file in source.files)), None
    )


def check(config: Config) -> None:
    """Raise UsageError when `dataset.root` is given and does not hold the files."""
    name, root = _name_and_root(config)
    if root is not None and find(name, root) is None:
        raise UsageError(_missing(name, root))


def prepare(config: Config) -> None:
    """Download the files with torchvision, unless they are here already, and read them once if they are small.

    Raises:
        UsageError: the files cannot be downloaded, or one of them is damaged.
    """
    name, root = _name_and_root(config)
    if find(name, root) is None:
        _download(name, root)
    folder = find(name, root)
    if folder is None:
        raise UsageError(_missing(name, root))
    _read_if_small(name, root, folder)


def look(config: Config) -> None:
    """Read the files once if they are here and small: `prepare`, without a download.

    Raises:
        UsageError: the files are missing and cannot be downloaded, or one of them is damaged.
    """
    name, root = _name_and_root(config)
    folder = find(name, root)
    if folder is not None:
        _read_if_small(name, root, folder)
    elif SOURCES[name].torchvision is None or root is not None:
        raise UsageError(_missing(name, root))


def _read_if_small(name: str, root: str | None, folder: Path) -> None:
    paths = [formats.here(folder, file) for file in SOURCES[name].files]
    if sum(path.stat().st_size for path in paths if path) < MOST_BYTES_TO_READ_TWICE:
        load(name, root)


def identify(config: Config) -> str | None:
    """Return what distinguishes these files from the published ones; None for those, and where no files are.

    So a trial on the published data set has the same identity whether its files are here yet or not.

    Raises:
        UsageError: a file cannot be read.
    """
    name, root = _name_and_root(config)
    folder = find(name, root)
    if folder is None:
        return None
    groups = [(file, [str(formats.here(folder, file))]) for file in SOURCES[name].files]
    hashes = list(content.group_hashes(folder, groups, formats.md5).values())
    return None if hashes == _published(name) else content.identifier(hashes)


def published_content(target: str) -> str | None:
    """Return what would identify the published files of a data set, which a trial's config leaves out.

    Args:
        target: the path of the function that makes the data set.

    Returns:
        The identifier; None for other data sets, and where nobody publishes checksums.
    """
    module, _, name = target.rpartition(".")
    if module != "ablate.data.datasets" or name not in SOURCES or not SOURCES[name].md5:
        return None
    return content.identifier(_published(name))


def _published(name: str) -> list[str]:
    """Return the hash of each file of a data set as published, as `content.group_hashes` returns it."""
    return [content.joined([bytes.fromhex(md5)]) for md5 in SOURCES[name].md5]


def _name_and_root(config: Config) -> tuple[str, str | None]:
    return config["dataset"]["_target_"].rpartition(".")[2], config["dataset"]["root"]


def _download(name: str, root: str | None) -> None:
    source = SOURCES[name]
    if source.torchvision is None or root is not None:
        raise UsageError(_missing(name, root))
    from torchvision import datasets

    kind, parts = source.torchvision
    try:
        for part in parts:
            getattr(datasets, kind)(DOWNLOADS, download=True, **part)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{_missing(name, root)} (the download failed: {error})") from error


def _missing(name: str, root: str | None) -> str:
    source = SOURCES[name]
    where = f"dataset.root={root}" if root is not None else " or ".join(f"{folder}/" for folder in source.roots)
    files = ", ".join(source.files) if len(source.files) < 5 else f"{source.files[0]} to {source.files[-1]}"
    remedies = [source.remedy] if source.remedy else []
    remedies.append(f"dataset.root=FOLDER that holds {files}, or {' or '.join(source.folders)}")
    if source.torchvision:
        remedies.append("leave dataset.root out where there is internet: torchvision downloads them")
    allowed = ", ".join(f"({number}) {remedy}" for number, remedy in enumerate(remedies, 1))
    return f"dataset={name}: its files are not in {where}; allowed: {allowed}"


_MNIST_FILES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))

_MNIST_MD5 = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)

SOURCES: Mapping[str, Source] = {
    "mnist": Source(_MNIST_FILES, ("MNIST/raw",), formats.mnist, 10, torchvision=("MNIST", ({},)), md5=_MNIST_MD5),
    "fashion_mnist": Source(
        _MNIST_FILES,
        ("FashionMNIST/raw",),
        formats.mnist,
        10,
        roots=("/usr/share/datasets/fashion-mnist", DOWNLOADS),
        torchvision=("FashionMNIST", ({},)),
        remedy="apt install dataset-fashion-mnist",
        md5=(
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
    "cifar10": Source(
        (*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"),
        ("cifar-10-batches-py",),
        formats.cifar10,
        10,
        torchvision=("CIFAR10", ({},)),
        md5=(
            "c99cafc152244af753f735de768cd75f",
            "d4bba439e000b95fd0a9bffe97cbabec",
            "54ebc095f3ab1f0389bbae665268c751",
            "634d18415352ddfa80567beed471001a",
            "482c414d41f54cd18b22e5b47cb7c3cb",
            "40351d587109b95175f43aff81a1287e",
        ),
    ),
    "cifar100": Source(
        ("train", "test"),
        ("cifar-100-python",),
        formats.cifar100,
        100,
        torchvision=("CIFAR100", ({},)),
        md5=("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
    "svhn": Source(
        ("train_32x32.mat", "test_32x32.mat"),
        ("SVHN",),
        formats.svhn,
        10,
        torchvision=("SVHN", ({"split": "train"}, {"split": "test"})),
        md5=("e26dedcc434d2e4c54c9b2d4a06d8373", "eb5a983be6a315427106f1b164d9cef3"),
    ),
    "imagenet32": Source(
        (*(f"train_data_batch_{batch}.npz" for batch in range(1, 11)), "val_data.npz"),
        ("Imagenet32",),
        formats.imagenet32,
        1000,
        remedy="fetch the 32x32 npz batches from image-net.org, with an account there",
    ),
}
