"""Data sets of image files, in one folder per class: ImageNet, or a user's own images.

Nothing here imports torch, and a split is read when it is first used.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import FOR_THE_PLAN_ONLY
from ablate.core.levels import show
from ablate.data import content, files, images
from ablate.data.splits import FileSplit, set_aside

IMAGENET = f"{files.DOWNLOADS}/imagenet"
"""Where ImageNet is looked for when no root is given."""

SIDE, CROP = 256, 224
"""ImageNet's single crop, in pixels: an image's shorter side, and the square from its centre."""

MOST_FILES_TO_READ_TWICE = 1000
"""More images are decoded by the trials alone, so that a damaged one is noticed only then."""


@dataclass(frozen=True)
class FolderDataset:
    """The images in the class folders of root/train and root/`tests`.

    by_index: whether a folder's name is its class index; otherwise it is the folder's index in the sorted names.
    side, crop, workers: as in `FileSplit`.
    multi_crop: whether the test images are evaluated in many crops too.
    alone: whether only the test images are read.
    """

    root: Path
    tests: str
    by_index: bool
    valid_fraction: float
    side: int | None
    crop: int | None
    workers: int | None
    multi_crop: bool = False
    alone: bool = False

    def tests_alone(self) -> FolderDataset:
        """Return the same data set without its training images, which an evaluation does not need."""
        return replace(self, alone=True)

    @property
    def train(self) -> FileSplit:
        return self._train_and_valid[0]

    @property
    def valid(self) -> FileSplit | None:
        return self._train_and_valid[1]

    @functools.cached_property
    def test(self) -> FileSplit:
        return self._split(self.tests)

    @property
    def channels(self) -> int:
        return 1 if self.mode == "L" else 3

    @property
    def classes(self) -> int:
        """The number of classes; one more than the largest index."""
        return 1 + max(self._label_of.values())

    @functools.cached_property
    def mode(self) -> str:
        """Pillow's mode of all images: "RGB" for ImageNet; "L" for other images if every one of them is grey.

        Raises:
            UsageError: a file is not an image; or images differ in size, and `side` does not scale them.
        """
        if not self.by_index:
            return "RGB"
        modes, first = set(), None
        for path in self._every_file():
            mode, size = images.header(path)
            modes.add(mode)
            first = first or (path, size)
            if self.side is None and size != first[1]:
                raise UsageError(
                    f"{path}: {size[0]}x{size[1]} pixels, where {first[0]} has {first[1][0]}x{first[1][1]}; "
                    "allowed: one size, or dataset.size=N to scale and crop them to NxN"
                )
        return "L" if modes <= set(images.GREY) else "RGB"

    def _every_file(self) -> Iterator[Path]:
        """Yield the image files of the splits whose folders exist."""
        for part in self._names:
            yield from (self.root / part / name / file for name, file in self._items(part))

    def refuse_missing(self, *parts: str) -> None:
        """Raise UsageError when the folder of a split is not there."""
        for part in parts:
            if not (self.root / part).is_dir():
                tests = "test/, or to evaluate the class folders alone, 0/, 1/, ..." if self.by_index else "val/"
                allowed = f"dataset.root=FOLDER that holds train/ and {tests}"
                raise UsageError(f"{self.root / part}: there is no such folder; allowed: {allowed}")

    @functools.cached_property
    def _names(self) -> dict[str, list[str]]:
        """The folders of training and test images that exist -> the names of their class folders."""
        parts = (self.tests,) if self.alone else ("train", self.tests)
        return {part: images.folders(self.root / part) for part in parts if (self.root / part).is_dir()}

    @functools.cached_property
    def _label_of(self) -> dict[str, int]:
        """The label of each class folder: of the training images, or of the test images where those are missing."""
        if not self._names:
            self.refuse_missing(self.tests)
        for part, names in self._names.items():
            for name in names:
                if self.by_index and not (name.isascii() and name.isdecimal()):
                    raise UsageError(f"{self.root / part / name}: a folder's name is its class index: 0, 1, 2, ...")
        (part, names), *others = self._names.items()
        for other, other_names in others:
            for name in sorted({*other_names} - {*names} if self.by_index else {*other_names} ^ {*names}):
                lacking = part if name in other_names else other
                raise UsageError(f"{self.root / lacking}: no class folder {name}, which the other images have")
        if self.by_index:
            return {name: int(name) for name in sorted(names, key=int)}
        return {name: label for label, name in enumerate(names)}

    @functools.cached_property
    def _train_and_valid(self) -> tuple[FileSplit, FileSplit | None]:
        whole = self._split("train")
        return set_aside(whole, self.valid_fraction) if self.valid_fraction else (whole, None)

    def _split(self, part: str) -> FileSplit:
        labels = self._label_of
        self.refuse_missing(part)
        items = self._items(part)
        return FileSplit(
            root=self.root,
            paths=np.array([os.fsencode(Path(part, *item)) for item in items]),
            labels=np.array([labels[name] for name, _ in items], np.int64),
            mode=self.mode,
            side=self.side,
            crop=self.crop,
            workers=self.workers,
        )

    def content(self) -> list[tuple[str, int, str]]:
        """Return the split, the label, and the hash of the images of each class folder that exists."""
        labels, names = self._label_of, self._names
        classes = [(part, name) for part in names for name in labels if name in names[part]]
        groups = ((f"{part}/{name}", self._files(part, name)) for part, name in classes)
        hashes = content.group_hashes(self.root, groups)
        return [
            ("train" if part == "train" else "test", labels[name], hashes[f"{part}/{name}"]) for part, name in classes
        ]

    def _files(self, part: str, name: str) -> list[str]:
        """Return the paths of a class folder's images."""
        folder = self.root / part / name
        prefix = f"{folder}{os.sep}"  # os.path.join takes as long as asking for the file's size
        return [prefix + file for file in images.files(folder)]

    def _items(self, part: str) -> list[tuple[str, str]]:
        """Return the class folder and the file name of every image, in the order of the classes."""
        names = [name for name in self._label_of if name in self._names[part]]
        return [(name, file) for name in names for file in images.files(self.root / part / name)]


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
    """Return a user's own images: train/<class index>/* and test/<class index>/*; to evaluate, <class index>/* alone.

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


def identify(config: Config) -> str | None:
    """Return what distinguishes these images from others in a trial's identity, wherever their folder is.

    It is a hash of the images of each class in the order in which they are read, links followed. What is never read
    does not count: hidden files, files beside the class folders, and names. It is None where no folder exists.

    Raises:
        UsageError: a folder is empty or has a wrong name, or a file cannot be read.
    """
    data = _unread(config)
    if not any((data.root / part).is_dir() for part in ("train", data.tests)):
        return None
    return content.identifier(data.content())


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
