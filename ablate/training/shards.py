"""Batches in shards: which images a process trains on, and over which images a batch norm takes its statistics."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ablate.data import augment
from ablate.data.augment import Augment
from ablate.data.batches import Batch, Loader, all_rows
from ablate.training import torch_private
from ablate.training.generators import Generators
from ablate.training.ranks import ALONE, Ranks
from ablate.training.shard_norm import ShardNorm, SyncNorm

DRAW_NOTHING = (augment.none, augment.scale_crop_flip)
"""Augmentations that leave a batch as the loader gives it."""


class BatchPartition:
    """How every batch is split in shards: all of them in this process, or one on each of its ranks.

    A shard is what `Ranks.share` gives: images that follow each other. The last batch of an epoch may have fewer
    images than there are shards. Some shards are empty then, and count for nothing.

    Args:
        shards: 1 for batches that are whole.
        ranks: one process, or as many as there are shards.
    """

    def __init__(self, shards: int = 1, ranks: Ranks = ALONE) -> None:
        assert ranks.count in (1, shards), (shards, ranks)
        self.shards, self.ranks = shards, ranks
        self.images = 0
        """Images of the current batch, on all ranks together."""

    def batches(
        self, train: Loader, size: int, *, augment: Augment, generators: Generators, skip: int = 0
    ) -> Iterator[Batch]:
        """Yield this process's part of every augmented batch of an epoch, except the first `skip`.

        Every rank draws the same order. It augments the whole batch with the same draws and takes its share, so that
        the images are those of one process. Where the augmentation draws nothing, only the share is read.
        """
        is_whole = self.ranks.count == 1 or augment not in DRAW_NOTHING
        batches = train.batches(size, generators.order, skip, all_rows if is_whole else self.ranks.share)
        for number, (images, labels) in enumerate(batches, start=skip):
            self.images = min(size, len(train) - number * size)
            images = augment(images, generators.draws)
            yield (self.ranks.share(images), self.ranks.share(labels)) if is_whole else (images, labels)


def sharded(network: nn.Module, partition: BatchPartition) -> nn.Module:
    """Return the network itself, its batch norms replaced by those for batches in shards, under the same names.

    A batch norm with a true `sync` takes the statistics of the whole batch. Any other, torch's own too, takes those
    of each shard.
    """
    if partition.shards == 1:
        return network
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                setattr(parent, name, _replacement(layer, partition))
    return network


def _replacement(layer: nn.BatchNorm2d, partition: BatchPartition) -> nn.Module:
    if not getattr(layer, "sync", False):
        return ShardNorm(layer, partition)
    return SyncNorm(layer, partition.ranks) if partition.ranks.count > 1 else layer


def average_running_statistics(network: nn.Module, ranks: Ranks) -> None:
    """Make every rank's running statistics of batch norms the mean over all shards.

    All ranks call it before the running statistics are used or kept.
    """
    if ranks.count == 1:
        return
    statistics: list[Tensor] = []
    for layer in network.modules():
        if isinstance(layer, ShardNorm) and layer.running_mean is not None and layer.running_var is not None:
            statistics += [layer.running_mean, layer.running_var]
    if not statistics:
        return
    together = torch.cat(statistics)
    ranks.add_up(together)
    torch_private.copy_all(statistics, torch.split(together / ranks.count, [len(each) for each in statistics]))
