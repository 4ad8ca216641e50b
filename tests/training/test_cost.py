from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ablate.data import augment
from ablate.deploy.fold import folded
from ablate.deploy.graph import graph_of
from ablate.networks.wrn import WideResNet
from ablate.training import cost
from ablate.training.compute import Compute
from ablate.training.cost import speed, work
from ablate.training.cost.tensors import OUTSIDE, PeakOfTensors, saved_bytes
from ablate.training.loop import TrainingRecipe
from tests.networks.test_networks import ARMS

IMAGES = 2
FLOAT = 4


def by_kind(arm, *, depth=20, width=4, bits=1, precision=None):
    network = WideResNet(arm=ARMS[arm], depth=depth, width=width, bits=bits, channels=3, classes=10)
    network = network.to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES, 3, 32, 32).contiguous(memory_format=torch.channels_last)

    def forward():
        with torch.autocast("cpu", precision, enabled=precision is not None):
            return network(images)

    return {kind: size / IMAGES for kind, size in saved_bytes(network, forward).items()}


def read_by_convolutions(depth, width):
    """Numbers in the maps that the 3x3 convolutions after the stem, and the classifier, read: by hand."""
    a_stage = (depth - 2) // 3
    maps = [16 * width * 2**stage * (32 // 2**stage) ** 2 for stage in range(3)]
    first_of_stage = [maps[0], maps[0], maps[1]]
    return sum(first_of_stage) + (a_stage - 1) * sum(maps) + maps[-1]


@pytest.mark.parametrize("bits", [1, 32])
@pytest.mark.parametrize(("depth", "width"), [(8, 1), (20, 4)])
def test_shifted_relu_keeps_what_the_next_convolution_reads_and_nothing_else(depth, width, bits):
    kept = by_kind("srelu", depth=depth, width=width, bits=bits)
    assert kept["ShiftedReLU"] == FLOAT * read_by_convolutions(depth, width)


def test_shifted_relu_keeps_half_of_batch_norms_bytes():
    bn, srelu = by_kind("bn"), by_kind("srelu")
    assert bn["ReLU"] == FLOAT * read_by_convolutions(20, 4)
    assert bn["BatchNorm2d"] == pytest.approx(bn["ReLU"], rel=0.02)  # what the norms read
    assert srelu.get(OUTSIDE, 0) < 100  # the shortcut's pools keep their input's shape alone
    assert sum(srelu.values()) <= 0.51 * sum(bn.values())


def test_half_as_many_bytes_are_kept_at_16_bits():
    for arm in ("bn", "srelu"):
        full, half = by_kind(arm, depth=8, width=1), by_kind(arm, depth=8, width=1, precision=torch.bfloat16)
        assert sum(half.values()) == pytest.approx(sum(full.values()) / 2, rel=0.1)


def counted(arm, depth, width, bits):
    network = WideResNet(arm=ARMS[arm], depth=depth, width=width, bits=bits, channels=3, classes=10)
    return work.work(graph_of(folded(network), (3, 32, 32)))


def test_operations_of_8_1_are_those_counted_by_hand():
    """16, 32 and 64 channels at 32x32, 16x16 and 8x8 pixels; one block of two convolutions a stage."""
    a, b, c = 16 * 1024, 32 * 256, 64 * 64  # numbers in a map of each stage
    read = a + a + a + b + b + c + c  # by the six 3x3 convolutions and the classifier
    given = a + a + a + b + b + c + c + 640  # by the stem, the six and the classifier
    expected = {
        "multiply_adds": 442_368 + 2 * 2_359_296 + 2 * (1_179_648 + 2_359_296) + 40_960,
        "activation_ops": read,
        "add_ops": a + b + c,
        "pool_ops": 9 * (16 * 256 + 32 * 64) + 640,
        "inference_peak_bytes": 4 * 3 * a,
    }
    for bits in (1, 32):
        step = given if bits == 1 else 0
        multiplications = {"multiplications": expected["multiply_adds"] if bits == 32 else 0}
        bn = {"norm_ops": 2 * (3 * 1024 + read + 640), "scale_ops": step}
        srelu = {"norm_ops": 2 * 3 * 1024, "scale_ops": step + 640}
        assert counted("bn", 8, 1, bits) == expected | multiplications | bn
        assert counted("srelu", 8, 1, bits) == expected | multiplications | srelu
    assert expected["multiply_adds"] == 12_279_808


def test_operations_of_20_10_are_those_counted_by_hand():
    """160, 320 and 640 channels; three blocks of two convolutions a stage."""
    a, b, c = 160 * 1024, 320 * 256, 640 * 64
    read = 6 * a + (a + 5 * b) + (b + 5 * c) + c
    adds = (
        9 * 3 * 160 * 1024
        + 6 * 9 * 160 * 160 * 1024
        + 9 * 160 * 320 * 256
        + 5 * 9 * 320 * 320 * 256
        + 9 * 320 * 640 * 64
        + 5 * 9 * 640 * 640 * 64
        + 640 * 10 * 64
    )
    assert counted("bn", 20, 10, 1) == {
        "multiply_adds": adds,
        "multiplications": 0,
        "norm_ops": 2 * (3 * 1024 + read + 640),
        "activation_ops": read,
        "scale_ops": a + 6 * a + 6 * b + 6 * c + 640,
        "add_ops": 3 * (a + b + c),
        "pool_ops": 9 * (160 * 256 + 320 * 64) + 640,
        "inference_peak_bytes": 4 * 3 * a,
    }


@pytest.mark.parametrize(
    ("arm", "classes", "learned", "norm_statistics"),
    [
        ("bn_fixed", 10, 26_737_126, 26_750_912 - 26_737_126),
        ("srelu", 10, 26_737_126, 26_737_132 - 26_737_126),
        ("bn_fixed", 100, 26_794_726, 26_808_692 - 26_794_726),
        ("srelu", 100, 26_794_726, 26_794_732 - 26_794_726),
    ],
)
def test_sizes_of_20_10_are_those_that_the_authors_code_prints(arm, classes, learned, norm_statistics):
    with torch.device("meta"):
        network = WideResNet(arm=ARMS[arm], depth=20, width=10, bits=1, channels=3, classes=classes)
        measured = work.sizes(network, folded(network))
    assert (measured["parameters"], measured["norm_moments"]) == (learned, norm_statistics)
    convolutions = [layer.weight.numel() for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert (
        measured["weight_bytes"] == sum(math.ceil(n / 8) for n in convolutions) + 4 * norm_statistics
    )  # folded, still two


@pytest.mark.parametrize(("bits", "bytes_a_weight"), [(1, 1 / 8), (2, 1 / 4), (4, 1 / 2), (8, 1), (32, 4)])
def test_weights_are_packed_at_their_bits(bits, bytes_a_weight):
    network = WideResNet(arm=ARMS["none"], depth=8, width=1, bits=bits, channels=3, classes=10)
    weights = sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
    assert work.sizes(network, folded(network))["weight_bytes"] == weights * bytes_a_weight + 4 * 6


def recipe(**changes):
    values = {"epochs": 1, "batch_size": 6, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    return TrainingRecipe(**{**values, "lr_factor": lambda _: 1.0, "augment": augment.none, **changes})


def test_the_peak_counts_what_lives_at_one_time_once():
    a = torch.zeros(1000)
    with PeakOfTensors(iter([a])) as peak:
        b = a + 1
        c = b.view(10, 100) * 2
        del b
        d = c + 1
        del c, d
        e = a.sum()
    assert peak.peak_bytes == 3 * 4000
    assert peak.live_bytes == 4000 + e.nbytes


@pytest.mark.parametrize("arm", ["bn", "srelu", "gn"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_measured_with_fake_tensors_is_that_of_a_real_step(arm, precision):
    def make():
        shape = {"depth": 8, "width": 1, "bits": 1, "channels": 3, "classes": 10}
        return WideResNet(arm=ARMS[arm], **shape, generator=torch.Generator().manual_seed(0))

    compute, images = Compute("cpu", precision), torch.zeros(6, 3, 12, 12, dtype=torch.uint8)
    before = torch.get_rng_state()
    measured = cost.of_training(make, (3, 12, 12), recipe(), compute)
    assert torch.equal(torch.get_rng_state(), before)
    network, labels = make(), torch.zeros(6, dtype=torch.int64)
    saved = saved_bytes(network, lambda: compute.logits(network, images))
    close = 0 if precision == "fp32" else 0.06  # torch's fake tensors mistake the types of some of its own
    assert measured["saved_bytes"] == pytest.approx(sum(saved.values()) / 6, rel=close)
    optimizer = torch.optim.SGD(network.parameters(), lr=1, momentum=0.9, fused=True)
    with PeakOfTensors(iter((images, labels, *network.parameters(), *network.buffers()))) as peak:
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(compute.logits(network, images), labels).backward()
            optimizer.step()
    assert measured["train_peak_tensor_bytes"] == pytest.approx(peak.peak_bytes, rel=close)


def test_parts_of_a_batch_and_shifted_relu_take_less_memory():
    def peak(arm, **changes):
        def make():
            return WideResNet(arm=ARMS[arm], depth=8, width=1, bits=1, channels=3, classes=10)

        measured = cost.of_training(make, (3, 16, 16), recipe(batch_size=32, **changes), Compute("cpu"))
        return measured["train_peak_tensor_bytes"]

    assert peak("bn", micro_batch=8) < 0.5 * peak("bn")
    assert peak("srelu") < 0.8 * peak("bn")


def test_the_cost_of_inference_is_measured_with_its_spread(monkeypatch):
    monkeypatch.setattr(speed, "BATCH", 3)
    network = WideResNet(arm=ARMS["bn"], depth=8, width=1, bits=1, channels=1, classes=10)
    measured = cost.of_inference(network, torch.zeros(1, 1, 8, 8, dtype=torch.uint8), Compute("cpu"))
    assert 0 < measured["latency_low_ms"] <= measured["latency_ms"] <= measured["latency_high_ms"]
    rate = "inference{}images_per_s"
    assert 0 < measured[rate.format("_low_")] <= measured[rate.format("_")] <= measured[rate.format("_high_")]
    assert measured["multiply_adds"] == 12_279_808 // 16 - 442_368 // 16 * 2 // 3
    assert network.training


def test_a_users_own_network_that_cannot_be_exported_is_measured_all_the_same():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 10))
    measured = cost.of_inference(network, torch.zeros(1, 1, 8, 8, dtype=torch.uint8), Compute("cpu"))
    assert measured["parameters"] == measured["weight_bytes"] / 4 == 4 * 9 + 4 + 1440 + 10
    assert measured["latency_ms"] > 0
    assert "multiply_adds" not in measured
