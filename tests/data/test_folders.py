from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablate import CONF
from ablate.core.errors import UsageError
from ablate.data import folders
from ablate.data.loader import on_device
from ablate.data.splits import Split
from ablate.planning import checks
from tests.support.image_files import CATS, DOGS, EELS, config, halve, made, names, picture, whole


def trial_config(where, name="imagenet", trains=True, **changes):
    """What a hook is given: the config of a trial, or of ablate.evaluate."""
    return {"dataset": config(where, name, **changes)} | ({"recipe": {}} if trains else {})


def test_imagenets_classes_are_the_indices_of_the_sorted_folders(imagenet):
    data = made(imagenet)
    assert (data.classes, data.channels, data.valid) == (3, 3, None)
    assert (len(data.train), len(data.test)) == (15, 6)
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert names(data.test) == [f"val/{wnid}/val_{item}.JPEG" for wnid in (CATS, DOGS, EELS) for item in (0, 1)]


def test_without_a_root_imagenet_is_looked_for_in_data_imagenet(imagenet, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(elsewhere)
    folders.check(trial_config(None))  # a plan may be made where the data are not
    with pytest.raises(UsageError, match=r"data/imagenet/train: there is no such folder; .* holds train/ and val/"):
        folders.prepare(trial_config(None))
    (elsewhere / "data").mkdir()
    (elsewhere / "data" / "imagenet").symlink_to(imagenet)
    folders.prepare(trial_config(None))
    assert len(made(None).test) == 6


def test_a_fixed_share_of_each_class_is_set_aside(imagenet):
    data, again = made(imagenet, valid_fraction=0.2), made(imagenet, valid_fraction=0.2)
    assert data.valid.labels.tolist() == [0, 1, 2]
    assert names(data.valid) == names(again.valid)
    assert sorted(names(data.train) + names(data.valid)) == sorted(names(made(imagenet).train))
    assert names(data.test) == names(made(imagenet).test)


def test_what_is_hidden_and_files_beside_the_class_folders_are_no_images(imagenet):
    (imagenet / "train" / "list.txt").write_text("hello")
    (imagenet / "train" / ".cache").mkdir()
    (imagenet / "train" / CATS / ".DS_Store").write_text("hello")
    folders.prepare(trial_config(imagenet))
    assert len(made(imagenet).train) == 15


def test_a_users_own_images_are_left_as_they_are_and_their_folders_name_the_classes(own):
    data = made(own, "image_folder")
    assert (data.classes, data.channels, len(data.train), len(data.test)) == (2, 1, 8, 4)
    images, labels = whole(on_device(data.test, "cpu"))
    assert labels.tolist() == [0, 0, 1, 1]
    for image, name in zip(images, names(data.test), strict=True):
        assert np.array_equal(image[0], np.array(Image.open(own / name)))


def test_one_image_in_colour_makes_all_of_them_so(own):
    picture(own / "train" / "1" / "colour.png", (8, 8))
    data = made(own, "image_folder")
    assert data.channels == 3
    assert whole(on_device(data.test, "cpu"))[0].shape == (4, 3, 8, 8)


def test_a_size_scales_the_shorter_side_and_crops_the_centre(own):
    picture(own / "test" / "1" / "wide.png", (40, 20), "L")
    images, _ = whole(on_device(made(own, "image_folder", size=16).test, "cpu"))
    assert images.shape == (5, 1, 16, 16)


def test_indices_are_numbers_of_any_length_and_may_leave_some_out(tmp_path):
    for name in ("10", "02", "0"):
        picture(tmp_path / name / "x.png")
    data = made(tmp_path, "image_folder")
    assert (data.classes, data.test.labels.tolist(), names(data.test)) == (
        11,
        [0, 2, 10],
        ["0/x.png", "02/x.png", "10/x.png"],
    )


def named(own):
    """The same images in folders with the names of their classes: 0 is sorted after 1."""
    for part in ("train", "test"):
        (own / part / "0").rename(own / part / "zebra")
        (own / part / "1").rename(own / part / "Ape")
    return own


def test_folders_named_by_class_have_their_index_in_the_sorted_names(own):
    folders.prepare(trial_config(named(own), "image_folder"))
    (own / "train" / ".cache").mkdir()
    data = made(own, "image_folder")
    assert (data.classes, data.class_names, data.by_index) == (2, ("Ape", "zebra"), False)
    assert [Path(name).parts[:2] for name in names(data.test)] == [("test", "Ape")] * 2 + [("test", "zebra")] * 2
    assert data.test.labels.tolist() == [0, 0, 1, 1]


def test_folders_named_by_class_are_identified_by_their_images_as_those_named_by_index_are(own):
    by_index = folders.identify(trial_config(own, "image_folder"))
    assert folders.identify(trial_config(named(own), "image_folder")) != by_index  # the labels are exchanged
    for part in ("train", "test"):
        (own / part / "zebra").rename(own / part / "ant")
        (own / part / "Ape").rename(own / part / "bee")
    assert folders.identify(trial_config(own, "image_folder")) == by_index


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "test" / "Ape").rename(root / "aside"), "test: no class folder Ape, which the other"),
        (lambda root: (root / "train" / "Ape").rename(root / "aside"), "train: no class folder Ape, which the other"),
        (lambda root: picture(root / "test" / "7" / "0.png", (8, 8)), "train: no class folder 7, which the other"),
        (lambda root: [path.unlink() for path in (root / "test" / "Ape").iterdir()], "test/Ape: an empty folder"),
    ],
)
def test_training_and_test_images_have_the_same_classes_by_name(own, change, message):
    folders.prepare(trial_config(named(own), "image_folder"))
    change(own)
    with pytest.raises(UsageError, match=message) as error:
        folders.prepare(trial_config(own, "image_folder"))
    assert "\n" not in str(error.value)


def test_folders_whose_names_are_numbers_have_the_labels_of_a_network_that_has_others_too(tmp_path):
    """A network of the classes 0, 1, 10, 2 and cat has them in the order of their names: 2 is its class 3."""
    picture(tmp_path / "2" / "x.png", (8, 8), "L")
    data = folders.image_folder(root=str(tmp_path), valid_fraction=0, size=None, workers=0).tests_alone()
    assert (data.by_index, data.test.labels.tolist()) == (True, [2])
    named = data.labelled_by(("0", "1", "10", "2", "cat"))
    assert (named.by_index, named.classes, named.test.labels.tolist()) == (False, 5, [3])


def test_a_networks_classes_give_the_labels_of_folders_that_have_some_of_their_names(own):
    known = ("ape", "zebra", "Ape")
    data = made(named(own), "image_folder").tests_alone().labelled_by(known)
    assert (data.classes, data.class_names, data.test.labels.tolist()) == (3, known, [2, 2, 1, 1])
    with pytest.raises(UsageError, match=r"test/zebra: the network has no such class; allowed: Ape, ape$"):
        made(own, "image_folder").tests_alone().labelled_by(("Ape", "ape")).test  # noqa: B018


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: picture(root / "train" / "1" / "9.png", (9, 8)),
            r"train/1/9\.png: 9x8 pixels, where .*0\.png has",
        ),
        (
            lambda root: picture(root / "train" / "cats" / "9.png", (8, 8)),
            "test: no class folder cats, which the other images have",
        ),
        (lambda root: picture(root / "train" / "-1" / "9.png", (8, 8)), "test: no class folder -1, which the other"),
        (lambda root: picture(root / "test" / "2" / "9.png", (8, 8)), "train: no class folder 2, which the other"),
        (lambda root: (root / "train" / "2").mkdir(), "train/2: an empty folder"),
        (lambda root: (root / "test" / "0" / "more").mkdir(), "test/0/more: a folder in the folder of a class"),
        (lambda root: (root / "test").rename(root / "tests"), "test: there is no such folder; allowed: dataset"),
        (lambda root: (root / "train").rename(root / "trains"), "train: there is no such folder; allowed: dataset"),
        (lambda root: (root / "test" / "0" / "x.txt").write_text("hello"), r"test/0/x\.txt: not an image, or of an"),
        (lambda root: (root / "test" / "0" / "x.png").write_bytes(b""), r"test/0/x\.png: not an image, or of an"),
        (lambda root: halve(root / "train" / "0" / "1.png"), r"train/0/1\.png: not a whole image \("),
        (lambda root: Image.new("I;16", (8, 8)).save(root / "test" / "0" / "x.png"), r"x\.png: an image of mode I;16"),
    ],
)
def test_an_error_in_a_users_own_images_is_reported_before_anything_starts(own, change, message):
    folders.prepare(trial_config(own, "image_folder"))
    change(own)
    with pytest.raises(UsageError, match=message) as error:
        folders.prepare(trial_config(own, "image_folder"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "val" / CATS).rename(root / "val" / "n3"), "val: no class folder n02, which the other"),
        (
            lambda root: halve(root / "train" / CATS / "train_1.JPEG"),
            r"train_1\.JPEG: not a whole image \(image file is",
        ),
        (lambda root: flatten(root / "val"), "val: there is no folder in it; allowed: a folder a class"),
    ],
)
def test_an_error_in_imagenets_folders_is_reported_before_anything_starts(imagenet, change, message):
    folders.prepare(trial_config(imagenet))
    change(imagenet)
    with pytest.raises(UsageError, match=message):
        folders.prepare(trial_config(imagenet))


def flatten(folder):
    """Without the folders of the classes, as the validation images of ImageNet are packed."""
    for path in list(folder.glob("*/*")):
        path.rename(folder / path.name)
    for path in list(folder.iterdir()):
        if path.is_dir():
            path.rmdir()


def test_images_that_are_many_are_not_all_decoded_beforehand(imagenet, monkeypatch):
    halve(imagenet / "train" / CATS / "train_1.JPEG")
    monkeypatch.setattr(folders, "MOST_FILES_TO_READ_TWICE", 20)
    folders.prepare(trial_config(imagenet))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("imagenet", {"root": "nowhere"}, "nowhere/train: there is no such folder; allowed: dataset.root=FOLDER"),
        ("imagenet", {"workers": -1}, "dataset.workers=-1: allowed: a whole number from 0 up, or null"),
        ("imagenet", {"multi_crop": 25}, "dataset.multi_crop=25: allowed: true, false"),
        ("image_folder", {"size": 0}, "dataset.size=0: allowed: a whole number from 1 up, or null"),
        ("image_folder", {"size": 2.5}, "dataset.size=2.5: allowed: a whole number from 1 up, or null"),
    ],
)
def test_a_value_that_is_not_allowed_is_reported_by_the_check(own, name, changes, message):
    with pytest.raises(UsageError, match=message):
        folders.check(trial_config(own, name, **changes))


def test_a_root_that_hydra_reads_as_a_number_is_a_folder_all_the_same(own, monkeypatch):
    monkeypatch.chdir(own.rename(own.parent / "2024").parent)
    numbered = {"dataset": {**config(None, "image_folder"), "root": 2024}, "recipe": {}}
    folders.check(numbered)
    folders.prepare(numbered)


def test_folders_are_prepared_without_torch(own):
    script = f"import sys; from ablate.data import folders; folders.prepare({trial_config(own, 'image_folder')})"
    script += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=CONF.parent, check=False).returncode == 0


def test_a_users_own_images_need_a_root_before_a_trial_starts():
    with pytest.raises(UsageError, match=r"dataset\.root=null: allowed: a folder that holds train/ and test/"):
        folders.check(trial_config(None, "image_folder"))


def test_to_evaluate_the_test_images_are_enough(own, imagenet):
    for name, root in (("image_folder", own), ("imagenet", imagenet), ("image_folder", own / "test")):
        folders.check(trial_config(root, name, trains=False))
        folders.prepare(trial_config(root, name, trains=False))
    (own / "train").rename(own / "other")
    folders.prepare(trial_config(own, "image_folder", trains=False))
    assert len(made(own, "image_folder").test) == 4
    with pytest.raises(UsageError, match="train: there is no such folder"):
        made(own, "image_folder").train  # noqa: B018


def test_to_evaluate_the_training_images_may_be_anything(own):
    picture(own / "train" / "cat" / "0.png", (40, 30), "RGB")
    folders.prepare(trial_config(own, "image_folder", trains=False))
    alone = made(own, "image_folder").tests_alone()
    assert (alone.channels, alone.classes, len(alone.test)) == (1, 2, 4)
    with pytest.raises(UsageError, match="test: no class folder cat, which the other images have"):
        folders.prepare(trial_config(own, "image_folder"))


def test_scale_crop_flip_is_for_images_from_folders_of_224_pixels():
    def augmented(dataset):
        return {"recipe": {"augment": "scale_crop_flip"}, "dataset": dataset}

    checks.augment(augmented({"workers": None}))
    checks.augment(augmented({"workers": None, "size": 224}))
    with pytest.raises(
        UsageError, match=r"scale_crop_flip: for images that are read from folders.*: none, crop, light"
    ):
        checks.augment(augmented({"_target_": "ablate.data.datasets.digits"}))
    for size in (None, 32):
        with pytest.raises(
            UsageError, match=r"scale_crop_flip: for images of 224x224 pixels; allowed with dataset.size="
        ):
            checks.augment(augmented({"workers": None, "size": size}))
    with pytest.raises(UsageError, match="scale_crop_flip"):
        on_device(Split(np.zeros((1, 1, 8, 8), np.uint8), np.zeros(1, np.int64)), "cpu", augment="scale_crop_flip")
