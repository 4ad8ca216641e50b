"""A trained network made ready for export: weights at their bits, batch norms folded."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ablate.networks.quantize import STEPS, Conv2d, quantized


def folded(network: nn.Module) -> nn.Module:
    """Return a copy for inference, with batch norms folded and weights at their bits.

    Each batch norm becomes one scale and one offset per channel. Everything else stays as it is, so this works for
    users' own networks and arms too. Logits differ from the trained network's by rounding only.
    """
    inference = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(inference.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d) and child.running_var is not None:
                setattr(module, name, Affine(child))
            elif isinstance(child, Conv2d):
                setattr(module, name, FixedConv2d(child))
    return inference


class Affine(nn.Module):
    """A batch norm in evaluation: scale * x + offset, with one scale and one offset per channel of (N, C, H, W)."""

    scale: Tensor
    offset: Tensor

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        offset = -norm.running_mean.double() * scale
        if norm.affine:
            scale, offset = norm.weight.double() * scale, norm.weight.double() * offset + norm.bias.double()
        self.register_buffer("scale", scale.to(norm.running_mean.dtype).reshape(-1, 1, 1))
        self.register_buffer("offset", offset.to(norm.running_mean.dtype).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset


class FixedConv2d(Conv2d):
    """A convolution whose weights are the levels that the trained convolution computed with.

    Below 32 bits each weight is (2 * code - (2^bits - 1)) * step, with a whole code from 0 to 2^bits - 1.
    """

    def __init__(self, trained: Conv2d):
        nn.Conv2d.__init__(
            self,
            trained.in_channels,
            trained.out_channels,
            (trained.kernel_size[0], trained.kernel_size[1]),
            (trained.stride[0], trained.stride[1]),
            trained.kernel_size[0] // 2,
            bias=False,
        )
        self.bits, self.as_tf = 32, trained.as_tf
        self.stored_bits, self.step = trained.bits, trained.constant * STEPS.get(trained.bits, 1)
        self.requires_grad_(False)
        is_plain = self.stored_bits == 32
        self.weight.copy_(trained.weight if is_plain else quantized(trained.weight, trained.bits, trained.constant))

    @property
    def codes(self) -> Tensor:
        """Return the weights as uint8 codes, in the weights' shape. Only for layers below 32 bits."""
        codes: Tensor = ((self.weight / self.step + 2**self.stored_bits - 1) / 2).round().to(torch.uint8)
        return codes

    @codes.setter
    def codes(self, codes: Tensor) -> None:
        levels = codes.to(self.weight.dtype).mul_(2).sub_(2**self.stored_bits - 1)
        self.weight.copy_(levels.mul_(self.step))
