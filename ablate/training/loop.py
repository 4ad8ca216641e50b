"""Train a network on images that come in batches on its device."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from ablate.core.errors import Diverged
from ablate.data.augment import Augment
from ablate.data.batches import Loader
from ablate.training import shards, torch_private
from ablate.training.compute import Compute, compiled
from ablate.training.generators import Generators, global_states, set_global_states
from ablate.training.shards import BatchPartition

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class TrainingRecipe:
    """How a network is trained.

    lr_factor: the number of batches done so far -> the factor on `lr`.
    micro_batch: the most images whose maps are in memory at once; None for whole batches. A batch's gradients are
        summed over parts of equal size, and a batch norm takes the statistics of a part.
    compiled: whether whole batches go through torch.compile; `micro_batch` then divides `batch_size`.
    """

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    lr_factor: Schedule
    augment: Augment
    micro_batch: int | None = None
    compiled: bool = False


def _nothing() -> None:
    pass


class Training:
    """SGD with cross-entropy, which can stop between any two batches and go on later, the same to the last bit.

    On ranks each trains on its shard, and every step is that of the whole batch: weights, sums and metrics are
    the same on all. All of them call the same methods, between the same batches.

    Args:
        network: (N, C, H, W) float -> (N, classes) logits; as `shards.sharded` returns and `compute` places it.
        train: the training split, on the network's device.
        recipe: how to train; the last, partial batch of an epoch is trained on.
        generators: what the order of the images and their augmentation draw from.
        compute: the device and the precision.
        partition: how each batch is split in shards; None for one shard.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Loader,
        recipe: TrainingRecipe,
        *,
        generators: Generators,
        compute: Compute,
        partition: BatchPartition | None = None,
    ) -> None:
        self.network, self.train, self.recipe = network, train, recipe
        self.generators = generators
        self.compute, self.device = compute, compute.device
        self.partition = partition or BatchPartition()
        self.ranks = self.partition.ranks
        self.compiled = compiled(network) if recipe.compiled else None
        self.together = None
        if self.ranks.count > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # newer torches have another name for it
                self.together = DistributedDataParallel(network, broadcast_buffers=False)  # shards averages them
        self.optimizer = sgd(network, recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=compute.precision == "fp16")
        if self.scaler.is_enabled() and recipe.momentum:
            # Where the first step overflows, torch's fused SGD would keep a velocity that it never wrote.
            for parameter in network.parameters():
                self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.epoch = 0
        """Epochs whose pass over the images is complete."""
        self.batch = 0
        """Batches done of the current epoch."""
        self.loss_sum: Tensor
        self.correct: Tensor
        self.seconds: float
        self._begin_epoch()

    def epochs(self, between: Callable[[], None] = _nothing) -> Iterator[dict[str, float]]:
        """Train the remaining epochs; yield each one's training loss, accuracy, learning rate and seconds.

        Args:
            between: called after each batch, when `state` may be called.

        Raises:
            Diverged: the loss is NaN or infinite. A CPU notices at that batch, a GPU at the epoch's end, since
                reading the loss at every batch would stall it. At fp16 also where gradients keep overflowing.
        """
        steps_per_epoch = -(-len(self.train) // self.recipe.batch_size)
        while self.epoch < self.recipe.epochs:
            self.network.train()
            began = time.perf_counter() - self.seconds
            batches = self.partition.batches(
                self.train,
                self.recipe.batch_size,
                augment=self.recipe.augment,
                generators=self.generators,
                skip=self.batch,
            )
            for images, labels in batches:
                self.lr = self.recipe.lr * self.recipe.lr_factor(self.epoch * steps_per_epoch + self.batch)
                self._step(images, labels, self.lr)
                self.batch += 1
                self.seconds = time.perf_counter() - began
                between()
            _stop_unless_finite(self.loss_sum, self.epoch + 1)
            if self.scaler.is_enabled() and self.scaler.get_scale() < 1:
                raise Diverged(f"the gradients are larger than fp16 holds in epoch {self.epoch + 1}")
            metrics = {
                "train_loss": self.loss_sum.item() / len(self.train),
                "train_acc": self.correct.item() / len(self.train),
                "lr": self.lr,
                "train_s": time.perf_counter() - began,  # of this epoch, without evaluation
            }
            self.epoch += 1
            self._begin_epoch()
            shards.average_running_statistics(self.network, self.ranks)
            yield metrics

    def state(self) -> dict[str, Any]:
        """Return all that training depends on, as tensors and plain values.

        `restore` takes it on any number of ranks.
        """
        shards.average_running_statistics(self.network, self.ranks)
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "correct": self.correct,
            "lr": self.lr,
            "seconds": self.seconds,
            "scaler": self.scaler.state_dict(),
            "order": self.order_at_start,
            "draws": self.generators.draws.get_state(),
            "globals": self.ranks.values(global_states()),
            "device": self.device.type,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from where `state` was taken.

        On a device of another type the generator of the draws stays as it is, since its state means nothing there.
        A rank that the checkpoint does not know keeps the global generators as they are.
        """
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.lr, self.seconds = state["lr"], state["seconds"]
        self.loss_sum.copy_(state["loss_sum"])
        self.correct.copy_(state["correct"])
        self.order_at_start = state["order"]
        self.generators.order.set_state(state["order"])
        if state["device"] == self.device.type:
            self.generators.draws.set_state(state["draws"])
        if self.ranks.rank < len(state["globals"]):
            set_global_states(state["globals"][self.ranks.rank])

    def _begin_epoch(self) -> None:
        """Reset what counts the batches of one epoch."""
        self.batch, self.lr, self.seconds = 0, self.recipe.lr, 0.0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.order_at_start = self.generators.order.get_state()

    def _step(self, images: Tensor, labels: Tensor, lr: float) -> None:
        parts = _parts(len(images), self.recipe.micro_batch)
        # Whole batches alone are compiled, in equal parts: another size, as at an epoch's end, would be compiled anew.
        whole = min(self.recipe.batch_size, len(self.train))
        call = self.compiled if len(images) == whole and len(images) % parts == 0 else self.together
        self.optimizer.zero_grad()
        for part, part_labels in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
            logits = self.compute.logits(self.network, part, call=call)
            loss = functional.cross_entropy(logits, part_labels) if len(part) else logits.sum()  # 0, with its gradients
            right = (logits.detach().argmax(1) == part_labels).sum()
            loss_sum, correct = self.ranks.summed(loss.detach() * len(part), right)
            if loss.device.type == "cpu":
                _stop_unless_finite(loss_sum, self.epoch + 1)  # of all ranks, so that all of them stop
            # The mean of this over ranks has the gradient of the batch's mean loss.
            share = self.ranks.count * len(part) / self.partition.images
            self._backward(loss * share if share != 1 else loss, lr)
            self.loss_sum += loss_sum
            self.correct += correct
        self.optimizer.param_groups[0]["weight_decay"] = lr * self.recipe.weight_decay
        self._update(lr)

    def _backward(self, loss: Tensor, lr: float) -> None:
        """Compute gradients times the rate.

        At fp16 they are times the scale that keeps them in range, and `_update` multiplies them by the rate.
        """
        torch.autograd.backward(self.scaler.scale(loss) if self.scaler.is_enabled() else lr * loss)

    def _update(self, lr: float) -> None:
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
            gradients = (parameter.grad for parameter in self.network.parameters())
            torch_private.multiply_all([gradient for gradient in gradients if gradient is not None], lr)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def part_size(recipe: TrainingRecipe) -> int:
    """Return how many images the largest part of a whole batch has."""
    return -(-recipe.batch_size // _parts(recipe.batch_size, recipe.micro_batch))


def _parts(images: int, most: int | None) -> int:
    return 1 if most is None else -(-images // most)


def sgd(network: nn.Module, recipe: TrainingRecipe) -> torch.optim.SGD:
    """Return SGD whose velocity includes the learning rate: v <- momentum v - lr gradient, weight <- weight + v.

    That is Keras's form, with which the papers' networks were trained. torch's form multiplies the whole sum of
    past gradients by the current rate, so that a warm restart leaps with the gradients of the cycle's end. Here
    torch's rate is 1, and the loss and the weight decay are multiplied by the real rate. The weights of layers
    decay, in the first group; a norm's scales and offsets and biases do not.

    Source: the authors' code release.
    """
    decayed = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    groups = [{"params": decayed}, {"params": others}]
    return torch_private.SGD(groups, lr=1.0, momentum=recipe.momentum, fused=True)


def _stop_unless_finite(loss: Tensor, epoch: int) -> None:
    if not torch.isfinite(loss):
        raise Diverged(f"the training loss is {loss.item()} in epoch {epoch}")
