"""A data set of image files in one folder per class.

Nothing here imports torch, and a split is read when it is first used.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ablate.core.errors import UsageError
from ablate.data import content, images
from ablate.data.splits import FileSplit, set_aside

SHOWN_CLASSES = 20


@dataclass(frozen=True)
class FolderDataset:
    """The images in the class folders of root/train and root/`tests`.

    is_own: whether they are a user's own, in one mode and of any size; else ImageNet's.
    side, crop, workers: as in `FileSplit`.
    multi_crop: whether the test images are evaluated in many crops too.
    alone: whether only the test images are read.
    known: the names of a network's classes, by which folders that are named by class get their labels; None for the
        order of their own names.
    """

    root: Path
    tests: str
    is_own: bool
    valid_fraction: float
    side: int | None
    crop: int | None
    workers: int | None
    multi_crop: bool = False
    alone: bool = False
    known: tuple[str, ...] | None = None

    def tests_alone(self) -> FolderDataset:
        """Return the same data set without its training images, which an evaluation does not need."""
        return replace(self, alone=True)

    def labelled_by(self, known: tuple[str, ...]) -> FolderDataset:
        """Return the same data set with the labels of a network whose classes have these names."""
        return replace(self, known=known)

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
        return 1 + max(self._label_of.values()) if self.known is None else len(self.known)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The name of each class by its label; None where folders are named by class index."""
        if self.known is not None:
            return self.known
        return None if self.by_index else tuple(self._label_of)

    @functools.cached_property
    def by_index(self) -> bool:
        """Whether every class folder's name is its class index, as 0, 1, 2, ..."""
        return self.is_own and self.known is None and all(n.isascii() and n.isdecimal() for n in self.folder_names)

    @property
    def folder_names(self) -> set[str]:
        """The names of all class folders."""
        return {name for names in self._names.values() for name in names}

    @functools.cached_property
    def mode(self) -> str:
        """Pillow's mode of all images: "RGB" for ImageNet; "L" for other images if every one of them is grey.

        Raises:
            UsageError: a file is not an image; or images differ in size, and `side` does not scale them.
        """
        if not self.is_own:
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
                tests = "test/, or to evaluate the class folders alone" if self.is_own else "val/"
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
        (part, names), *others = self._names.items()
        for other, other_names in others:
            for name in sorted({*other_names} - {*names} if self.by_index else {*other_names} ^ {*names}):
                lacking = part if name in other_names else other
                raise UsageError(f"{self.root / lacking}: no class folder {name}, which the other images have")
        if self.by_index:
            return {name: int(name) for name in sorted(names, key=int)}
        if self.known is None:
            return {name: label for label, name in enumerate(names)}
        for name in names:
            if name not in self.known:
                allowed = ", ".join(self.known[:SHOWN_CLASSES]) + ", ..." * (len(self.known) > SHOWN_CLASSES)
                raise UsageError(f"{self.root / part / name}: the network has no such class; allowed: {allowed}")
        return {name: self.known.index(name) for name in names}

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
        with warnings.catch_warnings():  # here, since threads share the filters
            warnings.simplefilter("ignore")
            hashes = content.group_hashes(self.root, groups, images.sha256_as_turned)
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
