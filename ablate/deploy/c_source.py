"""A folded network as C99: one source file and one header, which need no library and no heap."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor, nn

from ablate.core.errors import UsageError
from ablate.deploy.c_fusion import fused
from ablate.deploy.c_literals import floats, integers, string_literal
from ablate.deploy.c_program import Program
from ablate.deploy.card import KEY, Card
from ablate.deploy.graph import graph_of

TOLERANCE = 1e-3
"""The largest difference allowed between the logits of C and of PyTorch, which sum in other orders."""

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""The names that a model may have in C."""


@dataclass(frozen=True)
class Examples:
    """Test images for the test program: (n, C, H, W) uint8, with their (n,) labels and (n, classes) logits."""

    images: Tensor
    labels: Tensor
    logits: Tensor


def write(network: nn.Module, card: Card, folder: Path, name: str, examples: Examples) -> list[Path]:
    """Write NAME.h, NAME.c and NAME_test.c for a network that `fold.folded` made; return their paths.

    Raises:
        UsageError: the network computes what has no form in C.
    """
    try:
        program = Program(fused(graph_of(network, tuple(card.shape))), network)
    except UsageError as error:
        raise UsageError(f"format=c: {error}; allowed for this network: packed, onnx") from error
    card_json = re.sub(r"[/?]", lambda match: f"\\u{ord(match[0]):04x}", card.to_json())  # they could end a comment
    arm = card.config["norm"]["_target_"].rpartition(".")[2]
    about = f"{card.trial_id}: norm {arm}, {card.config['bits']} bit{'s' * (card.config['bits'] > 1)} a weight."
    values = {
        "name": name,
        "upper": name.upper(),
        "about": about,
        "card": card,
        "card_key": KEY,
        "card_json": card_json,
        "labels": [string_literal(label) for label in card.labels],
        "tolerance": f"{TOLERANCE:g}",
        "images": [integers(image.flatten().tolist()) for image in examples.images],
        "expected": [floats(logits.tolist()) for logits in examples.logits],
        "truth": ", ".join(map(str, examples.labels.tolist())),
        **program.values(),
    }
    loader = PackageLoader("ablate.deploy", "templates")
    templates = Environment(
        loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False
    )
    paths = []
    for ending in (".h", ".c", "_test.c"):
        paths.append(folder / f"{name}{ending}")
        paths[-1].write_text(templates.get_template(f"network{ending}.jinja").render(values) + "\n")
    return paths


def read(path: Path) -> tuple[nn.Module, Card]:
    """Compile NAME.c, with NAME.h beside it, on this machine; return the network and its card.

    Raises:
        UsageError: the file is something else or does not compile, or there is no compiler.
    """
    header = path.with_suffix(".h")
    try:
        entry = re.search(rf"^   {KEY}: (.*) \*/$", header.read_text(), re.MULTILINE)
        if entry is None:
            raise ValueError(f"{header.name} says nothing of its network")
        card = Card.from_json(entry[1])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"weights={path}: not the C of a model that ablate.export wrote ({error})") from error
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UsageError(f"weights={path}: needs a C compiler (apt install gcc), and none is here")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "network.so"
        compiled = subprocess.run(
            [compiler, "-std=c99", "-O2", "-shared", "-fPIC", str(path), "-o", str(library), "-lm"],
            capture_output=True,
            text=True,
            check=False,
        )
        if compiled.returncode:
            raise UsageError(f"weights={path}: does not compile ({compiled.stderr.strip().splitlines()[0]})")
        loaded = ctypes.CDLL(str(library))
    return CNetwork(getattr(loaded, f"{path.stem}_logits"), card.classes), card


class CNetwork(nn.Module):
    """A network in C: (N, C, H, W) whole numbers from 0 to 255 -> (N, classes) float32 logits, image by image."""

    def __init__(self, function: Any, classes: int) -> None:
        super().__init__()
        self.function, self.classes = function, classes

    def forward(self, images: Tensor) -> Tensor:
        as_bytes = np.ascontiguousarray(images.to(torch.uint8).numpy())
        logits = np.empty((len(as_bytes), self.classes), np.float32)
        for image, row in zip(as_bytes, logits, strict=True):
            self.function(image.ctypes.data_as(ctypes.c_void_p), row.ctypes.data_as(ctypes.c_void_p))
        return torch.from_numpy(logits)
