"""The wide residual network "depth-width" of [WR] and [SB], for all data sets but ImageNet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablate.networks.norm import INPUT_EPS, Arm, BatchNorm2d
from ablate.networks.quantize import HE_GAIN, PLAIN_GAIN, Conv2d, same_padding

BASE_CHANNELS = 16
STAGES = 3


class WideResNet(nn.Module):
    """Pre-activation wide ResNet without biases or learned shortcuts.

    Raw pixel values, 0 to 255, go in: an input BN with learned scale and offset replaces preprocessing;
    on shards of a batch it has the moments of the whole, as preprocessing would.

    Args:
        arm: what stands before each convolution, and the head.
        depth: number of convolutions, 6n + 2: a stem, 3 stages x n blocks x 2, a 1x1 classifier.
        width: k, a whole number; the stages have 16k, 32k and 64k channels, the stem 16k.
        bits: bits per weight of every convolution, stem and classifier included.
        channels: channels of the images.
        classes: number of classes.
        residual: with skip connections; without them the network is plain, and its initial weights and
            the constant of quantized ones are larger, as [WR] appendix B says.
        padding: where zeros are added at stride 2: "torch" on all sides, "tf" as TensorFlow's "same" does,
            which weights that the authors' code trained need.
        generator: source of the initial weights; None draws from torch's global one.

    Shapes: (N, channels, H, W) float -> (N, classes) logits, H and W any size from 4 up.

    Source: [WR] and [SB]; parameter counts agree with the authors' code.
    """

    def __init__(
        self,
        *,
        arm: Arm,
        depth: int,
        width: float,
        bits: int,
        channels: int,
        classes: int,
        residual: bool = True,
        padding: str = "torch",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        blocks = (depth - 2) // 6
        if depth != 6 * blocks + 2 or blocks < 1:
            raise ValueError(f"depth={depth}: a wide ResNet has 6n + 2 convolutions: 8, 14, 20, 26, ...")
        if width % 1:
            raise ValueError(f"width={width}: a wide ResNet's stages have 16, 32, 64 channels times a whole number")
        self.depth, self.width, self.channels, self.classes = depth, int(width), channels, classes
        widths = [BASE_CHANNELS * int(width) * 2**stage for stage in range(STAGES)]
        gain = HE_GAIN if residual else PLAIN_GAIN
        conv = functools.partial(Conv2d, bits=bits, generator=generator, gain=gain, padding=padding)

        self.input_norm = BatchNorm2d(channels, eps=INPUT_EPS, sync=True)
        self.stem = conv(channels, widths[0], 3)
        self.blocks = stages(arm, conv, widths, blocks, residual=residual, padding=padding)
        self.before_classifier = arm.before_conv(widths[-1])
        self.classifier = conv(widths[-1], classes, 1)
        self.head = arm.head(classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.stem(self.input_norm(images)))
        maps = self.head(self.classifier(self.before_classifier(maps)))
        return mean_of_pixels(maps)


def mean_of_pixels(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C), in at least 32 bits: in 16, logits of an image tie."""
    return maps.mean(dim=(2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))


def stages(
    arm: Arm, conv: Callable[..., nn.Module], widths: Sequence[int], blocks: int, *, residual: bool, padding: str
) -> nn.Sequential:
    """For each of `widths` so many blocks with that many channels; the first block gets widths[0] already."""
    made = nn.Sequential()
    channels_in = widths[0]
    for channels_out in widths:
        for _ in range(blocks):
            made.append(Block(arm, conv, channels_in, channels_out, residual=residual, padding=padding))
            channels_in = channels_out
    return made


class Block(nn.Module):
    """[norm and activation, 3x3 convolution] twice, plus the input where the network is residual.

    Where the channels double, the first convolution has stride 2, and the shortcut is a 3x3 average pool
    with stride 2, whose padding is not counted in the mean, with zeros for the new channels.
    """

    def __init__(
        self,
        arm: Arm,
        conv: Callable[..., nn.Module],
        channels_in: int,
        channels_out: int,
        *,
        residual: bool = True,
        padding: str = "torch",
    ):
        super().__init__()
        self.residual = residual
        self.padding = padding
        self.new_channels = channels_out - channels_in
        stride = 2 if self.new_channels else 1
        self.before_conv1 = arm.before_conv(channels_in)
        self.conv1 = conv(channels_in, channels_out, 3, stride=stride)
        self.before_conv2 = arm.before_conv(channels_out)
        self.conv2 = conv(channels_out, channels_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv1(self.before_conv1(x))
        branch = self.conv2(self.before_conv2(branch))
        return branch + self._shortcut(x) if self.residual else branch

    def _shortcut(self, x: Tensor) -> Tensor:
        if not self.new_channels:
            return x
        pooled = _average_pool_as_tf(x) if self.padding == "tf" else _AveragePool.apply(x)
        return functional.pad(pooled, (0, 0, 0, 0, 0, self.new_channels))


class _AveragePool(torch.autograd.Function):
    """3x3 with stride 2 and padding that is not counted in the mean.

    Keeps its input's shape for the backward pass, where torch's own keeps the input and reads nothing else of it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        (x,) = inputs
        is_last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.shape, ctx.format = x.shape, torch.channels_last if is_last else torch.contiguous_format

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        like = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=ctx.format)
        return torch.ops.aten.avg_pool2d_backward(gradient, like, [3, 3], [2, 2], [1, 1], False, False, None)


def _average_pool_as_tf(x: Tensor) -> Tensor:
    """3x3 with stride 2 and TensorFlow's "same" padding, which is not counted in the mean."""
    sides = same_padding(x.shape[-2:], kernel=3, stride=2)
    there = functional.pad(torch.ones_like(x[:1, :1]), sides)
    share = functional.avg_pool2d(there, 3, stride=2)  # of each window that is image
    return functional.avg_pool2d(functional.pad(x, sides), 3, stride=2) / share
