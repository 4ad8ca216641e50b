from __future__ import annotations

import pytest
import torch

from ablate.networks import norm_description
from ablate.networks.description import Images
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.norm import bn, gn, ln, none, srelu
from ablate.networks.resnet_description import imagenet_resnet, wide_resnet
from ablate.networks.wrn import WideResNet

ARMS = [
    (make(**values), describe({"norm": values}))
    for make, describe, values in (
        (bn, norm_description.batch_norm, {"affine": True, "eps": 1e-5}),
        (bn, norm_description.batch_norm, {"affine": False, "eps": 1e-5}),
        (gn, norm_description.group_norm, {"groups": 8, "eps": 1e-5, "temperature": 10}),
        (ln, norm_description.layer_norm, {"eps": 1e-5, "temperature": 10}),
        (srelu, norm_description.shifted_relu, {"floor": -1, "temperature": 10}),
        (none, norm_description.no_norm, {"temperature": 10}),
    )
]
IMAGES = Images(channels=3, size=32, classes=10)


def learned(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("arm", "norm"), ARMS)
@pytest.mark.parametrize(("depth", "width"), [(8, 1), (20, 4)])
def test_a_wide_resnets_parameters_are_counted(arm, norm, depth, width):
    description = wide_resnet({"depth": depth, "width": width, "model": {}})
    network = WideResNet(arm=arm, depth=depth, width=width, bits=1, channels=3, classes=10)
    assert description.parameters(IMAGES, norm) == learned(network)


@pytest.mark.parametrize(("arm", "norm"), ARMS)
def test_imagenets_parameters_are_counted(arm, norm):
    description = imagenet_resnet({"depth": 18, "width": 0.25, "model": {}})
    network = ImageNetResNet(arm=arm, depth=18, width=0.25, bits=1, channels=3, classes=10)
    assert description.parameters(IMAGES, norm) == learned(network)


@pytest.mark.parametrize(("arm", "norm"), ARMS)
@pytest.mark.parametrize(("depth", "width"), [(8, 1), (20, 2)])
def test_what_an_image_leaves_for_the_backward_pass_is_counted_within_a_third(arm, norm, depth, width):
    description = wide_resnet({"depth": depth, "width": width, "model": {}})
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
    assert description.kept_maps(IMAGES, norm) * 4 * 4 == pytest.approx(sum(kept.values()), rel=1 / 3)
