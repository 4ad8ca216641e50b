"""What inference on one image takes, counted exactly from the graph of the folded network."""

from __future__ import annotations

import math
from collections import Counter

from torch import nn

from ablate.deploy import buffers
from ablate.deploy.fold import FixedConv2d
from ablate.deploy.graph import Graph, Op

FLOAT_BYTES = 4

NORM_OPS = {"group_norm": 6, "channel_norm": 6}
"""Operations a number: one addition for the mean, three for the variance, a factor and a summand."""


def work(graph: Graph) -> dict[str, int]:
    """Operations on one image, and the memory of its maps.

    multiply_adds: of the convolutions, each window whole, at the borders too. multiplications: of these, those that
        multiply: a weight of 1 bit only says whether to add or to subtract.
    norm_ops, activation_ops, scale_ops, add_ops, pool_ops: the others, each a multiplication, an addition or a
        comparison of two numbers. Batch norms are folded: a factor and a summand. Scale is for temperatures, and for
        the step of weights below 32 bits, once for each number that a convolution gives.
    inference_peak_bytes: of maps in 32 bits that are in use at one time, at most, the image and the logits excluded;
        what needs no memory of its own stands where its input stood.
    """
    told = Counter(dict.fromkeys(("multiply_adds", "multiplications", *_KINDS), 0))
    for op in graph.ops:
        told.update(_counted(op))
    return {**told, "inference_peak_bytes": FLOAT_BYTES * buffers.most_at_once(buffers.buffers(graph))}


def sizes(trained: nn.Module, folded: nn.Module) -> dict[str, int]:
    """What is stored.

    parameters: learned numbers. norm_moments: means and variances that batch norms store.
    weight_bytes: of the folded network: weights packed at their bits, every other number in 32.
    """
    norms = [one for one in trained.modules() if isinstance(one, nn.BatchNorm2d) and one.running_mean is not None]
    packed = {one.weight: one.stored_bits for one in folded.modules() if isinstance(one, FixedConv2d)}
    stored = (*folded.parameters(), *folded.buffers())
    return {
        "parameters": sum(one.numel() for one in trained.parameters()),
        "norm_moments": sum(2 * one.num_features for one in norms),
        "weight_bytes": sum(math.ceil(one.numel() * packed.get(one, 8 * FLOAT_BYTES) / 8) for one in stored),
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
