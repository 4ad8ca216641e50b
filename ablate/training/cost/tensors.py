"""Bytes of tensors in training: what a forward pass keeps for the backward pass, and the most at one time."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ablate.training import torch_private

OUTSIDE = "other"
"""The kind of what no layer keeps, such as what an operation outside of every module reads."""


def saved_bytes(network: nn.Module, forward: Callable[[], object]) -> dict[str, int]:
    """Return the bytes that `forward` keeps for the backward pass, by the kind of layer that kept them, or OUTSIDE.

    A map that two layers keep is counted once, for the layer that kept it first: a shifted ReLU's output counts there,
    and not again in the convolution that reads it. Weights do not grow with the batch and are left out, quantized
    weights and copies in 16 bits too.

    Args:
        network: its leaf modules are the layers.
        forward: runs it in training mode, with gradients on.
    """
    inside: list[nn.Module] = []
    state = {torch_private.storage_address(tensor) for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, tuple[str, int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        layer, address = inside[-1] if inside else None, torch_private.storage_address(tensor)
        is_weight = layer is not None and tensor.shape in [parameter.shape for parameter in layer.parameters()]
        if not is_weight and address not in state:
            kind = type(layer).__name__ if layer else OUTSIDE
            # The tensor is kept here too, or its address would be used again.
            kept.setdefault(address, (kind, tensor.untyped_storage().nbytes(), tensor))
        return tensor

    with _followed(network, inside), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    by_kind: dict[str, int] = defaultdict(int)
    for kind, size, _ in kept.values():
        by_kind[kind] += size
    return dict(by_kind)


class PeakOfTensors:
    """A context that counts exactly, in `peak_bytes`, the most memory of tensors at one time.

    Memory that an operation takes and gives back inside itself is not seen. Fake tensors count like real ones.

    Args:
        existing: tensors that exist already and count too.
    """

    def __init__(self, existing: Iterator[Tensor]) -> None:
        self._live: dict[int, int] = {}
        self.live_bytes = self.peak_bytes = 0
        self._watching: AbstractContextManager[object] = torch_private.watching_results(self._count)
        for tensor in existing:
            self._count(tensor)

    def __enter__(self) -> PeakOfTensors:
        self._watching.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._watching.__exit__(*raised)

    def _count(self, tensor: Tensor) -> None:
        storage, address = tensor.untyped_storage(), torch_private.storage_address(tensor)
        if address in self._live:
            return
        self._live[address] = storage.nbytes()
        self.live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._uncount, address)

    def _uncount(self, address: int) -> None:
        self.live_bytes -= self._live.pop(address)


@contextmanager
def _followed(network: nn.Module, inside: list[nn.Module]) -> Iterator[None]:
    """Keep in `inside`, as its last item, the layer that is computing."""
    layers = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_pre_hook(lambda layer, _: inside.append(layer)) for layer in layers]
    hooks += [layer.register_forward_hook(lambda _layer, _read, _wrote: inside.pop() and None) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
