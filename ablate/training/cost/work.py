"""The operations and the memory of inference on one image, counted exactly from the graph of the folded network."""

from __future__ import annotations

import math
from collections import Counter

from torch import nn

from ablate.deploy import buffers
from ablate.deploy.fold import FixedConv2d
from ablate.deploy.graph import Graph, Op

FLOAT_BYTES = 4

NORM_OPS = {"group_norm": 6, "channel_norm": 6}
"""Operations per number: one addition for the mean, three for the variance, a factor and a summand."""


def work(graph: Graph) -> dict[str, int]:
    """Count the operations on one image, and the memory of its maps.

    multiply_adds: of the convolutions. Every window counts in full, at the borders too.
    multiplications: those multiply_adds that multiply. A weight of 1 bit only decides between adding and subtracting.
    norm_ops, activation_ops, scale_ops, add_ops, pool_ops: the other operations, each a multiplication, an addition
        or a comparison of two numbers. Batch norms are folded: a factor and a summand. scale_ops are for temperatures
        and for the step of weights below 32 bits, one for each number in a convolution's output.
    inference_peak_bytes: the most bytes of maps, in 32 bits, at one time, the image and the logits excluded. The
        output of an operation that works in place needs no memory of its own.
    """
    counts = Counter(dict.fromkeys(("multiply_adds", "multiplications", *_KINDS), 0))
    for op in graph.ops:
        counts.update(_counted(op))
    return {**counts, "inference_peak_bytes": FLOAT_BYTES * buffers.most_at_once(buffers.buffers(graph))}


def sizes(trained: nn.Module, folded: nn.Module) -> dict[str, int]:
    """Count what is stored of a network.

    parameters: learned numbers.
    norm_moments: means and variances that batch norms store.
    weight_bytes: of the folded network, with weights packed at their bits and every other number in 32 bits.
    """
    norms = [
        layer for layer in trained.modules() if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None
    ]
    packed = {layer.weight: layer.stored_bits for layer in folded.modules() if isinstance(layer, FixedConv2d)}
    stored = (*folded.parameters(), *folded.buffers())
    return {
        "parameters": sum(parameter.numel() for parameter in trained.parameters()),
        "norm_moments": sum(2 * layer.num_features for layer in norms),
        "weight_bytes": sum(math.ceil(tensor.numel() * packed.get(tensor, 8 * FLOAT_BYTES) / 8) for tensor in stored),
    }


_KINDS = ("norm_ops", "activation_ops", "scale_ops", "add_ops", "pool_ops")


def _counted(op: Op) -> dict[str, int]:
    size = op.writes.size
    if op.kind == "conv":
        each = size * op.values["weight"][0].numel()
        bits = op.values["bits"]
        return {"multiply_adds": each, "multiplications": each * (bits > 1), "scale_ops": size * (bits < 32)}
    if op.kind in ("scale", "offset"):
        return {"norm_ops" if op.layer else "scale_ops": size}
    if op.kind in NORM_OPS:
        return {"norm_ops": NORM_OPS[op.kind] * size}
    if op.kind in ("average_pool", "max_pool"):
        return {"pool_ops": size * math.prod(op.values["kernel"])}
    if op.kind == "mean":
        return {"pool_ops": op.reads[0].size}
    return {"floor": {"activation_ops": size}, "add": {"add_ops": size}}.get(op.kind, {})
