"""Data sets of image files, in one folder a class: ImageNet, or anyone's own images.

Nothing here imports torch, and a split that nobody asks for is not read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ablate.core.errors import UsageError
from ablate.core.identity import FOR_THE_PLAN_ONLY
from ablate.core.levels import show
from ablate.data import files, images
from ablate.data.splits import FileSplit, set_aside

IMAGENET = f"{files.DOWNLOADS}/imagenet"
"""Where ImageNet is looked for when no root is given."""

SIDE, CROP = 256, 224
"""ImageNet's single crop, in pixels: an image's shorter side, and the square from its centre."""

IMAGENET_CLASSES = 1000

MOST_FILES_TO_READ_TWICE = 1000
"""More images are decoded by the trials alone, so that a damaged one is found only then."""


@dataclass(frozen=True)
class FolderDataset:
    """The images in the class folders of root/train and root/`tests`.

    by_index: a folder's name is its class index; otherwise a class is the folder's place among the sorted names.
    side, crop, workers: as `FileSplit` has them.
    multi_crop: the test images are to be looked at in many crops too.
    alone: only the test images are looked at.
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
        """The same without its training images: to evaluate, they need not even be there."""
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
        """How many there are; by index, one more than the largest."""
        return 1 + max(self._label_of.values())

    @functools.cached_property
    def mode(self) -> str:
        """ImageNet is in colour; other images are grey if all of them are.

        Raises:
            UsageError: one of them is no image, or one differs in size, and they are to be left as they are.
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
        """The image files of the splits that are there."""
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
        """train/ and the folder of test images, those that are there -> their class folders."""
        parts = (self.tests,) if self.alone else ("train", self.tests)
        return {part: images.folders(self.root / part) for part in parts if (self.root / part).is_dir()}

    @functools.cached_property
    def _label_of(self) -> dict[str, int]:
        """The class folders of the training images, or where those are not here of the test images."""
        if not self._names:
            self.refuse_missing(self.tests)
        for part, names in self._names.items():
            for name in names:
                if self.by_index and not (name.isascii() and name.isdecimal()):
                    raise UsageError(f"{self.root / part / name}: a folder's name is its class index: 0, 1, 2, ...")
        (part, names), *others = self._names.items()
        for other, theirs in others:
            for name in sorted({*theirs} - {*names} if self.by_index else {*theirs} ^ {*names}):
                lacking = part if name in theirs else other
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

    def _items(self, part: str) -> list[tuple[str, str]]:
        """Class folder and file of every image, in the order of the classes."""
        names = [name for name in self._label_of if name in self._names[part]]
        return [(name, file) for name in names for file in images.files(self.root / part / name)]


def imagenet(
    *, root: str | None, valid_fraction: float, multi_crop: bool, workers: int | None, content: str | None = None
) -> FolderDataset:
    """ImageNet: 1,281,167 + 50,000 colour images, train/<wnid>/*.JPEG and val/<wnid>/*.JPEG.

    Its classes are the folders that are there, 1000 of them; `content` says in a trial's config that they are others.
    Source: Russakovsky et al., arXiv 1409.0575.
    """
    return FolderDataset(Path(str(root or IMAGENET)), "val", False, valid_fraction, SIDE, CROP, workers, multi_crop)


def image_folder(
    *, root: str | None, valid_fraction: float, size: int | None, workers: int | None, content: str | None = None
) -> FolderDataset:
    """One's own images: train/<class index>/* and test/<class index>/*, or to evaluate <class index>/* alone.

    size: None leaves images as they are; N scales the shorter side to N pixels and cuts the NxN at the centre.
    content: which images they are, in a trial's config.
    """
    if root is None:
        raise UsageError("dataset.root=null: allowed: a folder that holds train/ and test/")
    folder = Path(str(root))  # Hydra reads a folder named 2024 as a number
    bare = not any((folder / part).is_dir() for part in ("train", "test"))
    return FolderDataset(folder, "." if bare else "test", True, valid_fraction, size, size, workers)


def check(config: Mapping[str, Any]) -> None:
    """Raise UsageError for a value that is not allowed, or a root that is given and lacks a trial's folders."""
    dataset = config["dataset"]
    for key, least in (("workers", 0), ("size", 1)):
        value = dataset.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise UsageError(f"dataset.{key}={show(value)}: allowed: a whole number from {least} up, or null")
    if not isinstance(dataset.get("multi_crop", False), bool):
        raise UsageError(f"dataset.multi_crop={show(dataset['multi_crop'])}: allowed: true, false")
    if dataset["root"] is not None or _is_own(dataset):
        _refuse_missing(config)


def prepare(config: Mapping[str, Any]) -> None:
    """List the folders, and decode every image once if they are few.

    Raises:
        UsageError: a folder is missing, empty or has a wrong name; or, of few images, one is damaged.
    """
    _refuse_missing(config)
    data = _asked(config) if _trains(config) else _asked(config).tests_alone()
    splits = [split for split in (data.test, *((data.train, data.valid) if _trains(config) else ())) if split]
    if sum(map(len, splits)) <= MOST_FILES_TO_READ_TWICE:
        for split in splits:
            for item in range(len(split)):
                images.decoded(split.root / split.name(item), split.mode)


def identify(config: Mapping[str, Any]) -> str | None:
    """What tells these images from others in a trial's identity: wherever they lie, the same files are the same data.

    A hash of the names and sizes of one's own files; of ImageNet's folders only where they are not its 1000 classes.
    None where the folders are not there.
    """
    data = _asked(config)
    parts = [part for part in ("train", data.tests) if (data.root / part).is_dir()]
    if not parts:
        return None
    if not data.by_index:
        names = [[entry.name for entry in os.scandir(data.root / part) if entry.is_dir()] for part in parts]
        return None if all(len(part) == IMAGENET_CLASSES for part in names) else _hashed(sorted(map(sorted, names)))
    return _hashed(
        sorted(
            (str(path.relative_to(data.root)), path.stat().st_size)
            for part in parts
            for path in (data.root / part).rglob("*")
            if path.is_file()
        )
    )


def _hashed(listing: list[Any]) -> str:
    return "c" + hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]


def _trains(config: Mapping[str, Any]) -> bool:
    """A trial's config has a recipe; that of ablate.evaluate, which wants the test images alone, has none."""
    return "recipe" in config


def _refuse_missing(config: Mapping[str, Any]) -> None:
    data = _asked(config)
    if _trains(config):
        data.refuse_missing("train", "test" if data.tests == "." else data.tests)
    else:
        data.refuse_missing(data.tests)


def _is_own(dataset: Mapping[str, Any]) -> bool:
    """One's own images lie nowhere in particular, so that a root has to be given."""
    return dataset["_target_"].rpartition(".")[2] == "image_folder"


def _asked(config: Mapping[str, Any]) -> FolderDataset:
    """The data set of a config, of which nothing is read yet."""
    made: Mapping[str, Callable[..., FolderDataset]] = {"imagenet": imagenet, "image_folder": image_folder}
    name = config["dataset"]["_target_"].rpartition(".")[2]
    return made[name](**{k: v for k, v in config["dataset"].items() if k not in ("_target_", *FOR_THE_PLAN_ONLY)})
