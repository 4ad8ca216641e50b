"""What an arm costs: bytes that a network's maps hold between the forward and the backward pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

OUTSIDE = "other"
"""What is kept by no layer, such as what an operation outside of every module reads."""


def saved_bytes(network: nn.Module, forward: Callable[[], object]) -> dict[str, int]:
    """Bytes that `forward` keeps for the backward pass, by the kind of layer that kept them first, or OUTSIDE.

    A map that two layers keep is counted once, where it was kept first: a shifted ReLU's output there, and not
    again in the convolution that reads it. Weights do not grow with the batch and are left out, quantized ones
    and copies in 16 bits too.

    Args:
        network: its leaf modules are the layers.
        forward: runs it in training mode, with gradients on.
    """
    inside: list[nn.Module] = []
    held = {one.untyped_storage().data_ptr() for one in (*network.parameters(), *network.buffers())}
    kept: dict[int, tuple[str, int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        layer, storage = inside[-1] if inside else None, tensor.untyped_storage()
        is_weight = layer is not None and tensor.shape in [one.shape for one in layer.parameters()]
        if not is_weight and storage.data_ptr() not in held:
            kind = type(layer).__name__ if layer else OUTSIDE
            kept.setdefault(storage.data_ptr(), (kind, storage.nbytes(), tensor))  # held, or its address is reused
        return tensor

    with _followed(network, inside), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    by_kind: dict[str, int] = defaultdict(int)
    for kind, size, _ in kept.values():
        by_kind[kind] += size
    return dict(by_kind)


@contextmanager
def _followed(network: nn.Module, inside: list[nn.Module]) -> Iterator[None]:
    """Keeps in `inside` the layer that is computing."""
    layers = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_pre_hook(lambda layer, _: inside.append(layer)) for layer in layers]
    hooks += [layer.register_forward_hook(lambda _layer, _read, _wrote: inside.pop() and None) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
