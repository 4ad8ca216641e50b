"""The network, stated a second time: PAPER.md's words in plain tensor operations, no layer of torch's or ours."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.quantize import Conv2d
from ablate.networks.wrn import WideResNet
from tests.networks.test_networks import ARMS

STEP = {1: 1.0, 2: 0.4978433, 4: 0.1676003, 8: 0.01538119}


def stated(network, images, *, arm, bits, depth, residual, padding, imagenet=False):
    """(N, C, H, W) -> (N, classes), from the network's numbers alone, in the order in which they are used.

    ImageNet's: a 7x7 stem of stride 2, a 3x3 max pool of stride 2, and 4 stages.
    """
    weights = iter([module.weight for module in network.modules() if isinstance(module, Conv2d)])
    norms = iter([m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm)])
    training = network.training

    def conv(x, stride=1):
        weight = next(weights)
        _, channels, side, _ = weight.shape
        constant = (math.sqrt(2) if residual else 2) / math.sqrt(side * side * channels)
        if bits < 32:
            multiple = 2 * torch.floor(weight / constant / STEP[bits] / 2) + 1
            weight = multiple.clamp(-(2**bits) + 1, 2**bits - 1) * STEP[bits] * constant
        windows = in_windows(x, side, stride, 0.0)
        return torch.einsum("nchwij,ocij->nohw", windows, weight)

    def in_windows(x, side, stride, fill):
        before = [side // 2] * 2
        if stride == 2 and padding == "tf":
            before = [(side - 2 + n % 2) // 2 for n in x.shape[-2:]]
        height, width = (-(-n // stride) for n in x.shape[-2:])
        around = x.new_full((*x.shape[:2], x.shape[2] + 2 * side, x.shape[3] + 2 * side), fill)
        around[:, :, before[0] : before[0] + x.shape[2], before[1] : before[1] + x.shape[3]] = x
        reached = around[:, :, : (height - 1) * stride + side, : (width - 1) * stride + side]
        return reached.unfold(2, side, stride).unfold(3, side, stride)

    def pool(x):
        return in_windows(x, 3, 2, float("nan")).nanmean((-2, -1))

    def batch_norm(x):
        layer = next(norms)
        mean, var = (x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0))
        if not training:
            mean, var = layer.running_mean, layer.running_var
        return shaped(layer, (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5))

    def shaped(layer, x):
        return x if layer.weight is None else x * layer.weight[:, None, None] + layer.bias[:, None, None]

    def group_norm(x, layer, groups):
        parts = x.reshape(len(x), groups, -1)
        parts = (parts - parts.mean(2, keepdim=True)) / torch.sqrt(parts.var(2, keepdim=True, correction=0) + 1e-5)
        return shaped(layer, parts.reshape(x.shape))

    def before_conv(x):
        if arm in ("bn", "bn_fixed"):
            x = batch_norm(x)
        if arm == "gn":
            x = group_norm(x, next(norms), 8)
        if arm == "ln":
            layer = next(norms)
            x = shaped(layer, (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True, correction=0) + 1e-5))
        return torch.maximum(x, torch.tensor(-1.0 if arm == "srelu" else 0.0, dtype=x.dtype))

    x = conv(batch_norm(images), stride=2 if imagenet else 1)
    if imagenet:
        x = in_windows(x, 3, 2, -math.inf).amax((-2, -1))
    stages = 4 if imagenet else 3
    for stage, block in itertools.product(range(stages), range((depth - 2) // 2 // stages)):
        halves = stage > 0 and block == 0
        branch = conv(before_conv(x), stride=2 if halves else 1)
        branch = conv(before_conv(branch))
        if halves:
            x = torch.cat([pool(x), torch.zeros_like(pool(x))], 1)
        x = branch + x if residual else branch
    x = conv(before_conv(x))
    x = batch_norm(x) if arm in ("bn", "bn_fixed") else x / 10
    assert next(weights, None) is None
    assert next(norms, None) is None
    return x.mean((2, 3))


CASES = [
    *itertools.product(ARMS, (1, 32), (8, 14, 20), (1, 2), (True,), ("torch", "tf"), (8,)),
    *itertools.product(("bn", "srelu"), (1, 2, 4, 8, 32), (8,), (1,), (True, False), ("torch", "tf"), (7, 8)),
]


@pytest.mark.parametrize(("arm", "bits", "depth", "width", "residual", "padding", "size"), CASES)
def test_the_network_is_what_the_paper_says(arm, bits, depth, width, residual, padding, size):
    shape = {"depth": depth, "width": width, "channels": 3, "classes": 10}
    how = {"bits": bits, "residual": residual, "padding": padding}
    compare(WideResNet, shape, how, arm, (size, size + 1), tolerance=1e-6)


IMAGENET_CASES = [
    *itertools.product(ARMS, (1, 32), (10, 18), (0.125,), (True,), ("torch", "tf"), ((32, 45),)),
    *itertools.product(("bn", "srelu"), (1, 2, 32), (10,), (0.25,), (True, False), ("torch", "tf"), ((33, 64), (8, 7))),
]


@pytest.mark.parametrize(("arm", "bits", "depth", "width", "residual", "padding", "size"), IMAGENET_CASES)
def test_imagenets_network_is_what_the_paper_says(arm, bits, depth, width, residual, padding, size):
    shape = {"depth": depth, "width": width, "channels": 3, "classes": 10}
    how = {"bits": bits, "residual": residual, "padding": padding}
    compare(ImageNetResNet, shape, how, arm, size, tolerance=1e-4)


def compare(kind, shape, how, arm, size, tolerance):
    generator = torch.Generator().manual_seed(0)
    network = kind(arm=ARMS[arm], **shape, **how, generator=generator).double()
    with torch.no_grad():  # numbers that no norm starts with, so that each of them counts
        for name, value in network.state_dict().items():
            if "running_var" in name or (value.dim() == 1 and "weight" in name):
                value.uniform_(0.5, 2, generator=generator)
            elif value.dim() == 1:
                value.normal_(0, 0.5, generator=generator)
    images = torch.randint(0, 256, (3, 3, *size), generator=generator).double()
    imagenet = kind is ImageNetResNet
    for mode in (network.eval, network.train):  # training last: it moves the running statistics
        mode()
        with torch.no_grad():
            expected = stated(network, images, arm=arm, depth=shape["depth"], **how, imagenet=imagenet)
            torch.testing.assert_close(network(images), expected, rtol=tolerance, atol=tolerance)
