"""Every private API of torch that training relies on, one function each. A new torch is checked against this list.

SGD: `torch.optim.Optimizer`'s methods, and the optimizers' `step`, are wrapped by functions that import torch._dynamo,
    the compiler, when they are first called; what they wrap is their `__wrapped__`. `torch._compile` looks for a
    method's uncompiled form in its attribute `__dynamo_disable`.
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


class SGD(torch.optim.SGD):
    """torch.optim.SGD that leaves the compiler alone: to import it takes every process two seconds.

    Where torch has other wrappers than those that are known here, it imports the compiler, and computes the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
            method = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
            if method is not None and not hasattr(method, "__dynamo_disable"):
                setattr(method, "__dynamo_disable", method)  # a class would mangle the name
        super().__init__(*args, **kwargs)

    @torch.no_grad()  # all that the wrapper does where nothing is compiled
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights from their gradients."""
        step = torch.optim.SGD.step
        getattr(step, "__wrapped__", step)(self, closure)


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
