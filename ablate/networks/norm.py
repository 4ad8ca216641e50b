"""The arms: what stands before each convolution, and what ends the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

INPUT_EPS = 1e-5


@dataclass(frozen=True)
class Arm:
    """One level of the factor `norm`.

    before_conv: channels -> the layer between a convolution's output and the next convolution,
        (N, C, H, W) to the same shape: norm and activation together.
    head: classes -> the layer between the classifier's maps and the global average pool.
    """

    before_conv: Callable[[int], nn.Module]
    head: Callable[[int], nn.Module]


class BatchNorm2d(nn.BatchNorm2d):
    """Torch's own. Where a batch is dealt in shards, `sync` asks for the moments of all, not of each.

    It computes nothing of that itself: `ablate.training.shards.dealt` puts a layer that does in its place.
    """

    def __init__(self, channels: int, *, eps: float, affine: bool = True, sync: bool = False):
        super().__init__(channels, eps=eps, affine=affine)
        self.sync = sync


def bn(*, affine: bool, eps: float, sync: bool = False) -> Arm:
    """Batch norm and ReLU; with `affine` the scale and offset are learned. The head's never are.

    Source: [WR] section 3.2.1.
    """

    def before_conv(channels: int) -> nn.Module:
        return nn.Sequential(BatchNorm2d(channels, eps=eps, affine=affine, sync=sync), nn.ReLU(inplace=True))

    return Arm(before_conv, head=lambda classes: BatchNorm2d(classes, eps=eps, affine=False, sync=sync))


def srelu(*, floor: float, temperature: float) -> Arm:
    """Shifted ReLU, max(x, floor), in place of batch norm and ReLU; logits divided by a temperature.

    Source: [SB]; floor is -1 there, the temperature 25 to 80.
    """
    return Arm(before_conv=lambda _channels: ShiftedReLU(floor), head=lambda _classes: Temperature(temperature))


def gn(*, groups: int, eps: float, temperature: float) -> Arm:
    """Group norm with learned scale and offset, and ReLU; logits divided by a temperature.

    Source: Wu and He, arXiv 1803.08494.
    """

    def before_conv(channels: int) -> nn.Module:
        return nn.Sequential(nn.GroupNorm(groups, channels, eps=eps), nn.ReLU(inplace=True))

    return Arm(before_conv, head=lambda _classes: Temperature(temperature))


def ln(*, eps: float, temperature: float) -> Arm:
    """Layer norm over the channels of each pixel, scale and offset learned, and ReLU; as `gn` otherwise.

    Source: Ba, Kiros and Hinton, arXiv 1607.06450.
    """

    def before_conv(channels: int) -> nn.Module:
        return nn.Sequential(ChannelNorm(channels, eps=eps), nn.ReLU(inplace=True))

    return Arm(before_conv, head=lambda _classes: Temperature(temperature))


def none(*, temperature: float) -> Arm:
    """Plain ReLU in place of batch norm and ReLU; logits divided by a temperature."""
    return Arm(before_conv=lambda _channels: nn.ReLU(), head=lambda _classes: Temperature(temperature))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over dimension 1 of (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class _ShiftedReLU(torch.autograd.Function):
    """Keeps its output, which the next convolution keeps anyway, where `clamp` would keep its input beside it."""

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
    """max(x, floor). The gradient is 0 where the output is the floor."""

    def __init__(self, floor: float):
        super().__init__()
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return x.clamp_min(self.floor)  # a Function of one's own takes longer to call than a small map to compute
        return _ShiftedReLU.apply(x, self.floor)

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
