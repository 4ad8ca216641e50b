"""Score a trained network, and re-estimate its moments before that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from ablate.parts.augment import Augment
from ablate.parts.compute import Compute
from ablate.parts.loader import Batch, Loader


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
) -> None:
    """Replace every batch norm's running moments by the mean of the batch moments of one more pass.

    The pass is over the whole augmented training set, `batch_size` images at a time; no weight changes.
    Arguments as in `train.Training`; `between` is called after each batch.

    Source: [WR].
    """

    def batches() -> Iterator[Tensor]:
        for images, _ in train.batches(batch_size, order):
            yield augment(images, draws)
            between()

    update_bn(batches(), _OfBytes(network, compute))


class _OfBytes(nn.Module):
    """The network on images as loaders give them."""

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        super().__init__()
        self.network, self.compute = network, compute

    def forward(self, images: Tensor) -> Tensor:
        return self.compute.logits(self.network, images)


@torch.inference_mode()
def evaluate(network: nn.Module, loader: Loader, compute: Compute, between: Callable[[], None] = _nothing) -> Scores:
    """Score the network in evaluation mode; `between` is called every now and then."""
    network.eval()
    found = list(_logits(network, loader, compute, between))
    logits, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    predicted = logits.argmax(1)
    return Scores(
        loss=functional.cross_entropy(logits, labels).item(),
        acc=(predicted == labels).float().mean().item(),
        predicted=predicted,
    )


@torch.inference_mode()
def multi_crop_acc(
    network: nn.Module, loader: Loader, compute: Compute, between: Callable[[], None] = _nothing
) -> float:
    """Accuracy in [0, 1] where the mean softmax over an image's crops decides; images (n, crops, C, H, W).

    Source: [WR], the multi-crop test.
    """
    network.eval()
    right = 0
    for logits, labels in _logits(network, loader, compute, between):
        right += int((logits.softmax(-1).mean(1).argmax(1) == labels).sum())
    return right / len(loader)


def _logits(network: nn.Module, loader: Loader, compute: Compute, between: Callable[[], None]) -> Iterator[Batch]:
    """Every batch's logits, (n, classes), or (n, crops, classes) where images come as crops, and its labels."""
    for images, labels in loader.batches(loader.evaluation_batch):
        found = []
        flat = images.flatten(0, -4)
        for part in flat.split(compute.evaluation_batch(network, flat)):
            found.append(compute.logits(network, part))
            between()
        yield torch.cat(found).unflatten(0, images.shape[:-3]), labels
