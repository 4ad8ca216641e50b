"""Batches that are dealt in shards: which images a process trains on, and whose moments a batch norm takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ablate.data import augment
from ablate.data.augment import Augment
from ablate.data.batches import Batch, Loader, all_rows
from ablate.training.ranks import ALONE, Ranks
from ablate.training.shard_norm import ShardNorm, SyncNorm

DRAW_NOTHING = (augment.none, augment.scale_crop_flip)
"""Augmentations that are over when the images are there."""


class Deal:
    """How every batch is dealt: in so many shards, all of them in this process or one on each of its ranks.

    A shard is what `Ranks.share` gives: images that follow each other. The last batch of an epoch may have fewer
    images than there are shards: some are empty then, and count for nothing.

    Args:
        shards: 1 for batches that are whole.
        ranks: one process, or as many as there are shards.
    """

    def __init__(self, shards: int = 1, ranks: Ranks = ALONE) -> None:
        assert ranks.count in (1, shards), (shards, ranks)
        self.shards, self.ranks = shards, ranks
        self.images = 0
        """Of the batch in hand, on all ranks."""

    def batches(
        self,
        train: Loader,
        size: int,
        *,
        augment: Augment,
        order: torch.Generator,
        draws: torch.Generator,
        skip: int = 0,
    ) -> Iterator[Batch]:
        """The augmented batches of an epoch but for the first `skip`; of each, what this process trains on.

        Every rank draws the same order, and augments the whole batch with the same draws, of which it takes its
        share: the images are those of one process. Where nothing is drawn it has only its share read.
        """
        whole = self.ranks.count == 1 or augment not in DRAW_NOTHING
        found = train.batches(size, order, skip, all_rows if whole else self.ranks.share)
        for number, (images, labels) in enumerate(found, start=skip):
            self.images = min(size, len(train) - number * size)
            images = augment(images, draws)
            yield (self.ranks.share(images), self.ranks.share(labels)) if whole else (images, labels)


def dealt(network: nn.Module, deal: Deal) -> nn.Module:
    """The network itself, with batch norms for batches that are dealt so, under the same names.

    One with a true `sync` has the moments of the whole batch; any other, torch's own too, those of each shard.
    """
    if deal.shards == 1:
        return network
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                setattr(parent, name, _in_place_of(layer, deal))
    return network


def _in_place_of(layer: nn.BatchNorm2d, deal: Deal) -> nn.Module:
    if not getattr(layer, "sync", False):
        return ShardNorm(layer, deal)
    return SyncNorm(layer, deal.ranks) if deal.ranks.count > 1 else layer


def settle(network: nn.Module, ranks: Ranks) -> None:
    """Make every rank's running moments those of all shards: before they are used or kept. Called by all ranks."""
    layers = [layer for layer in network.modules() if isinstance(layer, ShardNorm) and layer.running_mean is not None]
    if ranks.count == 1 or not layers:
        return
    moments: list[Any] = [moment for layer in layers for moment in (layer.running_mean, layer.running_var)]
    together = torch.cat(moments)
    ranks.add_up(together)
    torch._foreach_copy_(moments, (together / ranks.count).split([len(moment) for moment in moments]))
