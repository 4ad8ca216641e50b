from __future__ import annotations

import functools
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from ablate.core.errors import UsageError
from ablate.core.identity import trial_id
from ablate.core.study import Cell, Trial
from ablate.data import datasets
from ablate.deploy import c_source
from ablate.deploy.c_literals import float_literal
from ablate.deploy.fold import folded
from ablate.networks.imagenet_resnet import ImageNetResNet
from ablate.networks.wrn import WideResNet
from ablate.store import run_directory
from ablate.tasks import image_classification
from ablate.training import build
from tests.networks.test_networks import ARMS
from tests.support.networks import SHAPES, card, images, trained
from tests.tasks.test_image_classification import BN, RECIPE, SRELU
from tests.tasks.test_image_classification import config as trial_config

STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
ARM = ["arm-linux-gnueabihf-gcc", "qemu-arm"]
DIGITS = {"_target_": "ablate.data.datasets.digits", "valid_fraction": 0.1}

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")

needs_arm = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ARM), reason="needs gcc-arm-linux-gnueabihf and qemu-user"
)


def written(network, model_card, folder, shape, name="net"):
    """The paths, and the logits of the test program's images."""
    some = images(shape, 3)
    logits = network(some.float())
    examples = c_source.Examples(some, torch.tensor([0, 1, 2]), logits)
    return c_source.write(network, model_card, folder, name, examples)


def compiled_program(folder, *options, compiler="cc", name="net"):
    output = subprocess.run(
        [compiler, *STRICT, *options, f"{name}.c", f"{name}_test.c", "-lm", "-o", "program"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert output.returncode == 0, output.stderr
    return folder / "program"


def logits_of(program, some, *before):
    """From the test program, for images on its standard input."""
    output = subprocess.run([*before, program, "-"], input=some.numpy().tobytes(), capture_output=True, check=True)
    assert output.stderr == b""
    return torch.tensor([[float(word) for word in line.split()] for line in output.stdout.splitlines()])


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32])
def test_the_test_program_agrees_with_pytorch(tmp_path, arm, bits):
    written(folded(trained(arm, bits)), card(arm, bits), tmp_path, SHAPES[WideResNet])
    output = subprocess.run([compiled_program(tmp_path)], capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stdout
    assert re.search(
        r"^\d of 3 right; logits at most [\d.e-]+ from PyTorch's, allowed: 0.001$", output.stdout, re.MULTILINE
    )


@pytest.mark.parametrize("kind", [WideResNet, ImageNetResNet])
@pytest.mark.parametrize("options", [{}, {"padding": "tf"}, {"residual": False}])
@pytest.mark.parametrize("arm", ["bn", "gn"])
def test_every_network_and_padding(tmp_path, kind, options, arm):
    written(folded(trained(arm, 1, kind, **options)), card(arm, kind=kind), tmp_path, SHAPES[kind])
    assert subprocess.run([compiled_program(tmp_path)], capture_output=True, check=False).returncode == 0


def test_the_test_program_finds_a_wrong_weight_and_a_nan(tmp_path):
    network = folded(trained("bn", 32))
    written(network, card(bits=32), tmp_path, SHAPES[WideResNet])
    source = tmp_path / "net.c"
    text = source.read_text()
    for wrong in ("9.0f", "(float)(1e308 * 10 - 1e308 * 10)"):
        source.write_text(re.sub(r"(classifier_weights\[\d+\] = \{)[^,]*", rf"\g<1>{wrong}", text))
        compiled_program(tmp_path, "-Wno-overflow")
        assert subprocess.run([tmp_path / "program"], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize(
    ("words", "given", "status", "message"),
    [
        (["-"], 2, 0, ""),
        (["-"], 2.5, 1, "the last image has 148 bytes of 297\n"),
        (["xx"], 0, 2, "allowed: nothing, or - for images from standard input\n"),
    ],
)
def test_the_test_program_says_what_it_cannot_take(tmp_path, words, given, status, message):
    written(folded(trained("bn", 1)), card(), tmp_path, SHAPES[WideResNet])
    some = bytes(int(given * 297))
    done = subprocess.run([compiled_program(tmp_path), *words], input=some, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (status, message)
    assert len(done.stdout.splitlines()) == int(given)


def test_what_has_no_form_in_c_is_named_with_the_forms_that_there_are(tmp_path):
    network = folded(trained("none", 1))
    network.before_classifier = torch.nn.LeakyReLU(0.1)
    message = "format=c: the network computes leaky_relu, which .*; allowed for this network: packed, onnx$"
    with pytest.raises(UsageError, match=message):
        written(network, card(), tmp_path, SHAPES[WideResNet])


@pytest.mark.parametrize("arm", ["bn", "srelu", "gn", "ln"])
@pytest.mark.parametrize("bits", [1, 4, 32])
def test_no_address_and_no_behaviour_is_undefined(tmp_path, arm, bits):
    written(folded(trained(arm, bits)), card(arm, bits), tmp_path, SHAPES[WideResNet])
    program = compiled_program(tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    output = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (output.returncode, output.stderr) == (0, "")


def finish(runs, norm, bits):
    """A trial of 3 epochs on digits: its network and the test images."""
    config = trial_config(
        norm=norm, bits=bits, dataset=DIGITS, recipe={**RECIPE, "epochs": 3, "lr": 0.03, "augment": "none"}
    )
    trial = Trial(Cell(()), 0, config, {}, trial_id(config))
    *_, _ = run_directory.attempt(functools.partial(image_classification.run, threads=1, device="cpu"), trial, runs)
    network, _, _ = build.trained_network(config, runs / trial.trial_id)
    return network, torch.from_numpy(datasets.digits(valid_fraction=0.1).test.images)


def assert_alike(logits, expected):
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() < 1e-3
    first, second = expected.topk(2).values.unbind(1)
    clear = first - second > 2e-3
    assert clear.sum() > 0.9 * len(clear)
    assert torch.equal(logits.argmax(1)[clear], expected.argmax(1)[clear])


@pytest.mark.parametrize("norm", [BN, SRELU], ids=["bn", "srelu"])
@pytest.mark.parametrize("bits", [1, 32])
def test_all_test_digits_have_pytorchs_logits_and_classes(tmp_path, norm, bits):
    network, digits = finish(tmp_path, norm, bits)
    made = folded(network)
    with torch.no_grad():
        expected = network(digits.float())
    written(made, card(bits=bits, shape=(1, 8, 8)), tmp_path, (1, 8, 8))
    assert len(digits) == 360
    assert_alike(logits_of(compiled_program(tmp_path), digits), expected)
    if all(map(shutil.which, ARM)):
        program = compiled_program(tmp_path, "-static", compiler=ARM[0])
        assert_alike(logits_of(program, digits, ARM[1]), expected)


@needs_arm
@pytest.mark.parametrize("arm", ["bn", "srelu", "ln"])
def test_on_32_bit_arm_too(tmp_path, arm):
    written(folded(trained(arm, 2)), card(arm, 2), tmp_path, SHAPES[WideResNet])
    program = compiled_program(tmp_path, "-static", compiler=ARM[0])
    assert program.read_bytes()[:5] == b"\x7fELF\x01"  # of 32 bits
    assert subprocess.run([ARM[1], program], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("arm", ["bn", "srelu"])
def test_the_header_says_what_it_takes(tmp_path, arm):
    network = folded(trained(arm, 1))
    header, source, _ = written(network, card(arm), tmp_path, SHAPES[WideResNet])
    defined = dict(re.findall(r"#define NET_(\w+) (\d+)", header.read_text()))
    assert {key: int(defined[key]) for key in ("CHANNELS", "ROWS", "COLUMNS", "CLASSES")} == {
        "CHANNELS": 3,
        "ROWS": 9,
        "COLUMNS": 11,
        "CLASSES": 10,
    }
    subprocess.run(["cc", *STRICT, "-c", "net.c", "-o", "net.o"], cwd=tmp_path, check=True)
    sizes = subprocess.run(["size", "-A", "net.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    sections = {row.split()[0]: int(row.split()[1]) for row in sizes.splitlines() if row.startswith(".")}
    assert sections[".bss"] == pytest.approx(int(defined["BUFFER_BYTES"]), abs=64)  # aligned
    assert sections[".rodata"] == pytest.approx(int(defined["CONSTANT_BYTES"]), abs=1000)  # alignment
    assert "malloc" not in source.read_text()


def test_names_of_classes_are_c_strings_whatever_they_hold(tmp_path):
    names = ['a "quoted" one', "back\\slash", "what??/", "tab\there", "日本", "*/", "/*", "%d", "plain", "\x01"]
    written(folded(trained("bn", 1)), card(labels=names), tmp_path, SHAPES[WideResNet])
    (tmp_path / "net_test.c").write_text(
        '#include "net.h"\n#include <stdio.h>\n'
        "int main(void) { for (int i = 0; i < NET_CLASSES; i++) puts(net_labels[i]); return 0; }\n"
    )
    output = subprocess.run([compiled_program(tmp_path)], capture_output=True, check=True).stdout.decode()
    assert output.splitlines() == names
    assert c_source.read(tmp_path / "net.c")[1].labels == tuple(names)


def test_it_is_read_back_by_this_machines_compiler(tmp_path):
    network = folded(trained("srelu", 1))
    written(network, card("srelu"), tmp_path, SHAPES[WideResNet])
    back, model_card = c_source.read(tmp_path / "net.c")
    some = images(SHAPES[WideResNet], 5).float()
    torch.testing.assert_close(back(some), network(some), rtol=0, atol=1e-3)
    assert model_card == card("srelu")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "net.h").unlink(), "not the C of a model that ablate.export wrote"),
        (lambda folder: (folder / "net.h").write_text("int x;\n"), "not the C of a model that ablate.export wrote"),
        (lambda folder: (folder / "net.c").write_text("hello\n"), "does not compile"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path, spoil, message):
    written(folded(trained("bn", 1)), card(), tmp_path, SHAPES[WideResNet])
    spoil(tmp_path)
    with pytest.raises(UsageError, match=f"net.c: {message}"):
        c_source.read(tmp_path / "net.c")


def test_without_a_compiler_one_line_says_so(tmp_path, monkeypatch):
    written(folded(trained("bn", 1)), card(), tmp_path, SHAPES[WideResNet])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"net.c: needs a C compiler \(apt install gcc\), and none is here"):
        c_source.read(tmp_path / "net.c")


def test_a_float_is_written_so_that_it_reads_back_the_same():
    values = np.concatenate([np.random.default_rng(0).standard_normal(1000), [0, 1, -2, 1e30, 1e-40]]).astype(
        np.float32
    )
    texts = [float_literal(value) for value in values.tolist()]
    assert all(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", text) and set(text) & set(".e") for text in texts)
    assert np.array_equal(np.array([text[:-1] for text in texts], dtype=np.float32), values)
