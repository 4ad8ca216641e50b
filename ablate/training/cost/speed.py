"""The speed of a network's inference, by the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ablate.training.compute import Compute

BATCH = 128
LEAST, MOST = 5, 1000
"""Bounds of the number of repetitions, which together take about PATIENCE_S."""
PATIENCE_S = 0.3


def inference(network: nn.Module, images: Tensor, compute: Compute) -> dict[str, float]:
    """Return the latency of one image and the throughput of batches of 128: medians, and quartiles as their spread.

    Args:
        network: folded, as `compute` placed it.
        images: (1, C, H, W) uint8, on the device.
        compute: the device and the precision.
    """
    many = images.expand(BATCH, -1, -1, -1).contiguous()
    with torch.inference_mode():
        single = _quartiles(lambda: compute.logits(network, images), compute)
        batch = _quartiles(lambda: compute.logits(network, many), compute)
    return {
        "latency_ms": 1e3 * single[1],
        "latency_low_ms": 1e3 * single[0],
        "latency_high_ms": 1e3 * single[2],
        "inference_images_per_s": BATCH / batch[1],
        "inference_low_images_per_s": BATCH / batch[2],
        "inference_high_images_per_s": BATCH / batch[0],
    }


def _quartiles(step: Callable[[], object], compute: Compute) -> tuple[float, float, float]:
    """Return the quartiles of a step's seconds, after a first step that is not timed."""
    _seconds(step, compute)
    taken = [_seconds(step, compute) for _ in range(LEAST)]
    while len(taken) < MOST and sum(taken) < PATIENCE_S:
        taken.append(_seconds(step, compute))
    low, middle, high = statistics.quantiles(taken, n=4)
    return low, middle, high


def _seconds(step: Callable[[], object], compute: Compute) -> float:
    began = time.perf_counter()
    step()
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)
    return time.perf_counter() - began
