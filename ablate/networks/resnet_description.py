"""The two families of residual networks: the stages that they are built from, and their descriptions. Without torch."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.levels import show
from ablate.networks.description import Convolution, Network

WIDE_BASE_CHANNELS = 16
IMAGENET_BASE_CHANNELS = 64


@dataclass(frozen=True)
class Stages:
    """What follows the stem: stages of residual blocks, each of two 3x3 convolutions.

    channels: of each stage. The first block of every further stage halves the side.
    blocks: number of blocks in each stage.
    """

    channels: Sequence[int]
    blocks: int


def wide_resnet_stages(depth: int, width: float) -> Stages:
    """Return the 3 stages of a wide ResNet.

    Args:
        depth: number of convolutions, 6n + 2: a stem, 3 stages x n blocks x 2, a 1x1 classifier.
        width: k, a whole number; the stages have 16k, 32k and 64k channels, the stem 16k.

    Raises:
        UsageError: there is no such network.

    Source: [WR] and [SB].
    """
    if not 8 <= depth < 10_000 or depth % 6 != 2:
        raise UsageError(
            f"depth={depth}: a wide ResNet has 6n + 2 convolutions; allowed: 8, 14, 20, 26, ... up to 9998"
        )
    if width % 1:
        raise UsageError(f"width={width}: a wide ResNet's stages have 16, 32 and 64 channels times a whole number")
    return Stages([WIDE_BASE_CHANNELS * int(width) * 2**stage for stage in range(3)], (depth - 2) // 6)


def imagenet_resnet_stages(depth: int, width: float) -> Stages:
    """Return the 4 stages of ImageNet's residual network.

    Args:
        depth: number of convolutions, 8n + 2: a stem, 4 stages x n blocks x 2, a 1x1 classifier.
        width: k, with 64k a whole number; the stages have 64k, 128k, 256k and 512k channels, the stem 64k.

    Raises:
        UsageError: there is no such network.

    Source: [WR]; He, Zhang, Ren and Sun, arXiv 1512.03385, table 1.
    """
    if not 10 <= depth < 10_000 or depth % 8 != 2:
        raise UsageError(
            f"depth={depth}: ImageNet's residual network has 8n + 2 convolutions; allowed: 10, 18, 26, ... up to 9994"
        )
    if IMAGENET_BASE_CHANNELS * width % 1:
        raise UsageError(
            f"width={width}: 64 times the width is the first stage's channels; allowed: 2.5, 1, 0.25, ..., so that "
            "it is a whole number"
        )
    return Stages([round(IMAGENET_BASE_CHANNELS * width) * 2**stage for stage in range(4)], (depth - 2) // 8)


def wide_resnet(config: Config) -> Network:
    """Return the description of `wrn.WideResNet`. Raise UsageError for values that it refuses."""
    network = _wide_network(config["depth"], config["width"])
    _check_options(config)
    return network


@functools.lru_cache
def _wide_network(depth: int, width: float) -> Network:
    """Return the description, built once for all cells of a plan that have the same network."""
    stages = wide_resnet_stages(depth, width)
    return Network([Convolution("image", stages.channels[0], kernel=3), *_after_stem(stages, reduction=1)])


def imagenet_resnet(config: Config) -> Network:
    """Return the description of `imagenet_resnet.ImageNetResNet`. Raise UsageError for values that it refuses.

    Its stem has stride 2, as has the max pool behind it.
    """
    network = _imagenet_network(config["depth"], config["width"])
    _check_options(config)
    return network


@functools.lru_cache
def _imagenet_network(depth: int, width: float) -> Network:
    stages = imagenet_resnet_stages(depth, width)
    stem = Convolution("image", stages.channels[0], kernel=7, stride=2)
    return Network([stem, *_after_stem(stages, reduction=4)])


def _after_stem(stages: Stages, reduction: int) -> Iterator[Convolution]:
    channels_in = stages.channels[0]
    for stage, channels in enumerate(stages.channels):
        for index in range(2 * stages.blocks):
            stride = 2 if stage and not index else 1
            yield Convolution(channels_in, channels, 3, stride, reduction)
            channels_in = channels
            reduction *= stride
    yield Convolution(channels_in, "classes", kernel=1, reduction=reduction)


def _check_options(config: Config) -> None:
    """Raise UsageError for a wrong value of an option. Configs from before the options existed lack them."""
    residual, padding = config["model"].get("residual", True), config["model"].get("padding", "torch")
    if not isinstance(residual, bool):
        raise UsageError(f"model.residual={show(residual)}: allowed: true, false")
    if padding not in ("torch", "tf"):
        raise UsageError(f"model.padding={show(padding)}: allowed: torch, tf")
