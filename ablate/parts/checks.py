"""Checks of parts by their earlier paths, as `check: ablate.parts.checks.layer_norm` in a user's own YAML."""

from __future__ import annotations

from ablate.core.config import Config
from ablate.data.checks import synthetic
from ablate.networks import description, norm_description
from ablate.networks.norm_description import batch_norm, layer_norm, no_norm, shifted_relu
from ablate.networks.resnet_description import imagenet_resnet, wide_resnet
from ablate.planning.checks import augment, micro_batch, shards

__all__ = [
    "augment",
    "batch_norm",
    "group_norm",
    "imagenet_resnet",
    "layer_norm",
    "micro_batch",
    "no_norm",
    "shards",
    "shifted_relu",
    "synthetic",
    "wide_resnet",
]


def group_norm(config: Config) -> None:
    """Raise UsageError for values that group norm refuses, or groups that do not divide the network's channels."""
    description.check_fit(description.network_of(config), norm_description.group_norm(config))
