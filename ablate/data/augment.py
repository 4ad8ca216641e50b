"""Augmentation in one batched pass on the device that holds the images.

Every function takes and returns uint8 images of shape (N, C, H, W), and draws from `generator` alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Augment = Callable[[Tensor, torch.Generator], Tensor]

PAD = 4
"""Pixels added on each side before a crop."""
PATCH = 18
"""Side of a cutout, in pixels."""


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images as they are (MNIST, digits)."""
    return images


def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad with uniform random integers, then crop at a random offset (SVHN)."""
    n, channels, height, width = images.shape
    padded = torch.randint(
        0,
        256,
        (n, channels, height + 2 * PAD, width + 2 * PAD),
        generator=generator,
        dtype=torch.uint8,
        device=images.device,
    )
    padded[:, :, PAD : PAD + height, PAD : PAD + width] = images
    top, left = torch.randint(0, 2 * PAD + 1, (2, n, 1), generator=generator, device=images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    item = torch.arange(n, device=images.device)
    return padded.movedim(1, -1)[item[:, None, None], rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def scale_crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images as they are: they were scaled, cropped and flipped when their files were read (ImageNet)."""
    return images


def light(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip horizontally with probability 1/2, then pad and crop (CIFAR, ImageNet32).

    Source: [WR].
    """
    flip = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return crop(torch.where(flip[:, None, None, None], images.flip(-1), images), generator)


def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """Augment as `light` does, then cover one 18x18 patch per image with uniform random integers (CIFAR).

    The patch may extend over the border: its corner is drawn so that every pixel is covered equally often.

    Source: [WR], after DeVries and Taylor, arXiv 1708.04552.
    """
    images = light(images, generator)
    device, (n, _, *sides) = images.device, images.shape
    covered = []
    for side in sides:
        start = torch.randint(1 - PATCH, side, (n, 1), generator=generator, device=device)
        pixel = torch.arange(side, device=device)
        covered.append((start <= pixel) & (pixel < start + PATCH))
    inside = covered[0][:, None, :, None] & covered[1][:, None, None, :]
    noise = torch.randint(0, 256, images.shape, generator=generator, dtype=torch.uint8, device=device)
    return torch.where(inside, noise, images)
