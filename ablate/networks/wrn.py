"""The wide residual network "depth-width" of [WR] and [SB], for all data sets but ImageNet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablate.networks.norm import INPUT_EPS, Arm, BatchNorm2d
from ablate.networks.quantize import HE_GAIN, PLAIN_GAIN, Conv2d, same_padding
from ablate.networks.resnet_description import Stages, wide_resnet_stages


class WideResNet(nn.Module):
    """A pre-activation wide ResNet without biases or learned shortcuts.

    It reads raw pixel values, 0 to 255: a batch norm at the input, with learned scale and offset, replaces
    preprocessing. Where a batch is trained in shards, that norm uses the statistics of the whole batch, as
    preprocessing would.

    Each argument is a factor or hyperparameter of an ablation, and is named in the config; hence their number.

    Args:
        arm: the layers before each convolution but the stem, and the head.
        depth: number of convolutions, 6n + 2: a stem, 3 stages x n blocks x 2, a 1x1 classifier.
        width: k, a whole number; the stages have 16k, 32k and 64k channels, the stem 16k.
        bits: bits per weight of every convolution, stem and classifier included.
        channels: channels of the images.
        classes: number of classes.
        residual: whether there are skip connections. Without them the network is plain; its initial weights and
            the constant of quantized weights are then larger, as in [WR] appendix B.
        padding: where zeros are added at stride 2: "torch" on all sides, "tf" as TensorFlow's "same" does.
            Weights that the authors' code trained need "tf".
        generator: source of the initial weights; None draws from torch's global one.

    Raises:
        UsageError: there is no wide ResNet of this depth or width.

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
        stages = wide_resnet_stages(depth, width)
        first, last = stages.channels[0], stages.channels[-1]
        self.depth, self.width, self.channels, self.classes = depth, int(width), channels, classes
        gain = HE_GAIN if residual else PLAIN_GAIN
        conv = functools.partial(Conv2d, bits=bits, generator=generator, gain=gain, padding=padding)

        self.input_norm = BatchNorm2d(channels, eps=INPUT_EPS, sync=True)
        self.stem = conv(channels, first, 3)
        self.blocks = residual_blocks(arm, conv, stages, residual=residual, padding=padding)
        self.before_classifier = arm.before_conv(last)
        self.classifier = conv(last, classes, 1)
        self.head = arm.head(classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.stem(self.input_norm(images)))
        maps = self.head(self.classifier(self.before_classifier(maps)))
        return mean_of_pixels(maps)


def mean_of_pixels(maps: Tensor) -> Tensor:
    """Average (N, C, H, W) over the pixels to (N, C), in at least 32 bits: in 16, logits of an image would tie."""
    return maps.mean(dim=(2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))


def residual_blocks(
    arm: Arm, conv: Callable[..., nn.Module], stages: Stages, *, residual: bool, padding: str
) -> nn.Sequential:
    """Return the blocks of all stages. The first block reads as many channels as the first stage has."""
    blocks = nn.Sequential()
    channels_in = stages.channels[0]
    for channels_out in stages.channels:
        for _ in range(stages.blocks):
            blocks.append(Block(arm, conv, channels_in, channels_out, residual=residual, padding=padding))
            channels_in = channels_out
    return blocks


class Block(nn.Module):
    """A block: [norm and activation, 3x3 convolution] twice, plus the input where the network is residual.

    Where the channels double, the first convolution has stride 2. The shortcut is then a 3x3 average pool with
    stride 2, whose padding does not count in the mean, followed by zeros for the new channels.
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
        branch: Tensor = self.conv1(self.before_conv1(x))
        branch = self.conv2(self.before_conv2(branch))
        return branch + self._shortcut(x) if self.residual else branch

    def _shortcut(self, x: Tensor) -> Tensor:
        if not self.new_channels:
            return x
        pooled = _average_pool_as_tf(x) if self.padding == "tf" else _AveragePool.apply(x)
        return functional.pad(pooled, (0, 0, 0, 0, 0, self.new_channels))


class _AveragePool(torch.autograd.Function):
    """Average pool, 3x3 with stride 2, whose padding does not count in the mean.

    For the backward pass it keeps its input's shape. Torch's own pool keeps the whole input, and reads its shape only.
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
        back: Tensor = torch.ops.aten.avg_pool2d_backward(gradient, like, [3, 3], [2, 2], [1, 1], False, False, None)
        return back


def _average_pool_as_tf(x: Tensor) -> Tensor:
    """Average-pool 3x3 with stride 2 and TensorFlow's "same" padding, which does not count in the mean."""
    sides = same_padding(x.shape[-2:], kernel=3, stride=2)
    is_image = functional.pad(torch.ones_like(x[:1, :1]), sides)
    share = functional.avg_pool2d(is_image, 3, stride=2)  # of each window's pixels that are the image's
    return functional.avg_pool2d(functional.pad(x, sides), 3, stride=2) / share
