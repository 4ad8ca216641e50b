"""Fit and evaluate a network on images that come in batches on its device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from ablate.events import Diverged
from ablate.parts.loader import Loader

Augment = Callable[[Tensor, torch.Generator], Tensor]
Schedule = Callable[[int], float]
Batch = tuple[Tensor, Tensor]


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


def _nothing() -> None:
    pass


def _with(between: Callable[[], None], batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches, with `between` called after each."""
    for batch in batches:
        yield batch
        between()


class Training:
    """SGD with cross-entropy, which can be put down between any two batches and taken up again, to the last bit.

    Args:
        network: (N, C, H, W) float -> (N, classes) logits.
        train: the training split, on the network's device.
        recipe: the last, partial batch of an epoch is trained on.
        order: a CPU generator for the order of the images.
        draws: a generator on the device for augmentation.
    """

    def __init__(
        self, network: nn.Module, train: Loader, recipe: Recipe, *, order: torch.Generator, draws: torch.Generator
    ) -> None:
        self.network, self.train, self.recipe = network, train, recipe
        self.order, self.draws = order, draws
        self.device = next(network.parameters()).device
        self.optimizer = _sgd(network, recipe)
        self.epoch = 0
        """Epochs whose pass over the images is over."""
        self.batch = 0
        """Batches done of the epoch that is being trained."""
        self.loss_sum: Tensor
        self.correct: Tensor
        self.seconds: float
        self._begin()

    def epochs(self, between: Callable[[], None] = _nothing) -> Iterator[dict[str, float]]:
        """Train the epochs that are left; yield each one's training loss, accuracy, learning rate and seconds.

        Args:
            between: called after each batch, when `state` may be asked for.

        Raises:
            Diverged: the loss is NaN or infinite; on a CPU at that batch, on a GPU at the epoch's end, since
                asking a GPU at every batch would stall it.
        """
        steps_per_epoch = -(-len(self.train) // self.recipe.batch_size)
        while self.epoch < self.recipe.epochs:
            self.network.train()
            began = time.perf_counter() - self.seconds
            batches = self.train.batches(self.recipe.batch_size, self.order, skip=self.batch)
            for images, labels in batches:
                self.lr = self.recipe.lr * self.recipe.lr_factor(self.epoch * steps_per_epoch + self.batch)
                self._step(images, labels, self.lr)
                self.batch += 1
                self.seconds = time.perf_counter() - began
                between()
            _stop_unless_finite(self.loss_sum, self.epoch + 1)
            told = {
                "train_loss": self.loss_sum.item() / len(self.train),
                "train_acc": self.correct.item() / len(self.train),
                "lr": self.lr,
                "train_s": time.perf_counter() - began,  # of this epoch, nothing but training
            }
            self.epoch += 1
            self._begin()
            yield told

    def state(self) -> dict[str, Any]:
        """All that training depends on, as tensors and plain values that `restore` takes."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "correct": self.correct,
            "lr": self.lr,
            "seconds": self.seconds,
            "order": self.order_at_start,
            "draws": self.draws.get_state(),
            "device": self.device.type,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken.

        On a device of another type the generator of the draws stays as it is: its state means nothing there.
        """
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.lr, self.seconds = state["lr"], state["seconds"]
        self.loss_sum.copy_(state["loss_sum"])
        self.correct.copy_(state["correct"])
        self.order_at_start = state["order"]
        self.order.set_state(state["order"])
        if state["device"] == self.device.type:
            self.draws.set_state(state["draws"])

    def _begin(self) -> None:
        """Stand before an epoch's first batch."""
        self.batch, self.lr, self.seconds = 0, self.recipe.lr, 0.0
        self.loss_sum = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.order_at_start = self.order.get_state()

    def _step(self, images: Tensor, labels: Tensor, lr: float) -> None:
        logits = self.network(self.recipe.augment(images, self.draws).float())
        loss = functional.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        (lr * loss).backward()
        if loss.device.type == "cpu":
            _stop_unless_finite(loss, self.epoch + 1)
        self.optimizer.param_groups[0]["weight_decay"] = lr * self.recipe.weight_decay
        self.optimizer.step()
        self.loss_sum += loss.detach() * len(labels)
        self.correct += (logits.detach().argmax(1) == labels).sum()


def reestimate_moments(
    network: nn.Module,
    train: Loader,
    recipe: Recipe,
    *,
    order: torch.Generator,
    draws: torch.Generator,
    between: Callable[[], None] = _nothing,
) -> None:
    """Replace every batch norm's running moments by the mean of the batch moments of one more pass.

    The pass is over the whole augmented training set, in batches as in training; no weight changes.
    Arguments as in `Training`.

    Source: [WR].
    """
    batches = _with(between, train.batches(recipe.batch_size, order))
    update_bn((recipe.augment(images, draws).float() for images, _ in batches), network)


@torch.inference_mode()
def evaluate(network: nn.Module, loader: Loader, between: Callable[[], None] = _nothing) -> Scores:
    """Score the network in evaluation mode; `between` is called after each batch."""
    network.eval()
    loaded = _with(between, loader.batches(loader.evaluation_batch))
    batches = [(network(images.float()), labels) for images, labels in loaded]
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    predicted = logits.argmax(1)
    return Scores(
        loss=functional.cross_entropy(logits, labels).item(),
        acc=(predicted == labels).float().mean().item(),
        predicted=predicted,
    )


@torch.inference_mode()
def multi_crop_acc(network: nn.Module, loader: Loader, between: Callable[[], None] = _nothing) -> float:
    """Accuracy in [0, 1] where the mean softmax over an image's crops decides; images (n, crops, C, H, W).

    Source: [WR], the multi-crop test.
    """
    network.eval()
    right = 0
    for images, labels in _with(between, loader.batches(loader.evaluation_batch)):
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
