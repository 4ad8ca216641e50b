"""Augmentation in one batched pass on the device that holds the images.

Every function takes and returns uint8 images of shape (N, C, H, W), and draws from `generator` alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

PAD = 4
"""Pixels added on each side before a crop."""


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images as they are (MNIST, digits)."""
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


def light(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip horizontally with probability 1/2, then pad and crop (CIFAR, ImageNet32).

    Source: [WR].
    """
    flip = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return crop(torch.where(flip[:, None, None, None], images.flip(-1), images), generator)
