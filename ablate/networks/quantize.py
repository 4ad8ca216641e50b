"""Convolutions that compute with weights of `bits` bits, and store them at 32 bits for the optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HE_GAIN = math.sqrt(2.0)
"""Gain of networks with skip connections: He's standard deviation is gain / sqrt(F * F * C_in). Source: [WR] eq. 1."""
PLAIN_GAIN = 2.0
"""Gain of networks without skip connections. Source: [WR] appendix B."""


STEPS = {1: 1.0, 2: 0.4978433, 4: 0.1676003, 8: 0.01538119}
"""Bits -> half the distance between neighbouring levels, for a weight of standard deviation 1.

Beyond 1 bit it is the one that minimises the mean squared error of quantising a standard normal weight.
Source: Max, Quantizing for minimum distortion (1960), uniform output levels.
"""

ALLOWED_BITS = (*STEPS, 32)


def quantized(weight: Tensor, bits: int, constant: float) -> Tensor:
    """Return each weight's nearest level.

    The levels are the odd multiples of constant * STEPS[bits], from -(2^bits - 1) to 2^bits - 1 times it.
    At 1 bit the result is constant * sign(W), with sign(0) = +1.

    >>> quantized(torch.tensor([-9.0, -0.1, 0.0, 1.2]), bits=1, constant=0.5).tolist()
    [-0.5, -0.5, 0.5, 0.5]

    Source: [WR] eq. 1 at 1 bit; the extension to more bits is ours.
    """
    step, most = constant * STEPS[bits], 2**bits - 1
    return weight.div(2 * step).floor_().mul_(2).add_(1).clamp_(-most, most).mul_(step)


class _StraightThrough(torch.autograd.Function):
    """Quantized weights, whose gradient passes unchanged and unclipped to the real-valued weights."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int, constant: float) -> Tensor:
        return quantized(weight, bits, constant)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


class Conv2d(nn.Conv2d):
    """A square convolution without bias, at 1 to 32 bits per weight, He-initialised from `generator`.

    The standard deviation of the initial weights is also the constant that scales quantized weights.
    Below 32 bits, the forward and the backward pass use `quantized` weights; the optimiser updates the real-valued
    ones. The weights are scaled, not the feature maps, so that the weights' gradients are not scaled.

    Each argument is a property of the layer or a factor of an ablation; hence their number.

    Args:
        channels_in: channels of the input, (N, C_in, H, W).
        channels_out: channels of the output.
        kernel: side F of the filter, in pixels.
        stride: in pixels.
        bits: bits per weight, one of ALLOWED_BITS.
        gain: the initial weights' standard deviation times sqrt(F * F * C_in).
        padding: where zeros are added at stride 2: "torch" on all sides, "tf" as TensorFlow's "same" does.
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
        gain: float = HE_GAIN,
        padding: str = "torch",
    ):
        if bits not in ALLOWED_BITS:
            raise ValueError(f"bits={bits}: allowed: {', '.join(map(str, ALLOWED_BITS))}")
        super().__init__(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bits = bits
        self.as_tf = padding == "tf" and stride > 1
        self.constant = gain / math.sqrt(kernel * kernel * channels_in)
        nn.init.normal_(self.weight, std=self.constant, generator=generator)

    def reset_parameters(self) -> None:
        """Do nothing: `__init__` draws from the trial's own generator, never from the global one."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        weight = self.weight if self.bits == 32 else _StraightThrough.apply(self.weight, self.bits, self.constant)
        if self.as_tf:
            input = functional.pad(input, same_padding(input.shape[-2:], self.kernel_size[0], self.stride[0]))  # noqa: A001
        return functional.conv2d(input, weight, None, self.stride, 0 if self.as_tf else self.padding)


def same_padding(size: Sequence[int], kernel: int, stride: int) -> list[int]:
    """Return TensorFlow's "same" padding of (H, W) in the order of torch's pad: left, right, top, bottom.

    >>> same_padding((8, 7), kernel=3, stride=2)
    [1, 1, 0, 1]
    """
    whole = [max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in reversed(size)]
    return [side for total in whole for side in (total // 2, total - total // 2)]
