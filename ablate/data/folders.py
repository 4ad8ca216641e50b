"""Data sets of image files: ImageNet, or a user's own images, and the hooks by which a plan knows them.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import FOR_THE_PLAN_ONLY
from ablate.core.levels import show
from ablate.data import content, files, images
from ablate.data.class_folders import FolderDataset

IMAGENET = f"{files.DOWNLOADS}/imagenet"
"""Where ImageNet is looked for when no root is given."""

SIDE, CROP = 256, 224
"""ImageNet's single crop, in pixels: an image's shorter side, and the square from its centre."""

MOST_FILES_TO_READ_TWICE = 1000
"""More images are decoded by the trials alone, so that a damaged one is noticed only then."""


def imagenet(
    *, root: str | None, valid_fraction: float, multi_crop: bool, workers: int | None, content: str | None = None
) -> FolderDataset:
    """Return ImageNet: 1,281,167 + 50,000 colour images, train/<wnid>/*.JPEG and val/<wnid>/*.JPEG.

    Its classes are the folders that exist, usually 1000. `content`, in a trial's config, identifies other folders.
    Source: Russakovsky et al., arXiv 1409.0575.
    """
    return FolderDataset(Path(str(root or IMAGENET)), "val", False, valid_fraction, SIDE, CROP, workers, multi_crop)


def image_folder(
    *, root: str | None, valid_fraction: float, size: int | None, workers: int | None, content: str | None = None
) -> FolderDataset:
    """Return a user's own images: train/<class>/* and test/<class>/*; to evaluate, <class>/* alone.

    Where all classes are whole numbers, they are the class indices; else a class has its index in the sorted names.
    size: None leaves images as they are; N scales the shorter side to N pixels and cuts the NxN at the centre.
    content: identifies the images, in a trial's config.

    Raises:
        UsageError: there is no root.
    """
    if root is None:
        raise UsageError("dataset.root=null: allowed: a folder that holds train/ and test/")
    folder = Path(str(root))  # Hydra reads a folder named 2024 as a number
    bare = not any((folder / part).is_dir() for part in ("train", "test"))
    return FolderDataset(folder, "." if bare else "test", True, valid_fraction, size, size, workers)


def check(config: Config) -> None:
    """Raise UsageError for a value that is not allowed, or for a given root that lacks a trial's folders."""
    dataset = config["dataset"]
    for key, least in (("workers", 0), ("size", 1)):
        value = dataset.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise UsageError(f"dataset.{key}={show(value)}: allowed: a whole number from {least} up, or null")
    if not isinstance(dataset.get("multi_crop", False), bool):
        raise UsageError(f"dataset.multi_crop={show(dataset['multi_crop'])}: allowed: true, false")
    if dataset["root"] is not None or _is_own(dataset):
        _refuse_missing(config)


def prepare(config: Config) -> None:
    """List the folders, and decode every image once if there are few.

    Raises:
        UsageError: a folder is missing, empty or has a wrong name; or an image is damaged, if there are few.
    """
    _refuse_missing(config)
    data = _unread(config) if _trains(config) else _unread(config).tests_alone()
    splits = [split for split in (data.test, *((data.train, data.valid) if _trains(config) else ())) if split]
    if sum(map(len, splits)) <= MOST_FILES_TO_READ_TWICE:
        for split in splits:
            for item in range(len(split)):
                images.decoded(split.root / split.name(item), split.mode)


look = prepare
"""Nothing is ever downloaded."""


def identify(config: Config) -> str | None:
    """Return what distinguishes these images from others in a trial's identity, wherever their folder is.

    It is a hash of the images of each class in the order in which they are read, links followed; an image that is
    turned as its EXIF says is another than the file by itself, which earlier releases trained on. What is never read
    does not count: hidden files, files beside the class folders, and names. It is None where no folder exists.

    Raises:
        UsageError: a folder is empty or has a wrong name, or a file cannot be read.
    """
    data = _unread(config)
    if not any((data.root / part).is_dir() for part in ("train", data.tests)):
        return None
    return content.identifier(data.content())


def class_names(config: Config) -> tuple[str, ...] | None:
    """Return the names of the classes of a data set in folders; None where they are numbers, or not to be read.

    Args:
        config: of the data set alone.
    """
    data = _unread({"dataset": config}) if "workers" in config and config.get("root") is not None else None
    if data is None or not any((data.root / part).is_dir() for part in ("train", data.tests)):
        return None
    return data.class_names


def _trains(config: Config) -> bool:
    """Return whether it is a trial's config, with a recipe; ablate.evaluate's has none, and needs test images alone."""
    return "recipe" in config


def _refuse_missing(config: Config) -> None:
    data = _unread(config)
    if _trains(config):
        data.refuse_missing("train", "test" if data.tests == "." else data.tests)
    else:
        data.refuse_missing(data.tests)


def _is_own(dataset: Config) -> bool:
    """Return whether it is a user's own images, which have no usual folder, so that a root has to be given."""
    target: str = dataset["_target_"]
    return target.rpartition(".")[2] == "image_folder"


def _unread(config: Config) -> FolderDataset:
    """Return the data set of a config, of which nothing is read yet."""
    makers: Mapping[str, Callable[..., FolderDataset]] = {"imagenet": imagenet, "image_folder": image_folder}
    name, left_out = config["dataset"]["_target_"].rpartition(".")[2], ("_target_", *FOR_THE_PLAN_ONLY)
    return makers[name](**{key: value for key, value in config["dataset"].items() if key not in left_out})
