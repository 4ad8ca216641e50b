"""Splits that are drawn for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from ablate.core.errors import UsageError
from ablate.data.datasets import digits
from ablate.data.folders import image_folder
from ablate.data.resampling import resampled

RESPLIT, BOOTSTRAP = {"resplit": True}, {"bootstrap": "train"}


def drawn(images, seed, **options):
    return resampled(images, {"seed": seed, **options})


def items(split):
    return [image.tobytes() for image in split.images]


@pytest.fixture(scope="module")
def images():
    return digits(valid_fraction=0.1)


def test_by_default_every_seed_has_the_data_set_itself(images):
    assert drawn(images, 3) is images
    assert drawn(images, 3, resplit=False, bootstrap="none") is images


def test_a_new_split_has_the_same_images_in_other_halves_and_every_class_its_share(images):
    first, second, again = drawn(images, 0, **RESPLIT), drawn(images, 1, **RESPLIT), drawn(images, 0, **RESPLIT)
    whole = sorted(items(images.train) + items(images.valid))
    for new in (first, second):
        assert sorted(items(new.train) + items(new.valid)) == whole
        assert np.bincount(new.valid.labels).tolist() == np.bincount(images.valid.labels).tolist()
    assert items(first.valid) == items(again.valid)
    assert len({*items(first.valid)} & {*items(second.valid)}) < 0.3 * len(images.valid)
    assert first.test is images.test


def test_a_bootstrap_draws_as_many_training_images_with_replacement(images):
    new = drawn(images, 0, **BOOTSTRAP)
    assert len(new.train) == len(images.train)
    assert len({*items(new.train)}) / len(images.train) == pytest.approx(1 - np.exp(-1), abs=0.03)
    assert new.valid is images.valid
    assert items(drawn(images, 0, **BOOTSTRAP).train) == items(new.train) != items(drawn(images, 1, **BOOTSTRAP).train)


def test_after_a_new_split_the_bootstrap_draws_from_its_training_images(images):
    new = drawn(images, 0, **RESPLIT, **BOOTSTRAP)
    assert {*items(new.train)} <= {*items(drawn(images, 0, **RESPLIT).train)}


def test_images_in_files_are_drawn_too(own):
    folder = image_folder(root=str(own), valid_fraction=0.25, size=None, workers=0)
    new = drawn(folder, 0, **RESPLIT)
    whole = {*folder.train.paths.tolist(), *folder.valid.paths.tolist()}
    assert {*new.train.paths.tolist(), *new.valid.paths.tolist()} == whole
    assert len(new.valid) == len(folder.valid)
    assert (new.classes, new.channels, new.multi_crop) == (folder.classes, folder.channels, folder.multi_crop)


def test_without_validation_images_there_is_nothing_to_deal():
    with pytest.raises(UsageError, match=r"^resplit=true: no image is set aside for validation; allowed: dataset"):
        drawn(digits(valid_fraction=0), 0, **RESPLIT)


def test_a_plan_says_so_before_anything_starts(folder, say):
    status, _, err = say("ablate.run", "-m", "norm=bn,srelu", "resplit=true", "dataset.valid_fraction=0", "mode=plan")
    assert status == 2
    assert err.startswith("resplit=true: with dataset.valid_fraction=0 there are no validation images to deal anew")


def test_arms_share_a_seeds_draw_and_old_trials_keep_their_ids(planned):
    ids = [
        {trial.trial_id for trial in planned("norm=bn,srelu", *words).study.trials}
        for words in ((), ("resplit=false", "bootstrap=none"), ("resplit=true",), ("bootstrap=train",))
    ]
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]
    assert not ids[2] & ids[3]
