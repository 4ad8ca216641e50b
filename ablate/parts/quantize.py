"""Convolutions whose weights are used at `bits` bits, and stored at 32 for the optimiser."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def he_std(kernel: int, channels_in: int) -> float:
    """Standard deviation of He initialisation, and the constant by which 1-bit weights are scaled.

    Source: [WR] eq. 1, sqrt(2 / (F * F * C_in)).
    """
    return math.sqrt(2.0 / (kernel * kernel * channels_in))


class _SignTimesConstant(torch.autograd.Function):
    """W -> constant * sign(W), sign(0) = +1; the gradient passes straight through, unclipped."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, constant: float) -> Tensor:
        return weight.ge(0).to(weight.dtype).mul_(2 * constant).sub_(constant)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class Conv2d(nn.Conv2d):
    """A square convolution without bias, at 1 or 32 bits per weight, He-initialised from `generator`.

    At 1 bit, forward and backward see sqrt(2 / (F * F * C_in)) * sign(W); the optimiser updates the
    real-valued W. The weights are scaled, not the feature maps, so that weight gradients are not.

    Args:
        channels_in: channels of the input, (N, C_in, H, W).
        channels_out: channels of the output.
        kernel: side F of the filter, in pixels.
        stride: in pixels.
        bits: bits per weight, 1 or 32.
        generator: source of the initial weights.

    Source: [WR] eq. 1.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        bits: int,
        generator: torch.Generator | None,
    ):
        if bits not in (1, 32):
            raise ValueError(f"bits={bits}: weights have 1 or 32 bits")
        super().__init__(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bits = bits
        self.constant = he_std(kernel, channels_in)
        nn.init.normal_(self.weight, std=self.constant, generator=generator)

    def reset_parameters(self) -> None:
        """Left to `__init__`, which draws from the trial's own generator and never the global one."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        weight = self.weight if self.bits == 32 else _SignTimesConstant.apply(self.weight, self.constant)
        return functional.conv2d(input, weight, None, self.stride, self.padding)
