"""Sizes of networks by their earlier paths, as `parameters: ablate.parts.sizes.wide_resnet_parameters`.

Each is None where the data set states no shape.
"""

from __future__ import annotations

from ablate.core.config import Config
from ablate.networks import resnet_description
from ablate.networks.description import Network, images_of, norm_of


def wide_resnet_parameters(config: Config) -> int | None:
    """Return the number of parameters that a wide residual network learns."""
    return _parameters(resnet_description.wide_resnet(config), config)


def wide_resnet_kept_maps(config: Config) -> int | None:
    """Return how many numbers one image leaves for the backward pass of a wide residual network."""
    return _kept_maps(resnet_description.wide_resnet(config), config)


def imagenet_resnet_parameters(config: Config) -> int | None:
    """Return the number of parameters that ImageNet's residual network learns."""
    return _parameters(resnet_description.imagenet_resnet(config), config)


def imagenet_resnet_kept_maps(config: Config) -> int | None:
    """Return how many numbers one image leaves for the backward pass of ImageNet's residual network."""
    return _kept_maps(resnet_description.imagenet_resnet(config), config)


def _parameters(network: Network, config: Config) -> int | None:
    images = images_of(config)
    return network.parameters(images, norm_of(config)) if images else None


def _kept_maps(network: Network, config: Config) -> int | None:
    images = images_of(config)
    return network.kept_maps(images, norm_of(config)) if images else None
