"""Data drawn for a trial's seed, so that the spread over seeds holds that of the data too.

With fixed splits seeds differ in initial weights, order and augmentation alone. Which images happened to be in the
training set moves accuracies more: Bouthillier et al. (2021), Accounting for variance in machine learning benchmarks.
All arms with one seed get the same data, so that their margin stays paired. The test set is never drawn.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.data.splits import FileSplit, ImageDataset, Split, set_aside

_OF_SPLIT, _OF_BOOTSTRAP = 1, 2
"""What sets the two draws of a seed apart."""


@dataclass(frozen=True, eq=False)
class ResampledDataset:
    """A data set whose splits are drawn for a seed; the rest is that of `images`.

    resplit: whether training and validation images are dealt anew, as many as before, every class with its share.
    bootstrap: whether as many training images as there are are then drawn with replacement.
    """

    images: ImageDataset
    seed: int
    resplit: bool
    bootstrap: bool

    @property
    def train(self) -> Split | FileSplit:
        return self._train_and_valid[0]

    @property
    def valid(self) -> Split | FileSplit | None:
        return self._train_and_valid[1]

    @property
    def test(self) -> Split | FileSplit:
        return self.images.test

    @property
    def classes(self) -> int:
        return self.images.classes

    @property
    def channels(self) -> int:
        return self.images.channels

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes of images in folders that are named so."""
        return getattr(self.images, "class_names", None)

    @property
    def multi_crop(self) -> bool:
        return self.images.multi_crop

    @functools.cached_property
    def _train_and_valid(self) -> tuple[Split | FileSplit, Split | FileSplit | None]:
        train, valid = self.images.train, self.images.valid
        if self.resplit and valid is not None:
            fraction = len(valid) / (len(train) + len(valid))
            train, valid = set_aside(train.joined(valid), fraction, (self.seed, _OF_SPLIT))  # type: ignore[arg-type, type-var]
        if self.bootstrap:
            rng = np.random.RandomState((self.seed, _OF_BOOTSTRAP))
            train = train.only(np.sort(rng.randint(0, len(train), len(train))))
        return train, valid


def resampled(images: ImageDataset, config: Config) -> ImageDataset:
    """Return the data set of a trial's config as its seed draws it; as it is where nothing is to be drawn.

    Raises:
        UsageError: resplit=true, and nothing is set aside for validation.
    """
    resplit, bootstrap = bool(config.get("resplit")), config.get("bootstrap", "none") == "train"
    if resplit and images.valid is None:
        raise UsageError("resplit=true: no image is set aside for validation; allowed: dataset.valid_fraction=0.1, say")
    if not (resplit or bootstrap):
        return images
    return ResampledDataset(images, config["seed"], resplit, bootstrap)
