from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ablate.deploy.fold import Affine, FixedConv2d, folded
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.quantize import Conv2d
from ablate.networks.wrn import WideResNet
from tests.networks.test_networks import ARMS
from tests.support.networks import SHAPES, images, trained


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32])
def test_a_folded_network_has_the_trained_ones_logits_within_rounding(arm, bits):
    network = trained(arm, bits)
    some = images(SHAPES[WideResNet]).float()
    with torch.no_grad():
        assert (folded(network)(some) - network(some)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", [WideResNet, ImageNetResNet])
@pytest.mark.parametrize("padding", ["torch", "tf"])
def test_every_network_and_padding_folds(kind, padding):
    network = trained("bn", 1, kind, padding=padding)
    some = images(SHAPES[kind]).float()
    with torch.no_grad():
        assert (folded(network)(some) - network(some)).abs().max() < 1e-4


def test_the_trained_network_stays_as_it_was():
    network = trained("bn", 1).train()
    before = copy.deepcopy(network.state_dict())
    made = folded(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not made.training
    assert not any(isinstance(module, nn.BatchNorm2d) or type(module) is Conv2d for module in made.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_a_batch_norm_without_moments_of_its_own_is_left_alone():
    network = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3))
    first, second = folded(network)
    assert isinstance(first, nn.BatchNorm2d)
    assert isinstance(second, Affine)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_codes_are_whole_numbers_of_so_many_bits_and_give_the_weights_back(bits):
    layer = FixedConv2d(Conv2d(16, 16, 3, bits=bits, generator=torch.Generator().manual_seed(0)))
    codes, weights = layer.codes, layer.weight.clone()
    assert codes.dtype == torch.uint8
    assert bits == 8 or codes.unique().tolist() == list(range(2**bits))
    layer.codes = 2**bits - 1 - codes
    assert torch.equal(layer.weight, -weights)
    layer.codes = codes
    assert torch.equal(layer.weight, weights)
