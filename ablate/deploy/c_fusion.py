"""Neighbouring operations of a graph as one: fewer passes over memory in C."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ablate.core.errors import UsageError
from ablate.deploy.graph import Graph, Map, Op

_ORDER = ("factor", "offset", "least")
"""The order in which an affine applies its values."""


def fused(graph: Graph) -> Graph:
    """Return the graph with one `affine` operation for a factor, a summand and a floor that follow each other.

    An affine has these values: `factor` and `offset`, float64 tensors or None; `least`, a number or None; `by_pixel`,
    whether the factor differs between pixels. An affine that reads the image has no floor.

    Raises:
        UsageError: the graph adds a constant to each pixel.
    """
    read_numbers = [source.number for op in graph.ops for source in op.reads]
    ops: list[Op] = []
    for op in _reading_bytes(graph):
        following = _as_affine(op)
        before = ops[-1] if ops else None
        if (
            before is not None
            and before.kind == following.kind == "affine"
            and before.writes == following.reads[0]
            and read_numbers.count(before.writes.number) == 1
            and _fit(before, following, graph.image)
        ):
            values = {key: _either(before.values[key], following.values[key]) for key in (*_ORDER, "by_pixel")}
            layer = before.layer or following.layer
            ops[-1] = replace(before, writes=following.writes, layer=layer, values=values)
        else:
            ops.append(following)
    return Graph(graph.image, ops, graph.logits)


def _reading_bytes(graph: Graph) -> list[Op]:
    """Return the operations, preceded if necessary by one that converts the image's bytes to numbers."""
    readers = [op for op in graph.ops if graph.image in op.reads]
    if len(readers) == 1 and readers[0].kind == "scale" and len(readers[0].values["factor"]) == graph.image.shape[0]:
        return list(graph.ops)
    numbers = replace(graph.image, number=max(op.writes.number for op in graph.ops) + 1)
    first = Op("scale", (graph.image,), numbers, "", {"factor": torch.ones(graph.image.shape[0], 1, 1).double()})
    swapped = (
        replace(op, reads=tuple(numbers if source == graph.image else source for source in op.reads))
        for op in graph.ops
    )
    return [first, *swapped]


def _as_affine(op: Op) -> Op:
    if op.kind not in ("scale", "offset", "floor"):
        return op
    values: dict[str, Any] = {**dict.fromkeys(_ORDER), **op.values}
    constant = values["factor"] if values["factor"] is not None else values["offset"]
    by_pixel = constant is not None and max(constant.shape[1:]) > 1
    if by_pixel and values["offset"] is not None:
        raise UsageError("the network adds a constant to each pixel, which has no form in C")
    return replace(op, kind="affine", values={**values, "by_pixel": by_pixel})


def _fit(before: Op, following: Op, image: Map) -> bool:
    """Return whether one affine can do what `before` does and then what `following` does."""
    last_step = max(step for step, key in enumerate(_ORDER) if before.values[key] is not None)
    next_step = min(step for step, key in enumerate(_ORDER) if following.values[key] is not None)
    from_bytes = before.reads[0] == image and following.values["least"] is not None
    return last_step < next_step and not before.values["by_pixel"] and not from_bytes


def _either(first: Any, second: Any) -> Any:
    return second if first is None else first
