"""Networks as if they were trained: with moments, scales and offsets of their own."""

from __future__ import annotations

import torch
from torch import nn

from ablate.deploy.card import Card
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.wrn import WideResNet
from tests.networks.test_networks import ARMS

CLASSES = 10
SHAPES = {WideResNet: (3, 9, 11), ImageNetResNet: (3, 33, 35)}
SIZES = {WideResNet: (8, 1), ImageNetResNet: (10, 0.25)}


def images(shape, count=4):
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))


def made(arm, bits, kind=WideResNet, seed=0, **changes):
    depth, width = SIZES[kind]
    own = {"depth": depth, "width": width, "channels": SHAPES[kind][0], "classes": CLASSES, **changes}
    return kind(arm=ARMS[arm], bits=bits, **own, generator=torch.Generator().manual_seed(seed))


def trained(arm, bits, kind=WideResNet, **changes):
    network = made(arm, bits, kind, **changes)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm) and layer.weight is not None:
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.normal_(0, 0.5, generator=generator)
        network.train()
        for _ in range(30):
            network(images(SHAPES[kind], 8).float())
    return network.eval()


def card(arm="bn", bits=1, kind=WideResNet, shape=None, labels=None, **config):
    depth, width = SIZES[kind]
    whole = {
        "depth": depth,
        "width": width,
        "bits": bits,
        "model": {"_target_": f"{kind.__module__}.{kind.__name__}"},
        "norm": {"_target_": f"ablate.networks.norm.{arm}"},
        "dataset": {"_target_": "ablate.data.datasets.digits"},
        **config,
    }
    names = tuple(labels or (f"class {number}" for number in range(CLASSES)))
    return Card("t0123456789abcdef", whole, shape or SHAPES[kind], names, 0.5, "0.0")
