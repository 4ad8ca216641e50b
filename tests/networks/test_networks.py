from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ablate.core.errors import UsageError
from ablate.networks import description, norm, resnet_description
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.norm import bn, gn, ln, none, srelu
from ablate.networks.quantize import STEPS, Conv2d, quantized
from ablate.networks.wrn import Block, WideResNet

ARMS = {
    "bn": bn(affine=True, eps=1e-5),
    "bn_fixed": bn(affine=False, eps=1e-5),
    "srelu": srelu(floor=-1, temperature=10),
    "gn": gn(groups=8, eps=1e-5, temperature=10),
    "ln": ln(eps=1e-5, temperature=10),
    "none": none(temperature=10),
}


def network(arm="bn", **changes):
    shape = {"depth": 8, "width": 1, "bits": 32, "channels": 3, "classes": 10}
    return WideResNet(arm=ARMS[arm], **{**shape, **changes}, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("arm", "classes", "everything", "learned"),
    [
        ("bn_fixed", 10, 26_750_912, 26_737_126),
        ("srelu", 10, 26_737_132, 26_737_126),
        ("bn_fixed", 100, 26_808_692, 26_794_726),
        ("srelu", 100, 26_794_732, 26_794_726),
    ],
)
def test_20_10_has_the_parameters_that_the_authors_code_prints(arm, classes, everything, learned):
    with torch.device("meta"):
        made = WideResNet(arm=ARMS[arm], depth=20, width=10, bits=1, channels=3, classes=classes)
    parameters = sum(parameter.numel() for parameter in made.parameters())
    statistics = sum(b.numel() for name, b in made.named_buffers() if not name.endswith("num_batches_tracked"))
    assert (parameters + statistics, parameters) == (everything, learned)


def imagenet_network(arm="bn", **changes):
    shape = {"depth": 10, "width": 0.25, "bits": 32, "channels": 3, "classes": 10}
    return ImageNetResNet(arm=ARMS[arm], **{**shape, **changes}, generator=torch.Generator().manual_seed(0))


def test_18_2_5_has_the_70_million_learned_parameters_that_the_paper_prints():
    with torch.device("meta"):
        made = imagenet_network(depth=18, width=2.5, classes=1000)
    assert f"{sum(parameter.numel() for parameter in made.parameters()) / 1e6:.1f}M" == "70.0M"


@pytest.mark.parametrize("depth", [10, 18, 26])
@pytest.mark.parametrize("width", [0.125, 0.25, 1])
def test_imagenets_depth_counts_the_convolutions_and_width_times_64_their_channels(depth, width):
    made = imagenet_network(depth=depth, width=width)
    convolutions = [module for module in made.modules() if isinstance(module, Conv2d)]
    assert len(convolutions) == depth
    assert [c.out_channels for c in convolutions[:2]] == [64 * width] * 2
    assert [c.out_channels for c in convolutions[-2:]] == [512 * width, 10]
    assert [c.kernel_size[0] for c in convolutions[:2]] == [7, 3]
    assert sum(c.stride == (2, 2) for c in convolutions) == 4
    assert (made.depth, made.width, made.channels, made.classes) == (depth, width, 3, 10)


def test_imagenets_network_halves_the_side_five_times():
    made = imagenet_network()
    sides = []
    for layer in (made.stem, made.pool, *made.blocks):
        layer.register_forward_hook(lambda _layer, _inputs, maps: sides.append(maps.shape[-1]))
    made(torch.zeros(2, 3, 224, 224))
    assert sides == [112, 56, 56, 28, 14, 7]


@pytest.mark.parametrize("changes", [{"depth": 14}, {"depth": 2}, {"width": 0.3}])
def test_a_shape_that_imagenets_network_cannot_have_is_refused_by_name_and_by_its_check(changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=f"{name}={value}: "):
        imagenet_network(**changes)
    config = {"depth": 18, "width": 2.5, "model": {"residual": True, "padding": "torch"}}
    resnet_description.imagenet_resnet(config)
    with pytest.raises(UsageError, match=f"{name}={value}: .*allowed: "):
        resnet_description.imagenet_resnet(config | changes)


def test_the_groups_of_group_norm_divide_the_channels_of_the_model_chosen():
    def config(model, depth, width, groups):
        norm = {"groups": groups, "eps": 1e-5, "temperature": 10}
        return {
            "model": {"describe": f"ablate.networks.resnet_description.{model}"},
            "depth": depth,
            "width": width,
            "norm": {"describe": "ablate.networks.norm_description.group_norm", **norm},
        }

    description.check(config("imagenet_resnet", 10, 0.125, 8))
    with pytest.raises(UsageError, match=r"norm.groups=16: allowed: a divisor of the narrowest stage's 8 channels"):
        description.check(config("imagenet_resnet", 10, 0.125, 16))
    with pytest.raises(UsageError, match=r"norm.groups=32: allowed: a divisor of the narrowest stage's 16 channels"):
        description.check(config("wide_resnet", 8, 1, 32))


@pytest.mark.parametrize("depth", [8, 14, 20, 26])
@pytest.mark.parametrize("width", [1, 2])
def test_depth_counts_the_convolutions_and_width_their_channels(depth, width):
    convolutions = [module for module in network(depth=depth, width=width).modules() if isinstance(module, Conv2d)]
    assert len(convolutions) == depth
    assert [c.out_channels for c in convolutions[:2]] == [16 * width] * 2
    assert [c.out_channels for c in convolutions[-2:]] == [64 * width, 10]
    assert all(c.bias is None for c in convolutions)
    assert sorted({c.stride for c in convolutions}) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("bits", [1, 32])
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 8, 10), (3, 32, 100), (1, 28, 10), (2, 5, 3)])
def test_any_image_and_any_number_of_classes_fit(arm, bits, channels, size, classes):
    made = network(arm, bits=bits, channels=channels, classes=classes)
    images = torch.randint(0, 256, (4, channels, size, size), generator=torch.Generator().manual_seed(1)).float()
    logits = made(images)
    assert logits.shape == (4, classes)
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_only_networks_without_batch_norm_have_a_temperature_and_the_input_keeps_its_norm():
    kinds = {arm: [type(module) for module in network(arm).modules()] for arm in ARMS}
    for arm in ("srelu", "gn", "ln", "none"):
        assert (kinds[arm].count(norm.Temperature), kinds[arm].count(norm.BatchNorm2d)) == (1, 1)
    assert kinds["gn"].count(nn.GroupNorm) == kinds["ln"].count(norm.ChannelNorm) == 7
    assert kinds["srelu"].count(norm.BatchNorm2d) == 1
    assert kinds["srelu"].count(norm.Temperature) == 1
    assert kinds["bn"].count(norm.BatchNorm2d) == 1 + 7 + 1  # input, before each of 7 convolutions but the stem, head
    assert kinds["bn"].count(norm.Temperature) == 0


def test_bn_learns_scale_and_offset_and_bn_fixed_only_at_the_input():
    learned = {
        arm: [m.affine for m in network(arm).modules() if isinstance(m, nn.BatchNorm2d)] for arm in ("bn", "bn_fixed")
    }
    assert learned == {"bn": [True] * 8 + [False], "bn_fixed": [True] + [False] * 8}


def test_the_temperature_divides_the_logits():
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    by_temperature = [
        WideResNet(
            arm=srelu(floor=-1, temperature=t),
            depth=8,
            width=1,
            bits=32,
            channels=3,
            classes=10,
            generator=torch.Generator().manual_seed(0),
        )(images)
        for t in (1, 8)
    ]
    torch.testing.assert_close(by_temperature[0] / 8, by_temperature[1])


def test_shifted_relu_is_the_larger_of_its_input_and_the_floor():
    x = torch.tensor([-3.0, -1.0, -0.5, 2.0])
    assert norm.ShiftedReLU(-1)(x).tolist() == [-1.0, -1.0, -0.5, 2.0]


def test_channel_norm_gives_every_pixel_mean_0_and_variance_1_over_its_channels():
    x = torch.randn(2, 16, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 5
    y = norm.ChannelNorm(16, eps=0.0).double()(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y, (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0))


def test_the_arm_without_a_norm_leaves_the_residual_stream_alone():
    x = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    Block(ARMS["none"], lambda *a, **k: Conv2d(*a, **k, bits=32, generator=None), 16, 16)(x)
    assert torch.equal(x, before)


def test_the_shortcut_averages_what_is_there_and_adds_zero_channels():
    block = Block(ARMS["srelu"], lambda *a, **k: Conv2d(*a, **k, bits=32, generator=None), 1, 2)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    shortcut = block._shortcut(x)
    assert shortcut.shape == (1, 2, 2, 2)
    assert shortcut[0, 0].tolist() == [[2.5, 4.0], [8.5, 10.0]]  # corners average 4 pixels, edges 6, the inside 9
    assert shortcut[0, 1].abs().max() == 0


def test_one_bit_weights_are_the_constant_times_the_sign_and_zero_counts_as_plus():
    conv = Conv2d(2, 3, 3, bits=1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = 0.0
    centre = torch.zeros(1, 2, 3, 3)
    centre[0, 0, 1, 1] = 1.0  # an impulse reads the filter out, mirrored
    read = conv(centre)[0, 0].flip(0, 1)
    constant = math.sqrt(2 / (3 * 3 * 2))
    expected = torch.where(conv.weight[0, 0] >= 0, constant, -constant)
    torch.testing.assert_close(read, expected, rtol=0, atol=0)
    assert expected[0, 0] == torch.tensor(constant)


def test_a_one_bit_layer_packs_into_a_bit_a_weight_and_back_without_loss():
    layer = Conv2d(5, 7, 3, bits=1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.weight[0, 0] = 0
    used = quantized(layer.weight.detach(), 1, layer.constant)
    packed = np.packbits(used.numpy() > 0)
    assert packed.nbytes == math.ceil(layer.weight.numel() / 8)
    bits = torch.from_numpy(np.unpackbits(packed, count=used.numel())).reshape(used.shape)
    assert torch.equal((2.0 * bits - 1) * layer.constant, used)


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_the_gradient_passes_straight_through_unclipped(bits):
    conv = Conv2d(2, 3, 3, bits=bits, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        conv.weight *= 100  # far outside [-1, 1]: a clipped gradient would be zero
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    conv(x).square().sum().backward()
    most = (2**bits - 1) * conv.constant * STEPS[bits]
    used = quantized(conv.weight.detach(), bits, conv.constant).requires_grad_()
    assert used.abs().max().item() == pytest.approx(most)
    nn.functional.conv2d(x, used, padding=1).square().sum().backward()
    torch.testing.assert_close(conv.weight.grad, used.grad)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_quantized_weights_are_the_nearest_of_all_levels(bits):
    constant = 0.3
    weights = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * constant * 2
    levels = torch.arange(-(2**bits) + 1, 2**bits, 2) * constant * STEPS[bits]
    assert len(levels) == 2**bits
    nearest = levels[(weights[:, None] - levels).abs().argmin(1)].double()
    torch.testing.assert_close(quantized(weights, bits, constant), nearest, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_step_has_the_least_squared_error_for_a_normal_weight(bits):
    """The integral of the squared error over a fine grid is the independent statement."""
    x = torch.linspace(-8, 8, 400_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2)

    def error(scale):
        step = STEPS[bits] * scale
        levels = ((x / step - 1) / 2).round().mul(2).add(1).clamp(-(2**bits) + 1, 2**bits - 1) * step
        return (density * (x - levels).square()).sum().item()

    assert error(1) < min(error(0.999), error(1.001))


def test_more_bits_come_closer_to_the_weight():
    weights = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    errors = [(quantized(weights, bits, 1.0) - weights).square().mean().item() for bits in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1:] == pytest.approx([0.1188, 0.01154, 8.77e-5], rel=0.1)  # Max (1960), table II


def test_weights_start_normal_with_hes_standard_deviation():
    conv = Conv2d(64, 64, 3, bits=32, generator=torch.Generator().manual_seed(0))
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert conv.weight.mean().abs().item() < 1e-3


def test_initial_weights_come_from_the_generator_alone_and_are_the_same_in_every_arm():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = network("bn", bits=1), network("srelu", bits=32)
    assert torch.equal(torch.get_rng_state(), before)
    convolutions = [[m.weight for m in made.modules() if isinstance(m, Conv2d)] for made in (first, second)]
    assert all(map(torch.equal, *convolutions))


@pytest.mark.parametrize("depth", [2, 9, 10])
def test_a_depth_that_is_not_6n_plus_2_is_refused_by_name(depth):
    with pytest.raises(ValueError, match=f"depth={depth}: a wide ResNet has"):
        network(depth=depth)


def test_other_bits_are_refused_by_name():
    with pytest.raises(ValueError, match="bits=3: allowed: 1, 2, 4, 8, 32"):
        network(bits=3)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_shortcuts_gradient_is_that_of_torchs_own_pool(memory_format):
    block = Block(ARMS["srelu"], lambda *a, **k: Conv2d(*a, **k, bits=32, generator=None), 2, 4)
    x = torch.randn(3, 2, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, theirs = (x.clone(memory_format=memory_format).requires_grad_() for _ in range(2))
    shortcut = block._shortcut(ours)
    pooled = nn.functional.avg_pool2d(theirs, 3, stride=2, padding=1, count_include_pad=False)
    assert torch.equal(shortcut[:, :2], pooled)
    shortcut.sin().sum().backward()
    nn.functional.pad(pooled, (0, 0, 0, 0, 0, 2)).sin().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0)
