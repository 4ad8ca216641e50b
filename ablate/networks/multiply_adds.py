"""Multiply-adds of one image's forward pass, from the config alone: told in a plan, without torch.

A network's YAML names its count (`multiply_adds: ablate.networks.multiply_adds.wide_resnet`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def wide_resnet(config: Mapping[str, Any]) -> int:
    """The convolutions' multiply-adds in a wide ResNet, for images of `dataset.shape`.

    Args:
        config: depth, width, and dataset.shape with channels, size (pixels a side) and classes.
    """
    shape, first = config["dataset"]["shape"], round(16 * config["width"])
    stem = 3 * 3 * shape["channels"] * first * shape["size"] ** 2
    return stem + _stages_and_classifier(config, first, shape["size"], stages=3)


def imagenet_resnet(config: Mapping[str, Any]) -> int:
    """The same in ImageNet's network: a 7x7 stem and a max pool, each halving the side, and four stages."""
    shape, first = config["dataset"]["shape"], round(64 * config["width"])
    after_stem = _halved(shape["size"])
    stem = 7 * 7 * shape["channels"] * first * after_stem**2
    return stem + _stages_and_classifier(config, first, _halved(after_stem), stages=4)


def _stages_and_classifier(config: Mapping[str, Any], first: int, size: int, *, stages: int) -> int:
    blocks = (config["depth"] - 2) // (2 * stages)
    total, channels_in = 0, first
    for stage in range(stages):
        channels = first * 2**stage
        size = _halved(size) if stage else size
        total += 3 * 3 * channels * size**2 * (channels_in + (2 * blocks - 1) * channels)
        channels_in = channels
    return total + channels_in * config["dataset"]["shape"]["classes"] * size**2


def _halved(size: int) -> int:
    """The side after a stride of 2, padded."""
    return (size + 1) // 2
