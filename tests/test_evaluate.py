from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ablate import train
from ablate.parts import data
from ablate.parts.loader import on_device
from ablate.parts.norm import bn
from ablate.parts.quantize import Conv2d
from ablate.parts.weights import read_mat
from ablate.parts.wrn import WideResNet
from tests.parts.test_files import write_all


@pytest.fixture
def network():
    """A network with random bits, moments and input scale, of the kind that the authors published."""
    generator = torch.Generator().manual_seed(0)
    shape = {"depth": 8, "width": 1, "bits": 1, "channels": 3, "classes": 10, "padding": "tf"}
    made = WideResNet(arm=bn(affine=False, eps=1e-5), **shape, generator=generator)
    for layer in norms(made):
        layer.running_mean.normal_(0, 1, generator=generator)
        layer.running_var.uniform_(0.5, 2, generator=generator)
    with torch.no_grad():
        made.input_norm.weight.uniform_(0.5, 2, generator=generator)
        made.input_norm.bias.normal_(0, 1, generator=generator)
    return made.eval()


def norms(network):
    return [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def write_mat(path, network, first=84):
    """In the authors' layout: names with Keras's counters, kernels of (1, F, F, C_in, C_out) as 0 and 1."""
    arrays = {}
    for number, layer in enumerate(module for module in network.modules() if isinstance(module, Conv2d)):
        name = f"conv2d_{number}" if number else "conv2d"
        arrays[name] = (layer.weight >= 0).to(torch.uint8).permute(2, 3, 1, 0)[None].numpy()
    for number, layer in enumerate(norms(network)):
        learned = [layer.weight, layer.bias] if layer.affine else []
        values = [*learned, layer.running_mean, layer.running_var]
        arrays[f"batch_normalization_v1_{first + number}"] = torch.stack(values).detach().numpy()
    savemat(path, arrays)


def test_a_file_in_the_authors_layout_gives_the_same_logits(network, tmp_path):
    write_mat(tmp_path / "all.mat", network, first=96)  # the counter passes 100: by number, not by name
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(1)).float()
    read = read_mat(tmp_path / "all.mat")
    assert (read.depth, read.width, read.channels, read.classes) == (8, 1, 3, 10)
    with torch.no_grad():
        torch.testing.assert_close(read(images), network(images), rtol=0, atol=0)


def test_evaluate_prints_the_test_accuracy_of_the_weights(network, folder, say):
    write_mat(folder / "all.mat", network)
    write_all("cifar10", folder / "cifar")
    test = data.cifar10(root=str(folder / "cifar"), valid_fraction=0).test
    expected = train.evaluate(network, on_device(test, "cpu"))
    status, out, err = say("ablate.evaluate", "weights=all.mat", "dataset.root=cifar", "device=cpu")
    assert (status, err) == (0, "")
    assert "wide ResNet 8-1, 1 bit per weight, batch norm" in out
    assert f"cifar10: test accuracy {100 * expected.acc:.2f}% ({round(2 * expected.acc)} of 2), loss" in out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "weights=null: allowed: a file in the authors' layout"),
        ("weights=none.mat", "weights=none.mat: there is no such file"),
        ("weights=text.mat dataset.root=cifar", "weights=text.mat: not a readable MATLAB file"),
        ("weights=other.mat dataset.root=cifar", "weights=other.mat: not the arrays of a wide ResNet with batch norm"),
        ("weights=all.mat dataset.root=nowhere", "dataset=cifar10: its files are not in dataset.root=nowhere"),
        (
            "weights=all.mat dataset=digits",
            "weights=all.mat: for images of 3 channels and 10 classes; dataset=digits h",
        ),
        ("weights=all.mat device=tpu", "device=tpu: allowed: auto, cpu, cuda"),
        ("weights=all.mat +x=1", "x=1: no such key; allowed: weights, dataset, device"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(network, folder, say, line, told):
    write_mat(folder / "all.mat", network)
    write_all("cifar10", folder / "cifar")
    (folder / "text.mat").write_text("hello, this is text")
    savemat(folder / "other.mat", {"conv2d": np.zeros((1, 3, 3, 3, 20), np.uint8)})
    status, out, err = say("ablate.evaluate", *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(told)
    assert err.count("\n") == 1
