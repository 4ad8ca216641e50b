"""Every private API of torch that training relies on, one function each. A new torch is checked against this list.

set_compile_threads: `torch._inductor.config.compile_threads` is read when a network is compiled.
multiply_all, copy_all: `torch._foreach_mul_` and `torch._foreach_copy_` work on lists of tensors in few kernels.
take_over_state: `nn.Module._parameters` and `_buffers` are the dictionaries that hold a layer's state.
storage_address: `UntypedStorage._cdata` is the same for all tensors on one storage, and differs between live ones.
fake_tensors: `torch._subclasses.fake_tensor.FakeTensorMode` runs operations on shapes and types alone.
watching_results: `torch.utils._python_dispatch.TorchDispatchMode` sees every operation, the backward pass's too, and
    `torch.utils._pytree.tree_leaves` finds the tensors in what an operation returns.

What is slow to import is imported in its function.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn


def set_compile_threads(threads: int) -> None:
    """Have torch.compile use so many threads; by default it takes all cores, in processes of their own."""
    from torch._inductor import config

    config.compile_threads = threads


def multiply_all(tensors: list[Tensor], factor: float) -> None:
    """Multiply every tensor by the factor, in place."""
    torch._foreach_mul_(tensors, factor)


def copy_all(targets: list[Tensor], sources: tuple[Tensor, ...]) -> None:
    """Copy every source into the target at the same position."""
    torch._foreach_copy_(targets, sources)


def take_over_state(layer: nn.Module, other: nn.Module) -> None:
    """Make the other layer's parameters and buffers, the very same objects, those of `layer`."""
    layer._parameters, layer._buffers = other._parameters, other._buffers


def storage_address(tensor: Tensor) -> int:
    """Return a number that identifies the tensor's memory as long as anything holds it."""
    address: int = tensor.untyped_storage()._cdata
    return address


def fake_tensors() -> AbstractContextManager[object]:
    """Return a context in which tensors have a shape and a type but no memory, and nothing is computed."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode: AbstractContextManager[object] = FakeTensorMode()
    return mode


def watching_results(see: Callable[[Tensor], None]) -> AbstractContextManager[object]:
    """Return a context in which every tensor that an operation returns is shown to `see`."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    def dispatch(_mode: object, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor):
                see(leaf)
        return results

    watching: AbstractContextManager[object] = type(
        "Watching", (TorchDispatchMode,), {"__torch_dispatch__": dispatch}
    )()
    return watching
