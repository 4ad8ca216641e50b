"""The device, the precision and the memory format in which a network's numbers are computed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ablate.training import torch_private

Call = Callable[[Tensor], Tensor]

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precision -> type of the maps, and of the weights that convolutions read; the weights themselves stay fp32."""

CPU_CACHE_BYTES = 32 * 2**20
"""Evaluation is fastest where a layer's maps stay in the last level's cache: docs/log.md."""

GPU_SHARE = 16
"""Of a GPU's memory, this part is for one layer's maps in evaluation: several trials may share it."""


def prepared(threads: int, device: str) -> str:
    """Make torch's results repeatable; return the device, "cpu" or "cuda"."""
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("warn")  # its other name, use_deterministic_algorithms, imports the compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over every new map, for nothing
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


class Compute:
    """One network on one device.

    Args:
        device: "cpu" or "cuda".
        precision: "fp32", "tf32", "bf16" or "fp16". The last two are torch's autocast: convolutions and maps in 16
            bits; weights, their updates, batch-norm statistics and the loss in 32. tf32, on GPUs: fp32 numbers, whose
            products keep 10 bits of mantissa. fp32 switches that off, which torch itself does not for convolutions.
    """

    def __init__(self, device: str, precision: str = "fp32") -> None:
        self.device, self.precision = torch.device(device), precision
        if self.device.type == "cuda":
            wanted = "tf32" if precision == "tf32" else "ieee"
            torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = wanted  # type: ignore[attr-defined]
        # A CPU's convolutions, and a GPU's units for short numbers, read channels-last maps as they are.
        is_last = self.device.type == "cpu" or precision != "fp32"
        self._format = torch.channels_last if is_last else torch.contiguous_format
        self._evaluation_batch: int | None = None

    def placed(self, network: nn.Module) -> nn.Module:
        """Return the network, moved to the device and into its memory format."""
        placed: nn.Module = network.to(self.device, memory_format=self._format)  # type: ignore[call-overload]
        return placed

    def logits(self, network: nn.Module, images: Tensor, *, call: Call | None = None) -> Tensor:
        """Return logits, (N, classes), of the type of the network's weights.

        Args:
            network: in training or in evaluation mode.
            images: (N, C, H, W) uint8, on the device.
            call: called in the network's stead, such as what `compiled` returns for it.
        """
        dtype = next((parameter.dtype for parameter in network.parameters()), torch.float32)
        images = images.to(dtype, memory_format=self._format)
        with self._autocast():
            return (network if call is None else call)(images).to(dtype)

    def evaluation_batch(self, network: nn.Module, images: Tensor) -> int:
        """Return how many images to evaluate at once: as many as the largest layer's maps leave room for.

        It is measured with the first of `images`, (N, C, H, W) uint8, once for this object's network.
        """
        if not len(images):  # a rank's share may be empty; it measures with a later one
            return 1
        if self._evaluation_batch is None:
            room = CPU_CACHE_BYTES
            if self.device.type == "cuda":
                room = torch.cuda.get_device_properties(self.device).total_memory // GPU_SHARE
            with _largest_layer(network) as largest, torch.inference_mode():
                self.logits(network, images[:1])
            self._evaluation_batch = max(1, room // largest[0])
        return self._evaluation_batch

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        kind = AUTOCAST.get(self.precision)
        return contextlib.nullcontext() if kind is None else torch.autocast(self.device.type, kind)


def compiled(network: nn.Module) -> Call:
    """Return the network compiled by torch, for the one shape of input with which it is called first.

    Compiled code is kept in torch's own folder (TORCHINDUCTOR_CACHE_DIR), for all trials and workers. On a GPU
    a step's kernels are launched at once, as CUDA graphs.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses CUDA where there is no GPU
    torch_private.set_compile_threads(torch.get_num_threads())
    torch.use_deterministic_algorithms(True, warn_only=True)  # tells the compiler too
    torch.compiler.reset()  # after a few networks in one process it would give up without a word
    on_gpu = next(network.parameters()).is_cuda
    return torch.compile(network, dynamic=False, mode="reduce-overhead" if on_gpu else None)


@contextlib.contextmanager
def _largest_layer(network: nn.Module) -> Iterator[list[int]]:
    """Yield a list of one number: the most bytes that a layer has read and written, with one more map of its output.

    The number is complete once the network has been called.
    """
    largest = [1]

    def look(_layer: nn.Module, read: tuple[Any, ...], wrote: Any) -> None:
        beside = wrote.nbytes if isinstance(wrote, Tensor) else 0
        largest[0] = max(largest[0], 2 * beside + sum(part.nbytes for part in read if isinstance(part, Tensor)))

    layers = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(look) for layer in layers]
    try:
        yield largest
    finally:
        for hook in hooks:
            hook.remove()
