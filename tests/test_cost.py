from __future__ import annotations

import pytest
import torch

from ablate.cost import OUTSIDE, saved_bytes
from ablate.parts.wrn import WideResNet
from tests.parts.test_networks import ARMS

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
