"""Counts of multiply-adds by their earlier paths, as `multiply_adds: ablate.parts.multiply_adds.wide_resnet`."""

from __future__ import annotations

from ablate.core.config import Config
from ablate.networks import resnet_description
from ablate.networks.description import Network, images_of


def wide_resnet(config: Config) -> int | None:
    """Return the multiply-adds of a wide residual network; None where the data set states no shape."""
    return _of(resnet_description.wide_resnet(config), config)


def imagenet_resnet(config: Config) -> int | None:
    """Return the multiply-adds of ImageNet's residual network; None where the data set states no shape."""
    return _of(resnet_description.imagenet_resnet(config), config)


def _of(network: Network, config: Config) -> int | None:
    images = images_of(config)
    return network.multiply_adds(images) if images else None
