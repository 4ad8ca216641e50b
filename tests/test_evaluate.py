from __future__ import annotations

import functools
import json
import re
import shutil

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ablate.core import hardware
from ablate.core.identity import trial_id
from ablate.core.study import Cell, Trial
from ablate.data import datasets, folders
from ablate.data.loader import on_device
from ablate.deploy import onnx_file, packed
from ablate.deploy.card import Card
from ablate.deploy.fold import folded
from ablate.networks.norm import bn
from ablate.networks.quantize import Conv2d
from ablate.networks.weights import read_mat
from ablate.networks.wrn import WideResNet
from ablate.store import run_directory
from ablate.tasks import image_classification
from ablate.training import build, evaluation
from ablate.training.compute import Compute
from tests.data.test_files import write_all
from tests.support.image_files import halve, picture
from tests.tasks.test_image_classification import RECIPE, SRELU, SYNTHETIC
from tests.tasks.test_image_classification import config as trial_config


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
    test = datasets.cifar10(root=str(folder / "cifar"), valid_fraction=0).test
    expected = evaluation.evaluate(network, on_device(test, "cpu"), Compute("cpu"))
    status, out, err = say("ablate.evaluate", "weights=all.mat", "dataset.root=cifar", "device=cpu")
    assert (status, err) == (0, "")
    assert "wide ResNet 8-1, 1 bit per weight, batch norm" in out
    assert f"cifar10: test accuracy {100 * expected.acc:.2f}% ({round(2 * expected.acc)} of 2), loss" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "",
            "weights=null trial=null: allowed: one of them, trial=ID of a finished trial, or weights=FILE: what ablate",
        ),
        ("weights=network.pt", "weights=network.pt: allowed: a file that ends in .safetensors, .onnx, .c or .mat"),
        ("weights=text.onnx", "weights=text.onnx: not an ONNX model that ablate.export wrote ("),
        ("weights=all.mat trial=t0", "weights=all.mat trial=t0: allowed: one of them"),
        ("weights=none.mat", "weights=none.mat: there is no such file"),
        ("weights=text.mat dataset.root=cifar", "weights=text.mat: not a readable MATLAB file"),
        ("weights=other.mat dataset.root=cifar", "weights=other.mat: not the arrays of a wide ResNet with batch norm"),
        ("weights=all.mat dataset.root=nowhere", "dataset=cifar10: its files are not in dataset.root=nowhere"),
        (
            "weights=all.mat dataset=digits",
            "weights=all.mat: for images of 3 channels and 10 classes; dataset=digits has 1 and 10",
        ),
        ("weights=all.mat device=tpu", "device=tpu: allowed: auto, cpu, cuda"),
        ("weights=all.mat +x=1", "x=1: no such key; allowed: weights, trial, runs, dataset, device"),
        ("trial=t0", "runs=runs: there is no such folder; allowed: the folder of the run directories"),
        ("trial=t0 runs=cifar", "trial=t0: not in cifar/; its 0 trials are named by their ids"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(network, folder, say, line, message):
    write_mat(folder / "all.mat", network)
    write_all("cifar10", folder / "cifar")
    for name in ("text.mat", "text.onnx", "network.pt"):
        (folder / name).write_text("hello, this is text")
    savemat(folder / "other.mat", {"conv2d": np.zeros((1, 3, 3, 3, 20), np.uint8)})
    status, out, err = say("ablate.evaluate", *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def finish(runs, **changes):
    """Train a trial to its end; return its id and its outcome."""
    config = trial_config(**changes)
    trial = Trial(Cell(()), config["seed"], config, {}, trial_id(config))
    *_, end = run_directory.attempt(functools.partial(image_classification.run, threads=1, device="cpu"), trial, runs)
    return trial.trial_id, end


@pytest.mark.parametrize("bits", [1, 32])
def test_a_finished_trial_scores_its_own_test_images_as_it_did_when_it_finished(folder, say, bits):
    name, end = finish(folder / "runs", bits=bits, norm=SRELU)
    status, out, err = say("ablate.evaluate", f"trial={name}", "device=cpu")
    right = sum(p == label for p, label in zip(end.predicted, end.labels, strict=True))
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{name}: wide ResNet 8-1, {bits} bit{'s' * (bits > 1)} per weight, norm srelu (floor=-1, temperature=10), "
        "trained on synthetic",
        f"synthetic: test accuracy {100 * end.metrics['test_acc']:.2f}% ({right} of 50), "
        f"loss {end.metrics['test_loss']:.4f}",
    ]


def test_a_trial_is_scored_at_its_own_precision_or_where_the_device_lacks_it_at_fp32_and_says_so(
    folder, monkeypatch, say
):
    name, end = finish(folder / "runs", recipe={**RECIPE, "precision": "bf16"})
    line = f"test accuracy {100 * end.metrics['test_acc']:.2f}% "
    out = say("ablate.evaluate", f"trial={name}", "device=cpu")[1]
    assert line in out
    assert f"loss {end.metrics['test_loss']:.4f}" in out
    assert "fp32" not in out
    monkeypatch.setattr(hardware, "precisions", lambda kind: ("fp32",))
    out = say("ablate.evaluate", f"trial={name}", "device=cpu")[1]
    assert "trained on synthetic, trained at bf16, evaluated at fp32\n" in out
    assert f"loss {end.metrics['test_loss']:.4f}" not in out


def test_a_trial_is_scored_on_the_data_set_typed_or_on_its_own_with_the_keys_typed(folder, say):
    name, _ = finish(folder / "runs", dataset={**SYNTHETIC, "classes": 10})
    assert "\ndigits: test accuracy" in say("ablate.evaluate", f"trial={name}", "dataset=digits")[1]
    status, _, err = say("ablate.evaluate", f"trial={name}", "dataset=cifar10", "dataset.root=nowhere")
    assert (status, err.startswith("dataset=cifar10: its files are not in dataset.root=nowhere")) == (2, True)
    write_all("mnist", folder / "here")
    own = {"_target_": "ablate.data.datasets.mnist", "root": str(folder / "here"), "valid_fraction": 0}
    name, end = finish(folder / "runs", dataset=own)
    (folder / "here").rename(folder / "there")
    assert say("ablate.evaluate", f"trial={name}")[2].startswith("dataset=mnist: its files are not in dataset.root=")
    status, out, _ = say("ablate.evaluate", f"trial={name}", "dataset.root=there")
    assert f"mnist: test accuracy {100 * end.metrics['test_acc']:.2f}% (" in out


def test_images_in_folders_are_told_one_by_one_for_a_trial_and_for_published_weights(network, folder, say):
    for label in (0, 7):
        for item in range(2):
            picture(folder / "own" / str(label) / f"{item} b.png", (16, 16))
    name, _ = finish(folder / "runs", dataset={**SYNTHETIC, "classes": 10, "channels": 3})
    write_mat(folder / "all.mat", network)
    for subject in (f"trial={name}", "weights=all.mat"):
        line = (subject, "dataset=image_folder", "dataset.root=own", "dataset.workers=0")
        status, out, err = say("ablate.evaluate", *line)
        assert (status, err) == (0, "")
        *files, _, accuracy = (row.split("\t") for row in out.splitlines())
        assert [row[:2] for row in files] == [
            ["0/0 b.png", "0"],
            ["0/1 b.png", "0"],
            ["7/0 b.png", "7"],
            ["7/1 b.png", "7"],
        ]
        right = sum(label == predicted for _, label, predicted in files)
        assert accuracy[0].startswith(f"image_folder: test accuracy {25 * right:.2f}% ({right} of 4), loss ")


def test_folders_named_by_class_have_the_labels_that_the_trial_was_trained_with(folder, say):
    for part, items in (("train", 4), ("test", 2)):
        for kind in ("ape", "bee", "cow"):
            for item in range(items):
                picture(folder / "own" / part / kind / f"{item}.png", (16, 16))
    dataset = {"_target_": "ablate.data.folders.image_folder", "root": "own", "valid_fraction": 0, "workers": 0}
    dataset["content"] = folders.identify({"dataset": {**dataset, "size": None}, "recipe": {}})
    name, end = finish(folder / "runs", dataset={**dataset, "size": None})
    out = say("ablate.evaluate", f"trial={name}", "device=cpu")[1]
    kinds = ("ape", "bee", "cow")
    assert [row.split("\t")[1:] for row in out.splitlines()[:6]] == [
        [kinds[label], kinds[predicted]] for label, predicted in zip(end.labels, end.predicted, strict=True)
    ]
    shutil.copytree(folder / "own" / "test" / "cow", folder / "photos" / "cow")
    elsewhere = ("ablate.evaluate", f"trial={name}", "dataset=image_folder", "dataset.root=photos", "device=cpu")
    assert say(*elsewhere)[1].splitlines()[:2] == [
        row.removeprefix("test/") for row in out.splitlines() if row.startswith("test/cow")
    ]
    (folder / "photos" / "cow").rename(folder / "photos" / "cat")
    status, _, err = say(*elsewhere)
    assert (status, err) == (2, "photos/cat: the network has no such class; allowed: ape, bee, cow\n")
    (folder / "own").rename(folder / "moved")
    assert say("ablate.evaluate", f"trial={name}", "dataset.root=moved", "device=cpu")[1] == out
    assert "does not tell the names of its classes" in say(*elsewhere)[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda own: picture(own / "10" / "x.png"),
            "3 channels and 10 classes; dataset=image_folder has 3 and folders up",
        ),
        (
            lambda own: [grey(path) for path in own.glob("*/*")],
            "and 10 classes; dataset=image_folder has 1 and folders up",
        ),
        (lambda own: (own / "0" / "x.png").write_text("hello"), "own/0/x.png: not an image, or of an unknown format"),
        (
            lambda own: picture(own / "cats" / "x.png"),
            "own: its folders are named by class, and weights=all.mat does not tell the names of its classes; "
            "allowed: folders named by class index, 0, 1, 2, ...",
        ),
        (lambda own: own.rename("elsewhere"), "own: there is no such folder; allowed: dataset.root=FOLDER"),
    ],
)
def test_folders_that_do_not_suit_the_network_are_a_mistake(network, folder, say, change, message):
    write_mat(folder / "all.mat", network)
    for label in (0, 1):
        picture(folder / "own" / str(label) / "0.png")
    change(folder / "own")
    line = ("weights=all.mat", "dataset=image_folder", "dataset.root=own", "dataset.workers=0")
    status, out, err = say("ablate.evaluate", *line)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def grey(path):
    picture(path, mode="L")


def test_a_damaged_image_found_while_streaming_is_one_line_and_exit_status_2(network, folder, say, monkeypatch):
    write_mat(folder / "all.mat", network)
    picture(folder / "own" / "0" / "x.png")
    halve(folder / "own" / "0" / "x.png")
    monkeypatch.setattr(folders, "MOST_FILES_TO_READ_TWICE", 0)
    line = ("weights=all.mat", "dataset=image_folder", "dataset.root=own", "dataset.workers=1")
    status, out, err = say("ablate.evaluate", *line)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("own/0/x.png: not a whole image")


def test_a_trial_on_imagenet_is_scored_by_many_crops_too(imagenet, folder, say):
    dataset = {"_target_": "ablate.data.folders.imagenet", "root": str(imagenet), "valid_fraction": 0}
    dataset |= {"multi_crop": True, "workers": 0}
    model = {"_target_": "ablate.networks.imagenet_resnet.ImageNetResNet", "_partial_": True}
    name, end = finish(folder / "runs", dataset=dataset, model=model, depth=10, width=0.25)
    status, out, _ = say("ablate.evaluate", f"trial={name}", "device=cpu")
    assert f"{name}: ImageNet's ResNet 10-0.25, 32 bits per weight, norm bn (" in out
    assert f"imagenet: test accuracy {100 * end.metrics['test_acc']:.2f}% (" in out
    assert f"imagenet: test accuracy {100 * end.metrics['test_acc_multicrop']:.2f}% by the mean softmax of 25" in out
    shutil.rmtree(imagenet / "train")
    assert say("ablate.evaluate", f"trial={name}", "device=cpu")[:2] == (status, out)


def planted(name, folder, key):
    """The config of a trial, with a part that leaves a canary behind when it is called."""
    canary = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(folder / "ran")]}}
    path = folder / "runs" / name / "config.json"
    config = json.loads(path.read_text())
    group, _, key = key.partition(".")
    config[group] = {**config[group], key: canary} if key else canary
    path.write_text(json.dumps(config))
    return config


@pytest.mark.parametrize(
    ("ending", "key"),
    [
        *(("trial", key) for key in ("norm", "model", "dataset", "norm.affine", "dataset.root")),
        *(("safetensors", key) for key in ("norm", "model", "dataset", "norm.affine", "dataset.root")),
        *(("onnx", key) for key in ("dataset", "dataset.root")),  # its norm and model are not made
    ],
)
def test_code_that_a_file_names_is_not_run_and_named(folder, say, key, ending, monkeypatch):
    name, _ = finish(folder / "runs")
    config = planted(name, folder, key)
    subject = f"trial={name}"
    if ending != "trial":
        subject = f"weights=x.{ending}"
        made = folded(build.trained_network(trial_config(), folder / "runs" / name)[0])
        card = Card(name, config, (1, 8, 8), ("a", "b", "c", "d"), 0.5, "0.0")
        (packed if ending == "safetensors" else onnx_file).write(made, card, folder / f"x.{ending}")
    status, out, err = say("ablate.evaluate", subject)
    assert (status, out) == (2, "")
    assert re.match(rf"{subject}: .*its {key}\.\S*_target_ names pathlib.Path\S*, code that would be run; allowed", err)
    assert err.count("\n") == 1
    if ending == "trial":
        assert say("ablate.export", subject)[0] == 2
    assert not (folder / "ran").exists()


def test_a_part_of_ones_own_is_trusted_by_its_module_or_by_the_folder_that_names_it(folder, say, monkeypatch):
    (folder / "my_norms.py").write_text("from ablate.networks.norm import srelu as mine  # noqa: F401\n")
    (folder / "mine" / "norm").mkdir(parents=True)
    (folder / "mine" / "norm" / "own.yaml").write_text("_target_: my_norms.mine\n")
    monkeypatch.syspath_prepend(folder)
    name, _ = finish(folder / "runs", norm={**SRELU, "_target_": "my_norms.mine"})
    status, _, err = say("ablate.evaluate", f"trial={name}")
    assert (status, "its norm._target_ names my_norms.mine, code that would be run" in err) == (2, True)
    for words in (["trust=my_norms"], ["trust=[other,my_norms]"], ["--config-dir=mine"]):
        assert say("ablate.evaluate", f"trial={name}", *words)[0] == 0
    assert say("ablate.export", f"trial={name}", "trust=my_norms")[0] == 0
    weights = f"weights=exports/{name}/network.safetensors"
    assert say("ablate.evaluate", weights)[0] == 2
    assert say("ablate.evaluate", weights, "trust=my_norms")[0] == 0
    assert say("ablate.evaluate", weights, "trust=my-norms")[2].startswith("trust=my-norms: allowed: a Python module")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 1_000_004}, "its card names a network of depth 1000004; allowed: up to 10000"),
        ({"width": 4000}, "its card names a network of"),
        ({"bits": 3}, "its card names no network that can be made"),
        ({"depth": 9}, "depth=9"),
        ({"norm": {**SRELU, "more": 1}}, "its card names no network that can be made"),
        ({"bits": 1}, "its tensors are not those of the network it names"),
    ],
)
def test_a_card_of_another_network_takes_no_memory_and_is_one_line(folder, say, changes, message):
    name, _ = finish(folder / "runs")
    made = folded(build.trained_network(trial_config(), folder / "runs" / name)[0])
    card = Card(name, {**trial_config(), **changes}, (1, 8, 8), ("a", "b", "c", "d"), 0.5, "0.0")
    packed.write(made, card, folder / "x.safetensors")
    status, out, err = say("ablate.evaluate", "weights=x.safetensors")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize("damage", ["half of it", "text", "empty", "another network's"])
def test_damaged_weights_are_one_line_that_names_the_file(folder, say, damage):
    name, _ = finish(folder / "runs")
    path = folder / "runs" / name / "weights.pt"
    if damage == "another network's":
        torch.save({"x": torch.zeros(3, 3)}, path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"half of it": whole[: len(whole) // 2], "text": b"hello, this is text", "empty": b""}[damage])
    status, out, err = say("ablate.evaluate", f"trial={name}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"runs/{name}/weights.pt: not the weights of this trial's network (")
