"""What a trial's network costs, to train and to use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from ablate.core.errors import UsageError
from ablate.deploy.fold import folded
from ablate.deploy.graph import graph_of
from ablate.training.compute import Compute
from ablate.training.cost import speed, tensors, work
from ablate.training.loop import Recipe, part_size, sgd

__all__ = ["of_inference", "of_training"]


def of_inference(network: nn.Module, images: Tensor, compute: Compute) -> dict[str, float]:
    """Sizes, operations and speed of a trained network that leaves the building; see `work` and `speed`.

    Operations are missing of a network of one's own that computes what no export has a form for.

    Args:
        network: trained, where `compute` placed it.
        images: (1, C, H, W) uint8, on the device.
        compute: the device and the precision.
    """
    made = folded(network)
    try:
        counted = work.work(graph_of(made, tuple(images.shape[1:])))
    except UsageError:
        counted = {}
    return {**work.sizes(network, made), **counted, **speed.inference(compute.placed(made), images, compute)}


def of_training(
    make: Callable[[], nn.Module], shape: tuple[int, ...], recipe: Recipe, compute: Compute
) -> dict[str, float]:
    """Memory of tensors in training, from two steps in which nothing is computed (torch's fake tensors).

    To the byte at fp32; at 16 bits within a few percent, where torch mistakes the types of some tensors of its own.

    saved_bytes: what the forward pass leaves for the backward pass, an image, weights excluded.
    train_peak_tensor_bytes: the most that tensors hold at one time, weights, gradients and velocity included.

    Args:
        make: the network, untrained.
        shape: (C, H, W) of an image.
        recipe: whose batch, or part of it, counts.
        compute: the device and the precision.
    """
    with FakeTensorMode(), torch.random.fork_rng(devices=[]), compute.device:
        network = make()
        images = torch.zeros(part_size(recipe), *shape, dtype=torch.uint8)
        labels = torch.zeros(len(images), dtype=torch.int64)
        saved = tensors.saved_bytes(network, lambda: compute.logits(network, images))
        optimizer = sgd(network, recipe)
        with tensors.PeakOfTensors(iter((images, labels, *network.parameters(), *network.buffers()))) as peak:
            for _ in range(2):  # the second finds a velocity
                optimizer.zero_grad()
                functional.cross_entropy(compute.logits(network, images), labels).backward()
                optimizer.step()
    return {"saved_bytes": sum(saved.values()) / len(images), "train_peak_tensor_bytes": peak.peak_bytes}
