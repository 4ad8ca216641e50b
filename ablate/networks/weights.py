"""The trained networks that the authors published, as MATLAB files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ablate.core.errors import UsageError
from ablate.networks.norm import bn
from ablate.networks.quantize import Conv2d
from ablate.networks.resnet_description import WIDE_BASE_CHANNELS
from ablate.networks.wrn import WideResNet


def read_mat(path: Path) -> WideResNet:
    """Return a 1-bit network with batch norm from a file like CIFAR10_allparams.mat, in evaluation mode.

    Depth, width, channels and classes follow from the arrays. The numbers in the arrays' names give their order in
    the network. There are two kinds:

    - `conv2d*`, uint8 (1, F, F, C_in, C_out), with 0 for -1 and 1 for +1;
    - `batch_normalization*`, float32: the first is (4, C) with scale, offset, mean and variance, the others are
      (2, C) with mean and variance.

    Raises:
        UsageError: the file is no MATLAB file, or its arrays are not those of such a network.

    Source: the authors' code release.
    """
    from scipy.io import loadmat

    try:
        arrays = loadmat(path)
    except Exception as error:  # scipy raises whatever its parser trips over
        raise UsageError(f"weights={path}: not a readable MATLAB file ({error})") from error
    kernels, norms = (_in_order(arrays, kind) for kind in ("conv2d", "batch_normalization"))
    try:
        if not kernels or not norms:
            raise ValueError("no arrays named conv2d and batch_normalization")
        network = _network(kernels)
        for kernel, layer in zip(kernels, _layers(network, Conv2d), strict=True):
            _fill(layer.weight, kernel[0].permute(3, 2, 0, 1).float() * 2 - 1)
        for values, layer in zip(norms, _layers(network, nn.BatchNorm2d), strict=True):
            targets = [layer.weight, layer.bias] if layer.affine else []
            for target, value in zip([*targets, layer.running_mean, layer.running_var], values, strict=True):
                _fill(target, value)
    except (ValueError, IndexError, RuntimeError) as error:
        raise UsageError(f"weights={path}: not the arrays of a wide ResNet with batch norm ({error})") from error
    return network.eval()


def _in_order(arrays: dict[str, Any], kind: str) -> list[Tensor]:
    def number(name: str) -> int:
        return int((re.findall(r"_(\d+)$", name) or [0])[0])

    named = sorted((name for name in arrays if re.fullmatch(rf"{kind}(_v\d+)?(_\d+)?", name)), key=number)
    return [torch.from_numpy(arrays[name]) for name in named]


def _network(kernels: list[Tensor]) -> WideResNet:
    channels, stem_channels = kernels[0].shape[-2:]
    if stem_channels % WIDE_BASE_CHANNELS:
        raise ValueError(f"{stem_channels} channels after the stem, no multiple of {WIDE_BASE_CHANNELS}")
    return WideResNet(
        arm=bn(affine=False, eps=1e-5),
        depth=len(kernels),
        width=stem_channels // WIDE_BASE_CHANNELS,
        bits=1,
        channels=channels,
        classes=kernels[-1].shape[-1],
        padding="tf",
    )


def _layers(network: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, kind)]


@torch.no_grad()
def _fill(target: Tensor, value: Tensor) -> None:
    if target.shape != value.shape:
        raise ValueError(f"an array of shape {tuple(value.shape)} where {tuple(target.shape)} belongs")
    target.copy_(value)
