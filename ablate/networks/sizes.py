"""Numbers that a network holds, from the config alone: told in a plan, without torch.

A network's YAML names its counts: `parameters`, and `kept_maps` for what one image leaves for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def wide_resnet_parameters(config: Mapping[str, Any]) -> int:
    """What a wide ResNet learns: its convolutions, the input's batch norm, and each norm's scales and offsets."""
    return _parameters(config, _wide_resnet(config), kernel=3)


def wide_resnet_kept_maps(config: Mapping[str, Any]) -> int:
    """Numbers that one training image leaves for the backward pass: what each convolution and its norm read."""
    return _kept_maps(config, _wide_resnet(config))


def imagenet_resnet_parameters(config: Mapping[str, Any]) -> int:
    """The same in ImageNet's network, whose stem is 7x7."""
    return _parameters(config, _imagenet_resnet(config), kernel=7)


def imagenet_resnet_kept_maps(config: Mapping[str, Any]) -> int:
    """The same in ImageNet's network."""
    return _kept_maps(config, _imagenet_resnet(config))


Convolutions = list[tuple[int, int, int]]
"""Channels in, channels out and side of the maps read, of the stem, each 3x3 convolution, and the classifier."""


def _wide_resnet(config: Mapping[str, Any]) -> Convolutions:
    shape, first = config["dataset"]["shape"], round(16 * config["width"])
    stem = (shape["channels"], first, shape["size"])
    return [stem, *_after_stem(config, first, shape["size"], stages=3)]


def _imagenet_resnet(config: Mapping[str, Any]) -> Convolutions:
    shape, first = config["dataset"]["shape"], round(64 * config["width"])
    stem = (shape["channels"], first, shape["size"])
    return [stem, *_after_stem(config, first, (shape["size"] + 3) // 4, stages=4)]


def _after_stem(config: Mapping[str, Any], first: int, size: int, *, stages: int) -> Iterator[tuple[int, int, int]]:
    channels_in = first
    for stage in range(stages):
        for place in range((config["depth"] - 2) // stages):
            channels = first * 2**stage
            yield channels_in, channels, size
            channels_in = channels
            size = (size + 1) // 2 if stage and not place else size
    yield channels_in, config["dataset"]["shape"]["classes"], size


def _parameters(config: Mapping[str, Any], convolutions: Convolutions, *, kernel: int) -> int:
    stem, *inner, classifier = ((read, made) for read, made, _ in convolutions)
    weights = kernel**2 * stem[0] * stem[1] + sum(9 * read * made for read, made in inner)
    learns = config["norm"].get("affine", "eps" in config["norm"])
    scales = 2 * sum(read for read, _ in (*inner, classifier)) if learns else 0
    return 2 * stem[0] + weights + classifier[0] * classifier[1] + scales


def _kept_maps(config: Mapping[str, Any], convolutions: Convolutions) -> int:
    """What a convolution reads, and beside it, where there is a norm (it has an eps), what that read."""
    each = 2 if "eps" in config["norm"] else 1
    return each * sum(channels * size**2 for channels, _, size in convolutions)
