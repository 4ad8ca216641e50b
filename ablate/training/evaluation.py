"""Score a trained network, and re-estimate its moments before that."""

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
from ablate.training.ranks import ALONE, Ranks
from ablate.training.shards import Deal


@dataclass(frozen=True)
class Scores:
    """loss: mean cross-entropy in nats; acc: in [0, 1]; predicted: (n,) class indices."""

    loss: float
    acc: float
    predicted: Tensor


def _nothing() -> None:
    pass


def reestimate_moments(
    network: nn.Module,
    train: Loader,
    compute: Compute,
    *,
    batch_size: int,
    augment: Augment,
    order: torch.Generator,
    draws: torch.Generator,
    between: Callable[[], None] = _nothing,
    deal: Deal | None = None,
) -> None:
    """Replace every batch norm's running moments by the mean of the batch moments of one more pass.

    The pass is over the whole augmented training set, `batch_size` images at a time; no weight changes. Where a batch
    is dealt in shards, a batch norm that isn't synchronised has the mean of their moments.

    Arguments as in `train.Training`; `between` is called after each batch.

    Source: [WR].
    """
    deal = deal or Deal()

    def batches() -> Iterator[Tensor]:
        for images, _ in deal.batches(train, batch_size, augment=augment, order=order, draws=draws):
            yield images
            between()

    update_bn(batches(), _OfBytes(network, compute))
    shards.settle(network, deal.ranks)


class _OfBytes(nn.Module):
    """The network on images as loaders give them."""

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
    """Score the network in evaluation mode; `between` is called every now and then, on all ranks as often."""
    network.eval()
    found = list(_logits(network, loader, compute, between, ranks))
    logits, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    predicted = logits.argmax(1)
    return Scores(
        loss=functional.cross_entropy(logits, labels).item(),
        acc=(predicted == labels).float().mean().item(),
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
    """Accuracy in [0, 1] where the mean softmax over an image's crops decides; images (n, crops, C, H, W).

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
    """Every batch's logits, (n, classes), or (n, crops, classes) where images come as crops, and its labels.

    Each rank computes its share, and all of them yield the whole.
    """
    size = loader.evaluation_batch
    for number, (images, labels) in enumerate(loader.batches(size, share=ranks.share)):
        found = []
        flat = images.flatten(0, -4)
        parts = flat.split(compute.evaluation_batch(network, flat))
        for place in range(int(ranks.largest(len(parts))) if ranks.count > 1 else len(parts)):
            if place < len(parts):
                found.append(compute.logits(network, parts[place]))
            between()
        logits, n = torch.cat(found).unflatten(0, images.shape[:-3]), min(size, len(loader) - number * size)
        yield ranks.gathered(logits, n), ranks.gathered(labels, n)
