"""Score a trained network, and re-estimate its batch-norm statistics before that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from ablate.data.augment import Augment
from ablate.data.batches import Batch, Loader
from ablate.training import shards
from ablate.training.compute import Compute
from ablate.training.generators import Generators
from ablate.training.ranks import ALONE, Ranks
from ablate.training.shards import BatchPartition


@dataclass(frozen=True)
class Scores:
    """The scores of a network on one split.

    loss: mean cross-entropy in nats.
    correct: the number of items that are classified correctly, of `items`.
    predicted: (n,) class indices.
    """

    loss: float
    correct: int
    predicted: Tensor

    @property
    def items(self) -> int:
        return len(self.predicted)

    @property
    def acc(self) -> float:
        """Return the accuracy in [0, 1]: in float64, so that equal counts give equal accuracies."""
        return self.correct / self.items


def _nothing() -> None:
    pass


def reestimate_batch_norms(
    network: nn.Module,
    train: Loader,
    compute: Compute,
    *,
    batch_size: int,
    augment: Augment,
    generators: Generators,
    between: Callable[[], None] = _nothing,
    partition: BatchPartition | None = None,
) -> None:
    """Replace every batch norm's running statistics by the mean of the batch statistics of one more pass.

    The pass is over the whole augmented training set; no weight changes. Where batches are split in shards, a batch
    norm that isn't synchronised has the mean of the shards' statistics.

    Args:
        network: as `compute` placed it.
        train: the training split.
        compute: the device and the precision.
        batch_size: images at a time.
        augment: of the training.
        generators: of the training; the pass goes on drawing from them.
        between: called after each batch.
        partition: how each batch is split in shards; None for one shard.

    Source: [WR].
    """
    partition = partition or BatchPartition()

    def batches() -> Iterator[Tensor]:
        for images, _ in partition.batches(train, batch_size, augment=augment, generators=generators):
            yield images
            between()

    update_bn(batches(), _OnBytes(network, compute))
    shards.average_running_statistics(network, partition.ranks)


class _OnBytes(nn.Module):
    """The network on uint8 images, as loaders give them."""

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        super().__init__()
        self.network, self.compute = network, compute

    def forward(self, images: Tensor) -> Tensor:
        return self.compute.logits(self.network, images)


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    loader: Loader,
    compute: Compute,
    between: Callable[[], None] = _nothing,
    ranks: Ranks = ALONE,
) -> Scores:
    """Score the network in evaluation mode, in which it stays.

    Args:
        network: as `compute` placed it.
        loader: the split to score.
        compute: the device and the precision.
        between: called after each part of a batch, on all ranks equally often.
        ranks: the processes that share the work; each returns the scores of all.
    """
    network.eval()
    batches = list(_logits(network, loader, compute, between, ranks))
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    predicted = logits.argmax(1)
    return Scores(
        loss=functional.cross_entropy(logits, labels).item(),
        correct=int((predicted == labels).sum()),
        predicted=predicted,
    )


@torch.inference_mode()
def multi_crop_acc(
    network: nn.Module,
    loader: Loader,
    compute: Compute,
    between: Callable[[], None] = _nothing,
    ranks: Ranks = ALONE,
) -> float:
    """Return the accuracy in [0, 1] where the mean softmax over an image's crops decides.

    Arguments are as in `evaluate`; the loader gives images (n, crops, C, H, W).

    Source: [WR], the multi-crop test.
    """
    network.eval()
    right = 0
    for logits, labels in _logits(network, loader, compute, between, ranks):
        right += int((logits.softmax(-1).mean(1).argmax(1) == labels).sum())
    return right / len(loader)


def _logits(
    network: nn.Module, loader: Loader, compute: Compute, between: Callable[[], None], ranks: Ranks
) -> Iterator[Batch]:
    """Yield the logits of every batch, (n, classes), or (n, crops, classes) for images in crops, and its labels.

    Each rank computes its share, and all of them yield the whole.
    """
    size = loader.evaluation_batch
    for number, (images, labels) in enumerate(loader.batches(size, share=ranks.share)):
        computed = []
        flat = images.flatten(0, -4)
        parts = torch.split(flat, compute.evaluation_batch(network, flat))
        for index in range(int(ranks.largest(len(parts))) if ranks.count > 1 else len(parts)):
            if index < len(parts):
                computed.append(compute.logits(network, parts[index]))
            between()
        logits = torch.unflatten(torch.cat(computed), 0, images.shape[:-3])
        n = min(size, len(loader) - number * size)
        yield ranks.gathered(logits, n), ranks.gathered(labels, n)
