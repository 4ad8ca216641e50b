from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from PIL import Image

from ablate import store, train, trial
from ablate.design import Mistake
from ablate.events import Done, Epoch
from ablate.parts import checks, folders, stream
from ablate.parts.loader import on_device
from ablate.parts.splits import Split
from tests.fakes import make_trial

RNG = np.random.default_rng(0)
CATS, DOGS, EELS = "n02", "n10", "n9"


def picture(path, size=(40, 30), mode="RGB", value=None):
    """A random image, or one of a single value; its format is that of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] + ((3,) if mode == "RGB" else ())
    pixels = RNG.integers(0, 256, shape) if value is None else np.full(shape, value)
    Image.fromarray(pixels.astype(np.uint8)).save(path, "JPEG" if path.suffix == ".JPEG" else "PNG")


@pytest.fixture
def imagenet(tmp_path):
    """In ImageNet's layout: 3 classes, 5 training and 2 test images each, of many sizes."""
    for label, wnid in enumerate((DOGS, CATS, EELS)):
        for part, items in (("train", 5), ("val", 2)):
            for item in range(items):
                size = (60 + 7 * item, 50 + 11 * label)
                picture(tmp_path / "imagenet" / part / wnid / f"{part}_{item}.JPEG", size)
    return tmp_path / "imagenet"


@pytest.fixture
def own(tmp_path):
    """One's own images: 2 classes, 4 training and 2 test images each, 8x8 and grey."""
    for label in (0, 1):
        for part, items in (("train", 4), ("test", 2)):
            for item in range(items):
                picture(tmp_path / "own" / part / str(label) / f"{item}.png", (8, 8), "L")
    return tmp_path / "own"


def made(root, name="imagenet", **changes):
    """The data set; for a folder of one's own, name="image_folder"."""
    own = {"multi_crop": False} if name == "imagenet" else {"size": None}
    return getattr(folders, name)(**({"root": root and str(root), "valid_fraction": 0, "workers": 0, **own} | changes))


def asked(where, name="imagenet", trains=True, **changes):
    own = {"multi_crop": False} if name == "imagenet" else {"size": None}
    dataset = {"_target_": f"ablate.parts.folders.{name}", "root": where and str(where), "workers": 0}
    return {"dataset": {**dataset, "valid_fraction": 0, **own, **changes}} | ({"recipe": {}} if trains else {})


def whole(loader, size=2, order=None):
    """All of a loader's batches as one."""
    return tuple(map(torch.cat, zip(*loader.batches(size, order), strict=True)))


def names(split):
    return [split.name(item) for item in range(len(split))]


def test_imagenets_classes_are_the_places_of_the_sorted_folders(imagenet):
    data = made(imagenet)
    assert (data.classes, data.channels, data.valid) == (3, 3, None)
    assert (len(data.train), len(data.test)) == (15, 6)
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert names(data.test) == [f"val/{wnid}/val_{item}.JPEG" for wnid in (CATS, DOGS, EELS) for item in (0, 1)]


def test_without_a_root_imagenet_is_looked_for_in_data_imagenet(imagenet, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(elsewhere)
    folders.check(asked(None))  # a plan may be made where the data are not
    with pytest.raises(Mistake, match=r"data/imagenet/train: there is no such folder; .* holds train/ and val/"):
        folders.prepare(asked(None))
    (elsewhere / "data").mkdir()
    (elsewhere / "data" / "imagenet").symlink_to(imagenet)
    folders.prepare(asked(None))
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
    folders.prepare(asked(imagenet))
    assert len(made(imagenet).train) == 15


def test_the_single_crop_is_224_at_the_centre_of_a_shorter_side_of_256(tmp_path):
    """A bright square in the middle, of known size, says where the crop lies and at what scale."""
    image = np.zeros((100, 300, 3), np.uint8)
    image[40:60, 140:160] = 255
    (tmp_path / "val" / "a").mkdir(parents=True)
    Image.fromarray(image).save(tmp_path / "val" / "a" / "x.png")
    images, _ = whole(on_device(made(tmp_path).test, "cpu"))
    assert (images.shape, images.dtype) == ((1, 3, 224, 224), torch.uint8)
    bright = (images[0, 0] > 127).nonzero()
    assert (bright.min(0).values - torch.tensor([86, 86])).abs().max() <= 1  # 112 - 20 * 2.56 / 2
    assert (bright.max(0).values - torch.tensor([137, 137])).abs().max() <= 1


def test_scale_crop_flip_gives_224_crops_of_many_scales_of_which_half_are_flipped(tmp_path):
    """In a ramp of 0 to 250 over 250 columns, the step between columns tells the scale and its sign the flip."""
    ramp = np.broadcast_to(np.arange(250, dtype=np.uint8)[None, :, None], (250, 250, 3))
    (tmp_path / "train" / "a").mkdir(parents=True)
    for item in range(4):
        Image.fromarray(ramp.copy()).save(tmp_path / "train" / "a" / f"{item}.png")
    loader = on_device(made(tmp_path).train, "cpu", augment="scale_crop_flip")
    order = torch.Generator().manual_seed(0)
    seen = torch.cat([whole(loader, order=order)[0] for _ in range(50)])
    assert seen.shape == (200, 3, 224, 224)
    slopes = (seen[:, 0, 100, 214].int() - seen[:, 0, 100, 10].int()) / 204
    sides = 250 / slopes.abs()
    assert (sides.min() - 256).abs() < 8
    assert (sides.max() - 480).abs() < 8
    assert abs(sides.mean().item() - 368) < 20
    assert 0.4 < (slopes < 0).float().mean() < 0.6
    left = torch.minimum(seen[:, 0, 100, 0], seen[:, 0, 100, -1]) / 250
    assert left.max() > 0.3  # up to (480 - 224) / 480


def test_batches_are_the_same_whatever_the_number_of_workers(imagenet):
    def seen(workers):
        order = torch.Generator().manual_seed(3)
        loader = on_device(made(imagenet, workers=workers).train, "cpu", augment="scale_crop_flip")
        return [batch for _ in range(2) for batch in loader.batches(4, order)]

    alone, two = seen(0), seen(2)
    assert [len(labels) for _, labels in alone] == [4, 4, 4, 3] * 2
    for (images, labels), (others, theirs) in zip(alone, two, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, theirs)
    assert not torch.equal(alone[0][0], alone[4][0])  # another epoch, other draws


def test_the_number_of_workers_is_the_trials_threads_unless_said(imagenet):
    workers = [on_device(made(imagenet, workers=said).test, "cpu", threads=3).workers for said in (None, 0, 2)]
    assert workers == [3, 0, 2]


def test_reading_leaves_torchs_global_generator_alone(imagenet):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole(on_device(made(imagenet).train, "cpu", augment="scale_crop_flip"), order=torch.Generator())
    assert torch.equal(torch.get_rng_state(), before)


class Greyness(torch.nn.Module):
    """3 classes by the mean of an image, and not linear in it."""

    def forward(self, images):
        mean = images.mean((1, 2, 3)) / 32
        return torch.stack([mean.sin(), mean.cos(), (2 * mean).sin()], 1) * 3


def test_the_multi_crop_test_takes_5_positions_at_5_scales_and_averages_their_softmax(imagenet):
    split = made(imagenet).test
    images, labels = whole(on_device(split, "cpu", many_crops=True))
    assert images.shape == (6, 25, 3, 224, 224)
    for item, crops in enumerate(images):
        path = imagenet / split.name(item)
        pixels = torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0)
        for place, side in enumerate((224, 256, 384, 480, 640)):
            shorter = min(pixels.shape[1:])
            scaled = [side if n == shorter else int(side * n / shorter) for n in pixels.shape[1:]]
            large = torch.nn.functional.interpolate(
                pixels[None].float(), size=scaled, mode="bilinear", antialias=True, align_corners=False
            )[0]
            for crop in crops[5 * place : 5 * place + 5]:
                assert nearest(crop.float(), large) < 1.5  # they are whole numbers
    probabilities = torch.stack([Greyness()(crops.float()).softmax(1).mean(0) for crops in images])
    by_hand = (probabilities.argmax(1) == labels).float().mean().item()
    assert train.multi_crop_acc(Greyness(), on_device(split, "cpu", many_crops=True)) == pytest.approx(by_hand)


def nearest(crop, large):
    """The largest difference to the window of `large` that is most like `crop`."""
    windows = large[0].unfold(0, 224, 1).unfold(1, 224, 1)
    column = (windows[:, :, ::56, ::56] - crop[0, ::56, ::56]).abs().sum((2, 3))
    top, left = divmod(int(column.argmin()), column.shape[1])
    return (large[:, top : top + 224, left : left + 224] - crop).abs().max()


def test_the_multi_crop_test_repeats_and_its_positions_differ_between_images(imagenet):
    same = imagenet / "val" / CATS
    picture(same / "val_0.JPEG")
    (same / "val_1.JPEG").write_bytes((same / "val_0.JPEG").read_bytes())
    first, again = (whole(on_device(made(imagenet).test, "cpu", many_crops=True))[0] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])


def test_ones_own_images_are_as_they_are_and_their_folders_name_the_classes(own):
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda root: picture(root / "train" / "1" / "9.png", (9, 8)),
            r"train/1/9\.png: 9x8 pixels, where .*0\.png has",
        ),
        (
            lambda root: picture(root / "train" / "cats" / "9.png", (8, 8)),
            "train/cats: a folder's name is its class index",
        ),
        (lambda root: picture(root / "train" / "-1" / "9.png", (8, 8)), "train/-1: a folder's name is its class index"),
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
def test_what_is_wrong_with_ones_own_images_is_told_before_anything_starts(own, change, told):
    folders.prepare(asked(own, "image_folder"))
    change(own)
    with pytest.raises(Mistake, match=told) as mistake:
        folders.prepare(asked(own, "image_folder"))
    assert "\n" not in str(mistake.value)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: (root / "val" / CATS).rename(root / "val" / "n3"), "val: no class folder n02, which the other"),
        (
            lambda root: halve(root / "train" / CATS / "train_1.JPEG"),
            r"train_1\.JPEG: not a whole image \(image file is",
        ),
        (lambda root: flatten(root / "val"), "val: there is no folder in it; allowed: a folder a class"),
    ],
)
def test_what_is_wrong_with_imagenet_is_told_before_anything_starts(imagenet, change, told):
    folders.prepare(asked(imagenet))
    change(imagenet)
    with pytest.raises(Mistake, match=told):
        folders.prepare(asked(imagenet))


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
    folders.prepare(asked(imagenet))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_found_while_streaming_is_named_in_one_line(imagenet, workers):
    halve(imagenet / "train" / CATS / "train_1.JPEG")
    with pytest.raises(Mistake, match=r"n02/train_1\.JPEG: not a whole image \(image file is truncated") as told:
        whole(on_device(made(imagenet, workers=workers).train, "cpu"))
    assert "\n" not in str(told.value)


def test_a_trial_that_meets_a_damaged_image_has_failed_and_says_which(imagenet, tmp_path):
    halve(imagenet / "train" / CATS / "train_1.JPEG")
    config = trial_config(asked(imagenet, workers=1)["dataset"], "scale_crop_flip")
    one = dataclasses.replace(make_trial(0), config=config)
    run = functools.partial(trial.run, threads=1, device="cpu")
    failed = list(store.attempt(run, one, tmp_path / "runs"))[-1]
    assert failed.kind == "error"
    assert failed.reason.startswith(f"{imagenet}/train/n02/train_1.JPEG: not a whole image (image file is truncated")


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("imagenet", {"root": "nowhere"}, "nowhere/train: there is no such folder; allowed: dataset.root=FOLDER"),
        ("imagenet", {"workers": -1}, "dataset.workers=-1: allowed: a whole number from 0 up, or null"),
        ("imagenet", {"multi_crop": 25}, "dataset.multi_crop=25: allowed: true, false"),
        ("image_folder", {"size": 0}, "dataset.size=0: allowed: a whole number from 1 up, or null"),
        ("image_folder", {"size": 2.5}, "dataset.size=2.5: allowed: a whole number from 1 up, or null"),
    ],
)
def test_a_value_that_is_not_allowed_is_told_by_the_check(own, name, changes, told):
    with pytest.raises(Mistake, match=told):
        folders.check(asked(own, name, **changes))


def test_ones_own_images_need_a_root_before_a_trial_starts():
    folders.check(asked(None, "image_folder"))
    with pytest.raises(Mistake, match=r"dataset\.root=null: allowed: a folder that holds train/ and test/"):
        folders.prepare(asked(None, "image_folder"))


def test_to_evaluate_the_test_images_are_enough(own, imagenet):
    for name, root in (("image_folder", own), ("imagenet", imagenet), ("image_folder", own / "test")):
        folders.check(asked(root, name, trains=False))
        folders.prepare(asked(root, name, trains=False))
    (own / "train").rename(own / "other")
    folders.prepare(asked(own, "image_folder", trains=False))
    assert len(made(own, "image_folder").test) == 4
    with pytest.raises(Mistake, match="train: there is no such folder"):
        made(own, "image_folder").train  # noqa: B018


def test_scale_crop_flip_is_for_images_from_folders_of_224_pixels():
    def config(dataset):
        return {"recipe": {"augment": "scale_crop_flip"}, "dataset": dataset}

    checks.augment(config({"workers": None}))
    checks.augment(config({"workers": None, "size": 224}))
    with pytest.raises(Mistake, match=r"scale_crop_flip: for images that are read from folders.*: none, crop, light"):
        checks.augment(config({"_target_": "ablate.parts.data.digits"}))
    for size in (None, 32):
        with pytest.raises(Mistake, match=r"scale_crop_flip: for images of 224x224 pixels; allowed with dataset.size="):
            checks.augment(config({"workers": None, "size": size}))
    with pytest.raises(Mistake, match="scale_crop_flip"):
        on_device(Split(np.zeros((1, 1, 8, 8), np.uint8), np.zeros(1, np.int64)), "cpu", augment="scale_crop_flip")


def test_constants_agree():
    assert folders.CROP == stream.CROP


BN = {"_target_": "ablate.parts.norm.bn", "affine": True, "eps": 1e-5}
SRELU = {"_target_": "ablate.parts.norm.srelu", "floor": -1, "temperature": 10}


def trial_config(dataset, augment, **changes):
    recipe = {"epochs": 1, "batch_size": 6, "lr": 0.01, "lr_floor": 1e-4, "schedule": "warm_restarts", "momentum": 0.9}
    return {
        "model": {"_target_": "ablate.parts.imagenet_resnet.ImageNetResNet", "_partial_": True},
        "norm": BN,
        "dataset": dataset,
        "recipe": {**recipe, "weight_decay": 1e-4, "augment": augment, "moments": "reestimated"},
        "bits": 1,
        "depth": 10,
        "width": 0.25,
        "seed": 0,
    } | changes


def numbers(config, folder):
    events = list(trial.run(config, folder, threads=1, device="cpu"))
    assert isinstance(events[-1], Done)
    kept = [event.metrics for event in events if isinstance(event, Epoch | Done)]
    return [{key: value for key, value in metrics.items() if key != "wall_s"} for metrics in kept], events[-1]


def test_a_trial_on_imagenets_layout_repeats_with_any_number_of_workers(imagenet, folder):
    def done(workers):
        dataset = {**asked(imagenet, workers=workers)["dataset"], "valid_fraction": 0.2, "multi_crop": True}
        return numbers(trial_config(dataset, "scale_crop_flip"), folder)

    alone, end = done(0)
    assert done(1)[0] == alone
    assert {"test_acc", "test_acc_multicrop", "valid_acc"} <= set(alone[-1])
    assert end.labels == [0, 0, 1, 1, 2, 2]
    assert len(end.predicted) == 6


@pytest.mark.parametrize("augment", ["none", "cutout"])
def test_a_trial_on_ones_own_images_trains_in_every_arm_on_the_same_data(own, folder, augment, monkeypatch):
    def seen(norm):
        batches = []
        real = stream.Streamed.batches

        def kept(self, *arguments):
            for batch in real(self, *arguments):
                batches.append(batch)
                yield batch

        monkeypatch.setattr(stream.Streamed, "batches", kept)
        model = {"_target_": "ablate.parts.wrn.WideResNet", "_partial_": True}
        config = trial_config(asked(own, "image_folder")["dataset"], augment, model=model, depth=8, width=1, norm=norm)
        numbers(config, folder)
        monkeypatch.setattr(stream.Streamed, "batches", real)
        return batches[:2]  # those of the epoch: 8 images, 6 a batch

    for ours, theirs in zip(seen(BN), seen(SRELU), strict=True):
        assert all(map(torch.equal, ours, theirs))
