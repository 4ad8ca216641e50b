"""The levels of `norm`: the layers before each convolution, and the layer that ends the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

INPUT_EPS = 1e-5


@dataclass(frozen=True)
class Arm:
    """One level of the factor `norm`: how to make its layers.

    before_conv: channels -> the layer between a convolution's output and the next convolution. It is norm and
        activation together, and keeps the shape (N, C, H, W).
    head: classes -> the layer between the classifier's maps and the global average pool.
    """

    before_conv: Callable[[int], nn.Module]
    head: Callable[[int], nn.Module]


class BatchNorm2d(nn.BatchNorm2d):
    """Torch's batch norm, with a flag for batches that are trained in shards.

    sync: batch statistics are those of the whole batch, not of each shard. This class does not compute them:
    `ablate.training.shards.sharded` replaces it by a layer that does.
    """

    def __init__(self, channels: int, *, eps: float, affine: bool = True, sync: bool = False):
        super().__init__(channels, eps=eps, affine=affine)
        self.sync = sync


def bn(*, affine: bool, eps: float, sync: bool = False) -> Arm:
    """Return the arm of batch norm and ReLU. With `affine` scale and offset are learned, except in the head.

    Source: [WR] section 3.2.1.
    """

    def before_conv(channels: int) -> nn.Module:
        return nn.Sequential(BatchNorm2d(channels, eps=eps, affine=affine, sync=sync), nn.ReLU(inplace=True))

    return Arm(before_conv, head=lambda classes: BatchNorm2d(classes, eps=eps, affine=False, sync=sync))


def srelu(*, floor: float, temperature: float) -> Arm:
    """Return the arm of shifted ReLU, max(x, floor), in place of batch norm and ReLU.

    The head divides the logits by a temperature.

    Source: [SB]; there the floor is -1 and the temperature 25 to 80.
    """
    return Arm(before_conv=lambda _channels: ShiftedReLU(floor), head=lambda _classes: Temperature(temperature))


def gn(*, groups: int, eps: float, temperature: float) -> Arm:
    """Return the arm of group norm with learned scale and offset, and ReLU. The head divides by a temperature.

    Source: Wu and He, arXiv 1803.08494.
    """

    def before_conv(channels: int) -> nn.Module:
        return nn.Sequential(nn.GroupNorm(groups, channels, eps=eps), nn.ReLU(inplace=True))

    return Arm(before_conv, head=lambda _classes: Temperature(temperature))


def ln(*, eps: float, temperature: float) -> Arm:
    """Return the arm of layer norm over the channels of each pixel, with learned scale and offset, and ReLU.

    The head divides the logits by a temperature.

    Source: Ba, Kiros and Hinton, arXiv 1607.06450.
    """

    def before_conv(channels: int) -> nn.Module:
        return nn.Sequential(ChannelNorm(channels, eps=eps), nn.ReLU(inplace=True))

    return Arm(before_conv, head=lambda _classes: Temperature(temperature))


def none(*, temperature: float) -> Arm:
    """Return the arm of plain ReLU in place of batch norm and ReLU. The head divides by a temperature."""
    return Arm(before_conv=lambda _channels: nn.ReLU(), head=lambda _classes: Temperature(temperature))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over dimension 1 of (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class _ShiftedReLU(torch.autograd.Function):
    """max(x, floor), keeping its output for the backward pass.

    The next convolution keeps that output anyway. `clamp` would keep its input in addition.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, floor: float) -> Tensor:
        return x.clamp_min(floor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.floor = inputs[1]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (output,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], output, ctx.floor), None


class ShiftedReLU(nn.Module):
    """The larger of x and the floor. The gradient is 0 where the output is the floor."""

    def __init__(self, floor: float):
        super().__init__()
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return x.clamp_min(self.floor)  # calling a custom Function takes longer than computing a small map
        floored: Tensor = _ShiftedReLU.apply(x, self.floor)
        return floored

    def extra_repr(self) -> str:
        return f"floor={self.floor}"


class Temperature(nn.Module):
    """Divides its input by a constant."""

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        return x / self.temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"
