from __future__ import annotations

import onnx
import pytest
import torch

from ablate.core.errors import UsageError
from ablate.deploy import onnx_file
from ablate.deploy.fold import folded
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.wrn import WideResNet
from tests.networks.test_networks import ARMS
from tests.support.networks import SHAPES, card, images, trained


@pytest.mark.parametrize("arm", ARMS)
def test_onnxruntime_has_the_same_logits_for_any_number_of_images(tmp_path, arm, capfd):
    network, path = folded(trained(arm, 1)), tmp_path / "x.onnx"
    onnx_file.write(network, card(arm), path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    back, model_card = onnx_file.read(path)
    for count in (1, 4, 7):
        some = images(SHAPES[WideResNet], count).float()
        torch.testing.assert_close(back(some), network(some), rtol=0, atol=1e-4)
    assert model_card == card(arm)
    assert capfd.readouterr() == ("", "")


def test_imagenets_network_with_tensorflows_padding_too(tmp_path):
    network, path = folded(trained("bn", 4, ImageNetResNet, padding="tf")), tmp_path / "x.onnx"
    onnx_file.write(network, card(kind=ImageNetResNet), path)
    some = images(SHAPES[ImageNetResNet]).float()
    torch.testing.assert_close(onnx_file.read(path)[0](some), network(some), rtol=0, atol=1e-4)


@pytest.mark.parametrize("text", ["", "hello"])
def test_a_file_that_is_something_else_is_named(tmp_path, text):
    (tmp_path / "x.onnx").write_text(text)
    with pytest.raises(UsageError, match=r"x.onnx: not an ONNX model that ablate.export wrote"):
        onnx_file.read(tmp_path / "x.onnx")
