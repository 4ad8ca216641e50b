from __future__ import annotations

import math

import pytest
import torch

from ablate.data import augment
from ablate.training import schedule


@pytest.mark.parametrize(
    ("epochs", "cycles"), [(1, [1]), (2, [2]), (5, [2, 3]), (6, [2, 4]), (14, [2, 4, 8]), (30, [2, 4, 8, 16])]
)
def test_each_cycle_of_warm_restarts_is_a_cosine_from_one_to_the_floor(epochs, cycles):
    steps, floor = 7, 1e-4
    expected = [
        floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * batch / (length * steps - 1)))
        for length in cycles
        for batch in range(length * steps)
    ]
    got = [
        schedule.warm_restarts(step, steps_per_epoch=steps, epochs=epochs, floor=floor)
        for step in range(epochs * steps)
    ]
    assert got == pytest.approx(expected, abs=1e-12)
    assert got[-1] == pytest.approx(floor)


def test_a_single_cosine_falls_from_one_to_the_floor():
    got = [schedule.cosine(step, steps_per_epoch=5, epochs=3, floor=0.01) for step in range(15)]
    assert (got[0], got[-1]) == (1.0, pytest.approx(0.01))
    assert got == sorted(got, reverse=True)


def test_the_step_schedule_drops_tenfold_after_85_and_170_epochs_at_every_batch():
    steps = 3
    got = [schedule.step(batch, steps_per_epoch=steps, epochs=254, floor=1e-4) for batch in range(254 * steps)]
    assert got == pytest.approx([1.0] * 85 * steps + [0.1] * 85 * steps + [0.01] * 84 * steps)


def test_a_single_batch_has_the_initial_rate():
    assert schedule.warm_restarts(0, steps_per_epoch=1, epochs=1, floor=0.1) == 1.0


def images(n=64, channels=3, size=8):
    return torch.randint(
        0, 256, (n, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("name", ["none", "crop", "light", "cutout"])
def test_augmentation_keeps_shape_and_type_and_repeats_with_its_generator(name):
    function = getattr(augment, name)
    first, second = (function(images(), torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == images().shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, second)


def test_no_augmentation_leaves_images_and_generator_alone():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert augment.none(images(), generator) is not None
    assert torch.equal(generator.get_state(), before)


def test_every_crop_is_the_image_at_one_of_all_offsets_over_noise():
    marked = torch.zeros(4000, 1, 8, 8, dtype=torch.uint8)
    marked[:] = torch.arange(1, 65, dtype=torch.uint8).reshape(8, 8)
    cropped = augment.crop(marked, torch.Generator().manual_seed(1))
    seen = set()
    for item in cropped[:, 0]:
        fits = [
            (top, left)
            for top in range(-4, 5)
            for left in range(-4, 5)
            if torch.equal(
                item[max(0, -top) : 8 - max(0, top), max(0, -left) : 8 - max(0, left)],
                marked[0, 0, max(0, top) : 8 + min(0, top), max(0, left) : 8 + min(0, left)],
            )
        ]
        assert fits
        seen.add(fits[0])
    assert len(seen) == 81


def patches(n, generator, size=32):
    """(n, size, size): what cutout changed in images that cropping and flipping cannot change but at the border."""
    blank = torch.full((n, 1, size, size), 300 % 256, dtype=torch.uint8)
    return augment.cutout(blank, generator)[:, 0] != 300 % 256


def test_a_cutout_covers_every_pixel_equally_often(monkeypatch):
    monkeypatch.setattr(augment, "light", lambda images, generator: images)
    n, size = 40_000, 32
    share = patches(n, torch.Generator().manual_seed(5)).double().mean(0)
    expected = (18 / (size + 17)) ** 2 * 255 / 256  # a random pixel equals the blank one once in 256
    spread = (expected * (1 - expected) / n) ** 0.5
    assert (share - expected).abs().max() < 5 * spread


def test_a_cutout_is_one_square_of_18_that_may_hang_over_the_border(monkeypatch):
    monkeypatch.setattr(augment, "light", lambda images, generator: images)
    changed = patches(3000, torch.Generator().manual_seed(6))
    sides = set()
    for item in changed:
        rows, columns = item.any(1).nonzero()[:, 0], item.any(0).nonzero()[:, 0]
        if not len(rows):
            continue
        box = item[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.double().mean() > 0.8
        sides.add(box.shape[0])
        assert box.shape[0] == 18 or rows[0] == 0 or rows[-1] == 31 or box.numel() < 60
    assert max(sides) == 18
    assert len(sides) > 12


def test_half_of_the_images_are_flipped():
    ramp = torch.arange(8, dtype=torch.uint8).mul(20).expand(2000, 1, 8, 8).contiguous()
    flipped = augment.light(ramp, torch.Generator().manual_seed(2))
    middle = flipped[:, 0, 4, :].int()
    falling = (middle[:, 4] < middle[:, 3]).float().mean().item()
    assert 0.45 < falling < 0.55
