"""ImageNet's residual network "depth-width" of [WR]: "18-2.5" there."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablate.networks.norm import INPUT_EPS, Arm, BatchNorm2d
from ablate.networks.quantize import HE_GAIN, PLAIN_GAIN, Conv2d, same_padding
from ablate.networks.resnet_description import imagenet_resnet_stages
from ablate.networks.wrn import mean_of_pixels, residual_blocks


class ImageNetResNet(nn.Module):
    """The 18-layer design of He et al. with the blocks, the input and the head of the wide ResNet.

    The stem is He et al.'s: a 7x7 convolution and a 3x3 max pool, each with stride 2, with no activation between or
    before them. That is our reading: [WR] names the design but not the stem.

    Each argument is a factor or hyperparameter of an ablation, and is named in the config; hence their number.

    Args:
        arm: the layers before each convolution but the stem, and the head.
        depth: number of convolutions, 8n + 2: a stem, 4 stages x n blocks x 2, a 1x1 classifier.
        width: k, with 64k a whole number; the stages have 64k, 128k, 256k and 512k channels, the stem 64k.
        padding: where zeros are added at stride 2, in the stem and the max pool too.

    The other arguments, and the shapes, are those of `WideResNet`.

    Raises:
        UsageError: there is no such network of this depth or width.

    Source: [WR]; He, Zhang, Ren and Sun, arXiv 1512.03385, table 1.
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
        stages = imagenet_resnet_stages(depth, width)
        first, last = stages.channels[0], stages.channels[-1]
        self.depth, self.width, self.channels, self.classes = depth, width, channels, classes
        gain = HE_GAIN if residual else PLAIN_GAIN
        conv = functools.partial(Conv2d, bits=bits, generator=generator, gain=gain, padding=padding)

        self.input_norm = BatchNorm2d(channels, eps=INPUT_EPS, sync=True)
        self.stem = conv(channels, first, 7, stride=2)
        self.pool = MaxPool(padding)
        self.blocks = residual_blocks(arm, conv, stages, residual=residual, padding=padding)
        self.before_classifier = arm.before_conv(last)
        self.classifier = conv(last, classes, 1)
        self.head = arm.head(classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.pool(self.stem(self.input_norm(images))))
        maps = self.head(self.classifier(self.before_classifier(maps)))
        return mean_of_pixels(maps)


class MaxPool(nn.Module):
    """Max pool, 3x3 with stride 2. Padding, whose sides `padding` decides, never counts as the largest value."""

    def __init__(self, padding: str):
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        if self.padding == "torch":
            return functional.max_pool2d(x, 3, stride=2, padding=1)
        around = functional.pad(x, same_padding(x.shape[-2:], kernel=3, stride=2), value=-torch.inf)
        return functional.max_pool2d(around, 3, stride=2)

    def extra_repr(self) -> str:
        return f"padding={self.padding}"
