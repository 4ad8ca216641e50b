"""What a trial's network costs, to train and to use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablate.core.errors import UsageError
from ablate.deploy.fold import folded
from ablate.deploy.graph import graph_of
from ablate.training import torch_private
from ablate.training.compute import Compute
from ablate.training.cost import speed, tensors, work
from ablate.training.loop import TrainingRecipe, part_size, sgd

__all__ = ["of_inference", "of_training"]


def of_inference(network: nn.Module, images: Tensor, compute: Compute) -> dict[str, float]:
    """Return sizes, operations and speed of a trained network as it is exported; see `work` and `speed`.

    Operations are missing for a network of a user's own that computes something that cannot be exported.

    Args:
        network: trained, as `compute` placed it.
        images: (1, C, H, W) uint8, on the device.
        compute: the device and the precision.
    """
    exported = folded(network)
    try:
        counted = work.work(graph_of(exported, tuple(images.shape[1:])))
    except UsageError:
        counted = {}
    return {**work.sizes(network, exported), **counted, **speed.inference(compute.placed(exported), images, compute)}


def of_training(
    make: Callable[[], nn.Module], shape: tuple[int, ...], recipe: TrainingRecipe, compute: Compute
) -> dict[str, float]:
    """Return the memory of tensors in training, from two steps in which nothing is computed (torch's fake tensors).

    It is exact to the byte at fp32. At 16 bits it is within a few percent, since torch gives some of its fake
    tensors another type.

    saved_bytes: what the forward pass keeps for the backward pass, per image, weights excluded.
    train_peak_tensor_bytes: the most memory of tensors at one time, weights, gradients and velocity included.

    Args:
        make: returns the untrained network.
        shape: (C, H, W) of an image.
        recipe: its batch, or part of a batch, is what is measured.
        compute: the device and the precision.
    """
    with torch_private.fake_tensors(), torch.random.fork_rng(devices=[]), compute.device:
        network = make()
        images = torch.zeros(part_size(recipe), *shape, dtype=torch.uint8)
        labels = torch.zeros(len(images), dtype=torch.int64)
        saved = tensors.saved_bytes(network, lambda: compute.logits(network, images))
        optimizer = sgd(network, recipe)
        with tensors.PeakOfTensors(iter((images, labels, *network.parameters(), *network.buffers()))) as peak:
            for _ in range(2):  # the second step has a velocity
                optimizer.zero_grad()
                torch.autograd.backward(functional.cross_entropy(compute.logits(network, images), labels))
                optimizer.step()
    return {"saved_bytes": sum(saved.values()) / len(images), "train_peak_tensor_bytes": peak.peak_bytes}
