"""The operations of a folded network on one image, as torch.export traces them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ablate.core.errors import UsageError
from ablate.deploy.fold import FixedConv2d

Shape = tuple[int, ...]
"""The shape of one image's maps: (C, H, W), or (C,) once the pixels are averaged."""


@dataclass(frozen=True)
class Map:
    """The maps that an operation reads or writes. `number` is unique in the graph."""

    number: int
    shape: Shape

    @property
    def size(self) -> int:
        """Return how many numbers the maps hold."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Op:
    """One operation.

    kind: conv, scale (one factor per channel, per pixel or for all), offset (one summand per channel), floor (the
        larger of the map and a number), add, average_pool, max_pool, pad, group_norm, channel_norm, mean (of pixels).
    reads: the maps that it reads. writes: the map that it writes, never one that it reads.
    layer: dotted name of the layer with its weights; empty where it has none.
    values: numbers and tensors that it needs, by name.
    """

    kind: str
    reads: tuple[Map, ...]
    writes: Map
    layer: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """Operations in the order of computing, the image that they start from and the logits that they end with."""

    image: Map
    ops: Sequence[Op]
    logits: Map


def graph_of(network: nn.Module, shape: Shape) -> Graph:
    """Return the graph of a network that `fold.folded` made.

    Args:
        network: for images of this shape.
        shape: (C, H, W) of an image.

    Raises:
        UsageError: the network computes something that is no kind of `Op`, or branches on values that it computes.
    """
    like = next((buffer for buffer in network.buffers() if buffer.is_floating_point()), torch.zeros(0))
    image = torch.zeros(1, *shape, dtype=like.dtype, device=like.device)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's own warnings of its inner workings
            exported = torch.export.export(network, (image,))
    except Exception as error:  # of any kind: it runs the network's own code
        why = str(error).strip().partition("\n")[0]
        raise UsageError(f"torch.export cannot follow the network ({type(error).__name__}: {why})") from error
    return _Lowering(exported, dict(network.named_modules()))()


_OVERWRITES = {"relu_": "relu", "clamp_min_": "clamp_min", "add_": "add", "mul_": "mul", "div_": "div"}
_PASSED_OVER = ("promote_types", "dropout", "contiguous", "clone", "alias", "detach", "_assert_tensor_metadata")


class _Lowering:
    """Translate torch's graph into ours. A node is a map, or a constant: a value that depends on no pixel."""

    def __init__(self, exported: Any, modules: Mapping[str, nn.Module]) -> None:
        self.exported, self.modules = exported, modules
        signature = exported.graph_signature
        self.names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.maps: dict[Any, Map] = {}
        self.constants: dict[Any, Any] = {}
        self.layers: dict[Any, str] = {}
        self.channels_last: dict[Any, Map] = {}
        self.ops: list[Op] = []

    def __call__(self) -> Graph:
        image = logits = None
        for node in self.exported.graph.nodes:
            if node.op == "placeholder" and node.name in self.names:
                name = self.names[node.name]
                self.constants[node] = {**self.exported.state_dict, **self.exported.constants}[name]
                self.layers[node] = name.rpartition(".")[0]
            elif node.op == "placeholder":
                image = self._new(node)
            elif node.op == "output":
                logits = self._read(node.args[0][0])
            else:
                self._call(node)
        assert image is not None
        assert logits is not None
        return Graph(image, self._needed_for(logits), logits)

    def _call(self, node: Any) -> None:
        called = node.target.__name__.partition(".")[0]
        name = _OVERWRITES.get(called, called)
        inputs = [source for source in node.all_input_nodes if source not in self.constants]
        if name in _PASSED_OVER and len(inputs) == 1:
            self.maps[node] = self._read(inputs[0])
        elif not inputs or name in ("ones_like", "zeros_like", "full_like", "promote_types"):
            self.constants[node] = self._computed(node)
        elif name in _LOWERED:
            further = ", ".join(f"{key}={value}" for key, value in node.kwargs.items() if key != "dtype")
            if further:
                raise UsageError(f"the network computes {name} with {further}, which an export has no form for")
            _LOWERED[name](self, node)
            if called in _OVERWRITES:
                self._replace(self._read(node.args[0]), self._read(node))
        else:
            raise UsageError(f"the network computes {name}, which an export has no form for")

    def _computed(self, node: Any) -> Any:
        """Return the value of a constant. It may depend on the shape of a map, for which zeros stand in."""

        def value_of(source: Any) -> Any:
            if source in self.constants:
                return self.constants[source]
            return torch.zeros(source.meta["val"].shape, dtype=source.meta["val"].dtype)

        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), value_of)
        return node.target(*args, **kwargs)

    def _replace(self, overwritten: Map, result: Map) -> None:
        """Let all later operations that read the overwritten map read the result instead."""
        for node, current in self.maps.items():
            if current == overwritten:
                self.maps[node] = result

    def _new(self, node: Any) -> Map:
        self.maps[node] = Map(len(self.maps), tuple(node.meta["val"].shape[1:]))
        return self.maps[node]

    def _read(self, node: Any) -> Map:
        return self.maps[node]

    def _op(self, kind: str, node: Any, reads: Sequence[Any], layer: str = "", **values: Any) -> None:
        maps = tuple(self._read(source) for source in reads)
        self.ops.append(Op(kind, maps, self._new(node), layer, values))

    def _needed_for(self, logits: Map) -> list[Op]:
        """Return the operations on whose results the logits depend, in order."""
        wanted, kept = {logits.number}, []
        for op in reversed(self.ops):
            if op.writes.number in wanted:
                wanted |= {source.number for source in op.reads}
                kept.append(op)
        return kept[::-1]

    def _conv(self, node: Any) -> None:
        image, weight, bias, stride, padding, dilation, groups = _with_defaults(node, _CONV_DEFAULTS)
        if bias is not None or groups != 1 or _pair(dilation) != (1, 1):
            raise UsageError(
                "the network has a convolution with a bias, groups or dilation, which an export has no form for"
            )
        layer = self.modules[self.layers[weight]]
        coded = {"bits": layer.stored_bits, "step": layer.step} if isinstance(layer, FixedConv2d) else {"bits": 32}
        values = {"weight": self.constants[weight], "stride": _pair(stride), "padding": _pair(padding), **coded}
        self._op("conv", node, [image], self.layers[weight], **values)

    def _add(self, node: Any) -> None:
        first, second = node.args[:2]
        if first in self.maps and second in self.maps:
            if self._read(first).shape != self._read(second).shape:
                raise UsageError("the network adds maps of unlike shapes, which an export has no form for")
            self._op("add", node, [first, second])
        else:
            image, constant = (first, second) if first in self.maps else (second, first)
            self._op("offset", node, [image], self.layers.get(constant, ""), offset=self._number(constant, image))

    def _scaled(self, node: Any, *, divides: bool = False) -> None:
        first, second = node.args[:2]
        if second in self.maps and (divides or first in self.maps):
            raise UsageError("the network multiplies or divides by its maps, which an export has no form for")
        image, constant = (first, second) if first in self.maps else (second, first)
        factor = self._number(constant, image)
        layer = self.layers.get(constant, "")
        self._op("scale", node, [image], layer, factor=1 / factor if divides else factor)

    def _number(self, constant: Any, image: Any) -> Tensor:
        """Return a constant as float64 of shape (C, 1, 1), (1, H, W) or (1, 1, 1)."""
        value = torch.as_tensor(self.constants.get(constant, constant), dtype=torch.float64)
        value = (
            value.reshape((1,) * (3 - value.dim()) + tuple(value.shape)) if value.dim() < 3 else value.flatten(0, -3)
        )
        channels, height, width = self._read(image).shape
        if tuple(value.shape) not in ((channels, 1, 1), (1, height, width), (1, 1, 1)):
            raise UsageError("the network combines maps with constants in a way that an export has no form for")
        return value

    def _floor(self, node: Any) -> None:
        self._op("floor", node, node.args[:1], least=float(node.args[1]) if len(node.args) > 1 else 0.0)

    def _average_pool(self, node: Any) -> None:
        image, kernel, stride, padding, ceil, counted, divisor = _with_defaults(node, _POOL_DEFAULTS)
        if ceil or divisor or (counted and any(_pair(padding))):
            raise UsageError("the network has an average pool that counts its padding, which an export has no form for")
        self._op("average_pool", node, [image], **_window(kernel, stride, padding))

    def _max_pool(self, node: Any) -> None:
        image, kernel, stride, padding = _with_defaults(node, _POOL_DEFAULTS)[:4]
        if len(node.args) > 4:
            raise UsageError("the network has a dilated max pool, which an export has no form for")
        self._op("max_pool", node, [image], **_window(kernel, stride, padding))

    def _pad(self, node: Any) -> None:
        sides = list(node.args[1]) + [0] * (6 - len(node.args[1]))
        value = float(node.args[3]) if len(node.args) > 3 and node.args[3] is not None else 0.0
        if min(sides) < 0 or (len(node.args) > 2 and node.args[2] != "constant"):
            raise UsageError("the network pads with more than a constant, which an export has no form for")
        self._op("pad", node, node.args[:1], sides=sides, value=value)

    def _group_norm(self, node: Any) -> None:
        image, groups, weight, bias, eps = node.args[:5]
        values = {"weight": self.constants[weight], "bias": self.constants[bias]}
        self._op("group_norm", node, [image], self.layers[weight], groups=groups, eps=eps, **values)

    def _moved(self, node: Any) -> None:
        """Follow the two moves of a layer norm, channels to the end and back; refuse others."""
        image, *where = node.args
        if where == [1, -1] and image in self.maps:
            self.channels_last[node] = self.maps[node] = self._read(image)
        elif where == [-1, 1] and image in self.channels_last:
            self.maps[node] = self.channels_last[image]
        else:
            raise UsageError("the network moves dimensions of its maps, which an export has no form for")

    def _layer_norm(self, node: Any) -> None:
        image, _, weight, bias, eps = node.args[:5]
        if image not in self.channels_last:
            raise UsageError("the network has a layer norm over more than channels, which an export has no form for")
        before = self.channels_last[image]
        self.maps[node] = self.channels_last[node] = Map(len(self.maps), before.shape)
        values = {"weight": self.constants[weight], "bias": self.constants[bias], "eps": eps}
        self.ops.append(Op("channel_norm", (before,), self.maps[node], self.layers[weight], values))

    def _mean(self, node: Any) -> None:
        if sorted(axis % 4 for axis in node.args[1]) != [2, 3] or (len(node.args) > 2 and node.args[2]):
            raise UsageError("the network averages over more than pixels, which an export has no form for")
        self._op("mean", node, node.args[:1])


_CONV_DEFAULTS: tuple[Any, ...] = (None, None, None, [1, 1], [0, 0], [1, 1], 1)
_POOL_DEFAULTS: tuple[Any, ...] = (None, None, [], [0, 0], False, True, None)


def _with_defaults(node: Any, defaults: tuple[Any, ...]) -> list[Any]:
    """Return the node's arguments, completed by the defaults of those left out at the end."""
    return [*node.args, *defaults[len(node.args) :]]


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, Sequence) else [value]
    return (values[0], values[-1])


def _window(kernel: Any, stride: Any, padding: Any) -> dict[str, Any]:
    return {"kernel": _pair(kernel), "stride": _pair(stride or kernel), "padding": _pair(padding)}


_LOWERED: Mapping[str, Callable[[_Lowering, Any], None]] = {
    "conv2d": _Lowering._conv,
    "add": _Lowering._add,
    "mul": _Lowering._scaled,
    "div": lambda self, node: self._scaled(node, divides=True),
    "relu": _Lowering._floor,
    "clamp_min": _Lowering._floor,
    "avg_pool2d": _Lowering._average_pool,
    "max_pool2d": _Lowering._max_pool,
    "pad": _Lowering._pad,
    "group_norm": _Lowering._group_norm,
    "movedim": _Lowering._moved,
    "layer_norm": _Lowering._layer_norm,
    "mean": _Lowering._mean,
    "slice": lambda self, node: self._op("slice", node, node.args[:1]),
}
