"""Fit and evaluate a network on images that come in batches on its device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from ablate.events import Diverged
from ablate.parts.loader import Loader

Augment = Callable[[Tensor, torch.Generator], Tensor]
Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Recipe:
    """How to train. `lr_factor` maps batches done so far to the factor on `lr`."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    lr_factor: Schedule
    augment: Augment


@dataclass(frozen=True)
class Scores:
    """loss: mean cross-entropy in nats; acc: in [0, 1]; predicted: (n,) class indices."""

    loss: float
    acc: float
    predicted: Tensor


def fit(
    network: nn.Module,
    train: Loader,
    recipe: Recipe,
    *,
    order: torch.Generator,
    draws: torch.Generator,
) -> Iterator[dict[str, float]]:
    """Train with SGD and cross-entropy; yield each epoch's training loss, accuracy, learning rate and seconds.

    Args:
        network: (N, C, H, W) float -> (N, classes) logits.
        train: the training split, on the network's device.
        recipe: the last, partial batch of an epoch is trained on.
        order: a CPU generator for the order of the images.
        draws: a generator on the device for augmentation.

    Raises:
        Diverged: the loss is NaN or infinite; on a CPU at that batch, on a GPU at the epoch's end, since
            asking a GPU at every batch would stall it.
    """
    optimizer = _sgd(network, recipe)
    device = next(network.parameters()).device
    step = 0
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        began = time.perf_counter()
        loss_sum = torch.zeros((), device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        lr = recipe.lr
        for images, labels in train.batches(recipe.batch_size, order):
            lr = recipe.lr * recipe.lr_factor(step)
            logits = network(recipe.augment(images, draws).float())
            loss = functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            (lr * loss).backward()
            if loss.device.type == "cpu":
                _stop_unless_finite(loss, epoch)
            optimizer.param_groups[0]["weight_decay"] = lr * recipe.weight_decay
            optimizer.step()
            step += 1
            loss_sum += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
        _stop_unless_finite(loss_sum, epoch)
        yield {
            "train_loss": loss_sum.item() / len(train),
            "train_acc": correct.item() / len(train),
            "lr": lr,
            "train_s": time.perf_counter() - began,  # of this epoch, nothing but training
        }


def reestimate_moments(
    network: nn.Module,
    train: Loader,
    recipe: Recipe,
    *,
    order: torch.Generator,
    draws: torch.Generator,
) -> None:
    """Replace every batch norm's running moments by the mean of the batch moments of one more pass.

    The pass is over the whole augmented training set, in batches as in training; no weight changes.
    Arguments as in `fit`.

    Source: [WR].
    """
    batches = train.batches(recipe.batch_size, order)
    update_bn((recipe.augment(images, draws).float() for images, _ in batches), network)


@torch.inference_mode()
def evaluate(network: nn.Module, loader: Loader) -> Scores:
    """Score the network in evaluation mode."""
    network.eval()
    batches = [(network(images.float()), labels) for images, labels in loader.batches(loader.evaluation_batch)]
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    predicted = logits.argmax(1)
    return Scores(
        loss=functional.cross_entropy(logits, labels).item(),
        acc=(predicted == labels).float().mean().item(),
        predicted=predicted,
    )


@torch.inference_mode()
def multi_crop_acc(network: nn.Module, loader: Loader) -> float:
    """Accuracy in [0, 1] where the mean softmax over an image's crops decides; images (n, crops, C, H, W).

    Source: [WR], the multi-crop test.
    """
    network.eval()
    right = 0
    for images, labels in loader.batches(loader.evaluation_batch):
        probabilities = network(images.flatten(0, 1).float()).softmax(1)
        right += int((probabilities.unflatten(0, images.shape[:2]).mean(1).argmax(1) == labels).sum())
    return right / len(loader)


def _sgd(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD whose velocity holds the learning rate: v <- momentum v - lr gradient, weight <- weight + v.

    That is Keras's form, with which the papers' networks were trained. torch's multiplies the whole sum of
    past gradients by the rate of the moment, so that a warm restart leaps with the gradients of the cycle's
    end. Here torch's rate is 1, and the loss and the weight decay are multiplied by the real one. Only the
    weights of layers decay, in the first group, not a norm's scales and offsets or a bias.

    Source: the authors' code release.
    """
    decayed = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    return torch.optim.SGD([{"params": decayed}, {"params": others}], lr=1.0, momentum=recipe.momentum)


def _stop_unless_finite(loss: Tensor, epoch: int) -> None:
    if not torch.isfinite(loss):
        raise Diverged(f"the training loss is {loss.item()} in epoch {epoch}")
