from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from PIL import Image

from ablate.core.errors import UsageError
from ablate.core.events import Done, Epoch
from ablate.data import folders, stream
from ablate.data.loader import on_device
from ablate.store import run_directory
from ablate.tasks import image_classification
from ablate.training import evaluation
from ablate.training.compute import Compute
from tests.support.fakes import TIMES, make_trial
from tests.support.image_files import CATS, config, halve, made, picture, whole
from tests.tasks.test_image_classification import RECIPE


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


def test_the_number_of_workers_is_the_trials_threads_unless_the_config_has_one(imagenet):
    made_workers = [
        on_device(made(imagenet, workers=workers).test, "cpu", threads=3).workers for workers in (None, 0, 2)
    ]
    assert made_workers == [3, 0, 2]


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
        for scale, side in enumerate((224, 256, 384, 480, 640)):
            shorter = min(pixels.shape[1:])
            scaled = [side if n == shorter else int(side * n / shorter) for n in pixels.shape[1:]]
            large = torch.nn.functional.interpolate(
                pixels[None].float(), size=scaled, mode="bilinear", antialias=True, align_corners=False
            )[0]
            for crop in crops[5 * scale : 5 * scale + 5]:
                assert nearest(crop.float(), large) < 1.5  # they are whole numbers
    probabilities = torch.stack([Greyness()(crops.float()).softmax(1).mean(0) for crops in images])
    by_hand = (probabilities.argmax(1) == labels).float().mean().item()
    crops = on_device(split, "cpu", many_crops=True)
    assert evaluation.multi_crop_acc(Greyness(), crops, Compute("cpu")) == pytest.approx(by_hand)


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_found_while_streaming_is_named_in_one_line(imagenet, workers):
    halve(imagenet / "train" / CATS / "train_1.JPEG")
    with pytest.raises(UsageError, match=r"n02/train_1\.JPEG: not a whole image \(image file is truncated") as error:
        whole(on_device(made(imagenet, workers=workers).train, "cpu"))
    assert "\n" not in str(error.value)


def test_a_trial_that_meets_a_damaged_image_has_failed_and_says_which(imagenet, tmp_path):
    halve(imagenet / "train" / CATS / "train_1.JPEG")
    made = trial_config(config(imagenet, workers=1), "scale_crop_flip")
    trial = dataclasses.replace(make_trial(0), config=made)
    run = functools.partial(image_classification.run, threads=1, device="cpu")
    failed = list(run_directory.attempt(run, trial, tmp_path / "runs"))[-1]
    assert failed.kind == "error"
    assert failed.reason.startswith(f"{imagenet}/train/n02/train_1.JPEG: not a whole image (image file is truncated")


def test_constants_agree():
    assert folders.CROP == stream.CROP


BN = {"_target_": "ablate.networks.norm.bn", "affine": True, "eps": 1e-5}
SRELU = {"_target_": "ablate.networks.norm.srelu", "floor": -1, "temperature": 10}


def trial_config(dataset, augment, **changes):
    return {
        "model": {"_target_": "ablate.networks.imagenet_resnet.ImageNetResNet", "_partial_": True},
        "norm": BN,
        "dataset": dataset,
        "recipe": {**RECIPE, "epochs": 1, "batch_size": 6, "lr": 0.01, "weight_decay": 1e-4, "augment": augment},
        "bits": 1,
        "depth": 10,
        "width": 0.25,
        "seed": 0,
    } | changes


def numbers(made, folder):
    events = list(image_classification.run(made, folder, threads=1, device="cpu"))
    assert isinstance(events[-1], Done)
    kept = [event.metrics for event in events if isinstance(event, Epoch | Done)]
    return [{key: value for key, value in metrics.items() if key not in TIMES} for metrics in kept], events[-1]


def test_a_trial_on_imagenets_layout_repeats_with_any_number_of_workers(imagenet, folder):
    def done(workers):
        dataset = config(imagenet, workers=workers, valid_fraction=0.2, multi_crop=True)
        return numbers(trial_config(dataset, "scale_crop_flip"), folder)

    alone, end = done(0)
    assert done(1)[0] == alone
    assert {"test_acc", "test_acc_multicrop", "valid_acc"} <= set(alone[-1])
    assert end.labels == [0, 0, 1, 1, 2, 2]
    assert len(end.predicted) == 6


@pytest.mark.parametrize("augment", ["none", "cutout"])
def test_a_trial_on_a_users_own_images_trains_in_every_arm_on_the_same_data(own, folder, augment, monkeypatch):
    def seen(norm):
        batches = []
        real = stream.Streamed.batches

        def kept(self, *arguments, **options):
            for batch in real(self, *arguments, **options):
                batches.append(batch)
                yield batch

        monkeypatch.setattr(stream.Streamed, "batches", kept)
        model = {"_target_": "ablate.networks.wrn.WideResNet", "_partial_": True}
        shape = {"model": model, "depth": 8, "width": 1, "norm": norm}
        numbers(trial_config(config(own, "image_folder"), augment, **shape), folder)
        monkeypatch.setattr(stream.Streamed, "batches", real)
        return batches[:2]  # those of the epoch: 8 images, 6 a batch

    for ours, theirs in zip(seen(BN), seen(SRELU), strict=True):
        assert all(map(torch.equal, ours, theirs))
