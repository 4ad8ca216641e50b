"""What a graph is in C: calls of functions, and the constants and the buffer that they use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ablate.core.errors import UsageError
from ablate.deploy import buffers
from ablate.deploy.c_literals import float_literal, floats, identifier, integers
from ablate.deploy.fold import FixedConv2d
from ablate.deploy.graph import Graph, Map, Op
from ablate.deploy.packed import pack


@dataclass(frozen=True)
class Constant:
    """A const array, or a conv_shape, of the C source.

    kind: its type in C. count: number of elements. text: the elements. size: bytes.
    """

    kind: str
    name: str
    count: int
    text: str
    size: int


class Program:
    """The calls in C that compute a fused graph, and the constants that they read."""

    def __init__(self, graph: Graph, network: nn.Module) -> None:
        self.graph, self.network = graph, network
        map_buffers = buffers.buffers(graph)
        offsets, self.buffer_floats = buffers.offsets(map_buffers)
        self.offset_of = {
            number: offset for buffer, offset in zip(map_buffers, offsets, strict=True) for number in buffer.maps
        }
        self.constants: list[Constant] = []
        self.used: set[str] = set()
        self.calls = [call for op in graph.ops for call in self._call(op)]

    def values(self) -> dict[str, Any]:
        """Return the values that the templates need."""
        bits = sorted({op.values["bits"] for op in self.graph.ops if op.kind == "conv"})
        return {
            "buffer_floats": self.buffer_floats,
            "constants": self.constants,
            "constant_bytes": sum(constant.size for constant in self.constants),
            "convolutions": bits,
            "used": self.used,
            "calls": self.calls,
            "needs_math": bool({"group_norm", "channel_norm"} & self.used),
        }

    def _call(self, op: Op) -> Iterator[str]:
        source, target = self._address(op.reads[0]), self._address(op.writes)
        channels, rows, columns = op.reads[0].shape
        pixels, values = rows * columns, op.values
        if op.kind == "conv":
            yield self._conv(op, source, target)
        elif op.kind == "affine" and values["by_pixel"]:
            yield self._used("scale_pixels", source, target, self._array(op, values["factor"]), channels, pixels)
        elif op.kind == "affine":
            yield self._affine(op, source, target, channels, pixels)
        elif op.kind == "add":
            yield self._used("add", source, self._address(op.reads[1]), target, op.writes.size)
        elif op.kind in ("average_pool", "max_pool"):
            window = (*values["kernel"], *values["stride"], *values["padding"])
            yield self._used(op.kind, source, target, channels, rows, columns, *op.writes.shape[1:], *window)
        elif op.kind == "pad":
            left, _, top, _, before, _ = values["sides"]
            filled = float_literal(max(values["value"], float(np.finfo(np.float32).min)))
            yield self._used(
                "pad", source, target, filled, channels, rows, columns, before, top, left, *op.writes.shape
            )
        elif op.kind in ("group_norm", "channel_norm"):
            groups = [values["groups"]] if op.kind == "group_norm" else []
            learned = (self._array(op, values[key], key) for key in ("weight", "bias"))
            yield self._used(op.kind, source, target, *learned, float_literal(values["eps"]), *groups, channels, pixels)
        elif op.kind == "mean":
            yield self._used("mean", source, target, channels, pixels)
        else:
            raise UsageError(f"the network computes {op.kind}, which has no form in C")

    def _used(self, function: str, *arguments: object) -> str:
        self.used.add(function)
        return f"{function}({', '.join(map(str, arguments))})"

    def _address(self, maps: Map) -> str:
        if maps.number == self.graph.image.number:
            return "image"
        if maps.number == self.graph.logits.number:
            return "logits"
        offset = self.offset_of[maps.number]
        return f"buffer + {offset}" if offset else "buffer"

    def _conv(self, op: Op, source: str, target: str) -> str:
        values, stem = op.values, identifier(op.layer)
        bits = values["bits"]
        size = (
            *op.reads[0].shape,
            *op.writes.shape,
            *values["weight"].shape[2:],
            *values["stride"],
            *values["padding"],
        )
        self.constants.append(Constant("conv_shape", f"{stem}_shape", 1, ", ".join(map(str, size)), 4 * len(size)))
        if bits == 32:
            weights = self._array(op, values["weight"].permute(2, 3, 0, 1), "weights")
            return f"conv_32bit({source}, {target}, {weights}, &{stem}_shape)"
        layer = self.network.get_submodule(op.layer)
        assert isinstance(layer, FixedConv2d)
        packed = pack(layer.codes.cpu().permute(2, 3, 0, 1), bits).tolist()
        self.constants.append(Constant("uint8_t", f"{stem}_weights", len(packed), integers(packed), len(packed)))
        return f"conv_{bits}bit({source}, {target}, {stem}_weights, {float_literal(values['step'])}, &{stem}_shape)"

    def _affine(self, op: Op, source: str, target: str, channels: int, pixels: int) -> str:
        factor, offset, least = (op.values[key] for key in ("factor", "offset", "least"))
        size = channels * pixels
        if source == "image":
            pass
        elif factor is None and offset is None:
            return self._used("at_least", source, target, float_literal(least), size)
        elif offset is None and least is None and factor.numel() == 1:
            return self._used("scale", source, target, float_literal(factor.item()), size)
        factors = torch.ones(channels) if factor is None else factor.flatten().expand(channels)
        summands = torch.zeros(channels) if offset is None else offset.flatten().expand(channels)
        arrays = self._array(op, factors, "factor"), self._array(op, summands, "summand")
        if source == "image":
            return self._used("from_bytes", source, target, *arrays, channels, pixels)
        if least is None:
            return self._used("affine", source, target, *arrays, channels, pixels)
        return self._used("affine_at_least", source, target, *arrays, float_literal(least), channels, pixels)

    def _array(self, op: Op, values: Tensor, role: str = "factor") -> str:
        name = f"{identifier(op.layer or f'map_{op.writes.number}')}_{role}"
        flat: NDArray[Any] = values.detach().cpu().numpy().astype(np.float32).ravel()
        self.constants.append(Constant("float", name, len(flat), floats(flat.tolist()), 4 * len(flat)))
        return name
