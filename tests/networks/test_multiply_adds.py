from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ablate.networks.description import Images
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.norm import bn, srelu
from ablate.networks.resnet_description import imagenet_resnet, wide_resnet
from ablate.networks.wrn import WideResNet


def from_the_graph(network, images):
    """Return the count of torch's own counter, on a device that computes nothing. It counts a multiply-add as two."""
    with FlopCounterMode(display=False) as counter:
        network.to("meta")(torch.empty(1, images.channels, images.size, images.size, device="meta"))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("arm", [bn(affine=True, eps=1e-5), srelu(floor=-1, temperature=10)])
@pytest.mark.parametrize(
    ("depth", "width", "size", "channels", "classes"),
    [(8, 1, 8, 1, 10), (14, 2, 28, 1, 10), (20, 4, 32, 3, 100), (8, 3, 9, 3, 7)],
)
def test_a_wide_resnets_count_is_that_of_its_graph(arm, depth, width, size, channels, classes):
    images = Images(channels, size, classes)
    description = wide_resnet({"depth": depth, "width": width, "model": {}})
    network = WideResNet(arm=arm, depth=depth, width=width, bits=1, channels=channels, classes=classes)
    assert description.multiply_adds(images) == from_the_graph(network, images)


@pytest.mark.parametrize(("depth", "width", "size"), [(10, 0.25, 64), (18, 2.5, 224), (26, 1, 33)])
def test_imagenets_count_is_that_of_its_graph(depth, width, size):
    images = Images(channels=3, size=size, classes=1000)
    description = imagenet_resnet({"depth": depth, "width": width, "model": {}})
    with torch.device("meta"):
        network = ImageNetResNet(
            arm=srelu(floor=-1, temperature=10), depth=depth, width=width, bits=1, channels=3, classes=1000
        )
    assert description.multiply_adds(images) == from_the_graph(network, images)
