from __future__ import annotations

import numpy as np
import pytest

from ablate.data import datasets


def test_digits_are_whole_stratified_and_stretched_to_255():
    made = datasets.digits(valid_fraction=0.1)
    assert (len(made.train), len(made.valid), len(made.test)) == (1293, 144, 360)
    assert made.train.images.shape[1:] == (1, 8, 8)
    assert (made.train.images.min(), made.train.images.max()) == (0, 255)
    for split in (made.train, made.valid, made.test):
        shares = np.bincount(split.labels) / len(split)
        assert shares == pytest.approx(np.full(10, 0.1), abs=0.015)


def test_no_image_is_in_two_splits_and_none_is_lost():
    with_valid, without = datasets.digits(valid_fraction=0.1), datasets.digits(valid_fraction=0)
    assert without.valid is None
    assert np.array_equal(with_valid.test.images, without.test.images)
    together = [*map(bytes, with_valid.train.images), *map(bytes, with_valid.valid.images)]
    assert sorted(together) == sorted(map(bytes, without.train.images))


def test_splits_are_the_same_every_time():
    np.random.seed(7)
    first, second = datasets.digits(valid_fraction=0.1), datasets.digits(valid_fraction=0.1)
    assert np.array_equal(first.valid.images, second.valid.images)


def test_synthetic_images_have_the_requested_shape_and_repeat():
    values = {
        "train_items": 50,
        "test_items": 20,
        "channels": 3,
        "size": 12,
        "classes": 5,
        "noise": 0.5,
        "data_seed": 3,
    }
    made, again = (datasets.synthetic(valid_fraction=0.2, **values) for _ in range(2))
    assert made.train.images.shape == (40, 3, 12, 12)
    assert made.train.images.dtype == np.uint8
    assert (len(made.valid), len(made.test), made.classes, made.channels) == (10, 20, 5, 3)
    assert np.array_equal(made.train.images, again.train.images)


def test_synthetic_classes_can_be_distinguished():
    made = datasets.synthetic(
        valid_fraction=0, train_items=200, test_items=100, channels=1, size=8, classes=4, noise=1.0, data_seed=0
    )
    centres = np.stack([made.train.images[made.train.labels == c].mean(0) for c in range(4)])
    distance = ((made.test.images[:, None] - centres[None]) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == made.test.labels).mean() > 0.95
