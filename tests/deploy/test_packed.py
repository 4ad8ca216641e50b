from __future__ import annotations

import pytest
import torch

from ablate.core.errors import UsageError
from ablate.deploy import packed
from ablate.deploy.fold import folded
from ablate.networks.wrn import WideResNet
from tests.networks.test_networks import ARMS
from tests.support.networks import SHAPES, card, images, made, trained


def read(path, arm, bits):
    return packed.read(path, lambda _: folded(made(arm, bits, seed=5)))


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32])
def test_a_file_read_back_has_the_folded_networks_logits_to_the_last_bit(tmp_path, arm, bits):
    network = folded(trained(arm, bits))
    packed.write(network, card(arm, bits), tmp_path / "x.safetensors")
    back, model_card = read(tmp_path / "x.safetensors", arm, bits)
    some = images(SHAPES[WideResNet]).float()
    assert torch.equal(back(some), network(some))
    assert model_card == card(arm, bits)


@pytest.mark.parametrize(("arm", "most"), [("bn_fixed", 3.42e6), ("srelu", 3.36e6)])
def test_20_10_at_one_bit_fits_its_size(tmp_path, arm, most):
    network = folded(made(arm, 1, depth=20, width=10))
    packed.write(network, card(arm, shape=(3, 32, 32)), tmp_path / "x.safetensors")
    assert 26_737_126 / 8 < (tmp_path / "x.safetensors").stat().st_size < most


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_numbers_are_packed_without_gaps(bits):
    codes = torch.randint(0, 2**bits, (3, 7, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    packed_codes = packed.pack(codes, bits)
    assert packed_codes.nbytes == -(-codes.numel() * bits // 8)
    assert torch.equal(packed.unpack(packed_codes, bits, codes.numel()), codes.flatten())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "not a packed model that ablate.export wrote"),
        (lambda path: path.write_text("hello"), "not a packed model that ablate.export wrote"),
        (lambda path: path.unlink(), "not a packed model that ablate.export wrote"),
        (lambda path: strange(path), "not a packed model that ablate.export wrote"),
        (lambda path: packed.write(folded(trained("bn", 2)), card(), path), "its tensors are not those of the network"),
        (lambda path: packed.write(folded(trained("gn", 1)), card(), path), "its tensors are not those of the network"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path, spoil, message):
    path = tmp_path / "x.safetensors"
    packed.write(folded(trained("bn", 1)), card(), path)
    spoil(path)
    with pytest.raises(UsageError, match=f"^weights={path}: {message}"):
        read(path, "bn", 1)


def test_a_damaged_number_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    packed.write(folded(trained("bn", 1)), card(), path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"^weights={path}: damaged: its card or its numbers are not those that "):
        read(path, "bn", 1)


def test_others_may_read_a_file_where_they_may_read_new_ones(tmp_path):
    (tmp_path / "new").write_text("")
    packed.write(folded(trained("bn", 1)), card(), tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode


def strange(path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path, metadata={"format": "pt"})
