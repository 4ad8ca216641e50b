from __future__ import annotations

import pytest
import torch

from ablate.networks import sizes
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.norm import bn, gn, srelu
from ablate.networks.wrn import WideResNet

ARMS = [
    (bn(affine=True, eps=1e-5), {"affine": True, "eps": 1e-5}),
    (bn(affine=False, eps=1e-5), {"affine": False, "eps": 1e-5}),
    (gn(groups=8, eps=1e-5, temperature=10), {"groups": 8, "eps": 1e-5, "temperature": 10}),
    (srelu(floor=-1, temperature=10), {"floor": -1, "temperature": 10}),
]
SHAPE = {"channels": 3, "size": 32, "classes": 10}


def learned(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("arm", "norm"), ARMS)
@pytest.mark.parametrize(("depth", "width"), [(8, 1), (20, 4)])
def test_a_wide_resnets_parameters_are_counted(arm, norm, depth, width):
    config = {"depth": depth, "width": width, "norm": norm, "dataset": {"shape": SHAPE}}
    network = WideResNet(arm=arm, depth=depth, width=width, bits=1, channels=3, classes=10)
    assert sizes.wide_resnet_parameters(config) == learned(network)


@pytest.mark.parametrize(("arm", "norm"), ARMS)
def test_imagenets_parameters_are_counted(arm, norm):
    config = {"depth": 18, "width": 0.25, "norm": norm, "dataset": {"shape": SHAPE}}
    network = ImageNetResNet(arm=arm, depth=18, width=0.25, bits=1, channels=3, classes=10)
    assert sizes.imagenet_resnet_parameters(config) == learned(network)


@pytest.mark.parametrize(("arm", "norm"), ARMS)
@pytest.mark.parametrize(("depth", "width"), [(8, 1), (20, 2)])
def test_what_an_image_leaves_for_the_backward_pass_is_counted_within_a_third(arm, norm, depth, width):
    config = {"depth": depth, "width": width, "norm": norm, "dataset": {"shape": SHAPE}}
    network = WideResNet(arm=arm, depth=depth, width=width, bits=32, channels=3, classes=10)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.rand(4, 3, 32, 32))
    assert sizes.wide_resnet_kept_maps(config) * 4 * 4 == pytest.approx(sum(kept.values()), rel=1 / 3)
