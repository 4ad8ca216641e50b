"""Bytes of tensors in training: what a forward pass leaves for the backward pass, and the most that live at once."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
    held = {one.untyped_storage()._cdata for one in (*network.parameters(), *network.buffers())}
    kept: dict[int, tuple[str, int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        layer, storage = inside[-1] if inside else None, tensor.untyped_storage()
        is_weight = layer is not None and tensor.shape in [one.shape for one in layer.parameters()]
        if not is_weight and storage._cdata not in held:
            kind = type(layer).__name__ if layer else OUTSIDE
            kept.setdefault(storage._cdata, (kind, storage.nbytes(), tensor))  # held, or its address is reused
        return tensor

    with _followed(network, inside), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    by_kind: dict[str, int] = defaultdict(int)
    for kind, size, _ in kept.values():
        by_kind[kind] += size
    return dict(by_kind)


class PeakOfTensors(TorchDispatchMode):
    """While it is on: `peak_bytes`, the most that tensors' memory came to, counted exactly.

    Memory that an operation takes and gives back inside itself is not seen. Fake tensors count like real ones.

    Args:
        there: tensors that exist already and count too.
    """

    def __init__(self, there: Iterator[Tensor]) -> None:
        super().__init__()
        self._live: dict[int, int] = {}
        self.live_bytes = self.peak_bytes = 0
        for tensor in there:
            self._hold(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return made

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._live:
            return
        self._live[storage._cdata] = storage.nbytes()
        self.live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._let_go, storage._cdata)

    def _let_go(self, address: int) -> None:
        self.live_bytes -= self._live.pop(address)


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
