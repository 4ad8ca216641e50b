"""A folded network as C99: one source and one header, for machines that have nothing else."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from torch import Tensor, nn

from ablate.core.errors import UsageError
from ablate.deploy import buffers
from ablate.deploy.card import KEY, Card
from ablate.deploy.fold import FixedConv2d
from ablate.deploy.graph import Graph, Map, Op, graph_of
from ablate.deploy.packed import pack

TOLERANCE = 1e-3
"""Between the logits of C and of PyTorch, which sum in other orders."""

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What a model may be called in C."""

NUMBERS_A_LINE = 16


@dataclass(frozen=True)
class Examples:
    """Images of the test set for the test program: (n, C, H, W) uint8, with (n,) labels and (n, classes) logits."""

    images: Tensor
    labels: Tensor
    logits: Tensor


def write(network: nn.Module, card: Card, folder: Path, name: str, examples: Examples) -> list[Path]:
    """Write NAME.h, NAME.c and NAME_test.c for a network that `fold.folded` made; return their paths.

    Raises:
        UsageError: the network computes what has no form in C.
    """
    try:
        program = _Program(_fused(graph_of(network, tuple(card.shape))), network)
    except UsageError as mistake:
        raise UsageError(f"format=c: {mistake}; allowed for this network: packed, onnx") from mistake
    card_json = re.sub(r"[/?]", lambda found: f"\\u{ord(found[0]):04x}", card.to_json())  # else it could end a comment
    arm = card.config["norm"]["_target_"].rpartition(".")[2]
    about = f"{card.trial_id}: norm {arm}, {card.config['bits']} bit{'s' * (card.config['bits'] > 1)} a weight."
    values = {
        "name": name,
        "upper": name.upper(),
        "about": about,
        "card": card,
        "card_key": KEY,
        "card_json": card_json,
        "labels": [_string(label) for label in card.labels],
        "tolerance": f"{TOLERANCE:g}",
        "images": [_numbers(image.flatten().tolist()) for image in examples.images],
        "expected": [_floats(logits.tolist()) for logits in examples.logits],
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
    """The network as this machine's C compiler makes it, and its card, from NAME.c with NAME.h beside it.

    Raises:
        UsageError: it is something else, or there is no compiler, or it does not compile.
    """
    header = path.with_suffix(".h")
    try:
        found = re.search(rf"^   {KEY}: (.*) \*/$", header.read_text(), re.MULTILINE)
        if found is None:
            raise ValueError(f"{header.name} says nothing of its network")
        card = Card.from_json(found[1])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"weights={path}: not the C of a model that ablate.export wrote ({error})") from error
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UsageError(f"weights={path}: needs a C compiler (apt install gcc), and none is here")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "network.so"
        made = subprocess.run(
            [compiler, "-std=c99", "-O2", "-shared", "-fPIC", str(path), "-o", str(library), "-lm"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise UsageError(f"weights={path}: does not compile ({made.stderr.strip().splitlines()[0]})")
        loaded = ctypes.CDLL(str(library))
    return CNetwork(getattr(loaded, f"{path.stem}_logits"), card.classes), card


class CNetwork(nn.Module):
    """(N, C, H, W) of whole numbers from 0 to 255 -> (N, classes) float32 logits, one image after the other."""

    def __init__(self, function: Any, classes: int) -> None:
        super().__init__()
        self.function, self.classes = function, classes

    def forward(self, images: Tensor) -> Tensor:
        as_bytes = np.ascontiguousarray(images.to(torch.uint8).numpy())
        logits = np.empty((len(as_bytes), self.classes), np.float32)
        for one, told in zip(as_bytes, logits, strict=True):
            self.function(one.ctypes.data_as(ctypes.c_void_p), told.ctypes.data_as(ctypes.c_void_p))
        return torch.from_numpy(logits)


@dataclass(frozen=True)
class Constant:
    """One const array, or conv_shape, of the source."""

    kind: str
    name: str
    count: int
    text: str
    size: int


class _Program:
    """The calls of a fused graph, and the constants that they read."""

    def __init__(self, graph: Graph, network: nn.Module) -> None:
        self.graph, self.network = graph, network
        found = buffers.buffers(graph)
        at, self.buffer_floats = buffers.places(found)
        self.place = {one: start for held, start in zip(found, at, strict=True) for one in held.maps}
        self.constants: list[Constant] = []
        self.used: set[str] = set()
        self.calls = [call for op in graph.ops for call in self._call(op)]

    def values(self) -> dict[str, Any]:
        bits = sorted({op.values["bits"] for op in self.graph.ops if op.kind == "conv"})
        return {
            "buffer_floats": self.buffer_floats,
            "constants": self.constants,
            "constant_bytes": sum(one.size for one in self.constants),
            "convolutions": bits,
            "used": self.used,
            "calls": self.calls,
            "needs_math": bool({"group_norm", "channel_norm"} & self.used),
        }

    def _call(self, op: Op) -> Iterator[str]:
        source, target = (self._at(one.number) for one in (op.reads[0], op.writes))
        channels, rows, columns = op.reads[0].shape
        pixels, values = rows * columns, op.values
        if op.kind == "conv":
            yield self._conv(op, source, target)
        elif op.kind == "affine" and values["by_pixel"]:
            yield self._used("scale_pixels", source, target, self._array(op, values["factor"]), channels, pixels)
        elif op.kind == "affine":
            yield self._affine(op, source, target, channels, pixels)
        elif op.kind == "add":
            yield self._used("add", source, self._at(op.reads[1].number), target, op.writes.size)
        elif op.kind in ("average_pool", "max_pool"):
            window = (*values["kernel"], *values["stride"], *values["padding"])
            yield self._used(op.kind, source, target, channels, rows, columns, *op.writes.shape[1:], *window)
        elif op.kind == "pad":
            left, _, top, _, before, _ = values["sides"]
            filled = _float(max(values["value"], float(np.finfo(np.float32).min)))
            yield self._used(
                "pad", source, target, filled, channels, rows, columns, before, top, left, *op.writes.shape
            )
        elif op.kind in ("group_norm", "channel_norm"):
            groups = [values["groups"]] if op.kind == "group_norm" else []
            learned = (self._array(op, values[key], key) for key in ("weight", "bias"))
            yield self._used(op.kind, source, target, *learned, _float(values["eps"]), *groups, channels, pixels)
        elif op.kind == "mean":
            yield self._used("mean", source, target, channels, pixels)
        else:
            raise UsageError(f"the network computes {op.kind}, which has no form in C")

    def _used(self, function: str, *arguments: object) -> str:
        self.used.add(function)
        return f"{function}({', '.join(map(str, arguments))})"

    def _at(self, number: int) -> str:
        if number == self.graph.image.number:
            return "image"
        if number == self.graph.logits.number:
            return "logits"
        return f"buffer + {self.place[number]}" if self.place[number] else "buffer"

    def _conv(self, op: Op, source: str, target: str) -> str:
        values, stem = op.values, _identifier(op.layer)
        bits = values["bits"]
        size = (
            *op.reads[0].shape,
            *op.writes.shape,
            *values["weight"].shape[2:],
            *values["stride"],
            *values["padding"],
        )
        self.constants.append(Constant("conv_shape", f"{stem}_shape", 1, ", ".join(map(str, size)), 4 * len(size)))
        if bits == 32:
            weights = self._array(op, values["weight"].permute(2, 3, 0, 1), "weights")
            return f"conv_32bit({source}, {target}, {weights}, &{stem}_shape)"
        layer = self.network.get_submodule(op.layer)
        assert isinstance(layer, FixedConv2d)
        packed = pack(layer.codes.cpu().permute(2, 3, 0, 1), bits).tolist()
        self.constants.append(Constant("uint8_t", f"{stem}_weights", len(packed), _numbers(packed), len(packed)))
        return f"conv_{bits}bit({source}, {target}, {stem}_weights, {_float(values['step'])}, &{stem}_shape)"

    def _affine(self, op: Op, source: str, target: str, channels: int, pixels: int) -> str:
        factor, offset, least = (op.values[key] for key in ("factor", "offset", "least"))
        size = channels * pixels
        if source == "image":
            pass
        elif factor is None and offset is None:
            return self._used("at_least", source, target, _float(least), size)
        elif offset is None and least is None and factor.numel() == 1:
            return self._used("scale", source, target, _float(factor.item()), size)
        by = self._array(op, torch.ones(channels) if factor is None else factor.flatten().expand(channels), "factor")
        summand = torch.zeros(channels) if offset is None else offset.flatten().expand(channels)
        arrays = by, self._array(op, summand, "summand")
        if source == "image":
            return self._used("from_bytes", source, target, *arrays, channels, pixels)
        if least is None:
            return self._used("affine", source, target, *arrays, channels, pixels)
        return self._used("affine_at_least", source, target, *arrays, _float(least), channels, pixels)

    def _array(self, op: Op, values: Tensor, what: str = "factor") -> str:
        name = f"{_identifier(op.layer or f'map_{op.writes.number}')}_{what}"
        flat: NDArray[Any] = values.detach().cpu().numpy().astype(np.float32).ravel()
        self.constants.append(Constant("float", name, len(flat), _floats(flat.tolist()), 4 * len(flat)))
        return name


_ORDER = ("factor", "offset", "least")


def _fused(graph: Graph) -> Graph:
    """With one `affine` for a factor, a summand and a floor that follow each other.

    Its values: factor, offset (float64 tensors, or None), least (a number, or None), by_pixel. The image is read by
    an affine without a floor.
    """
    readers = [one.number for op in graph.ops for one in op.reads]
    fused: list[Op] = []
    for op in _reading_bytes(graph):
        now = _as_affine(op)
        before = fused[-1] if fused else None
        if (
            before is not None
            and before.kind == now.kind == "affine"
            and before.writes == now.reads[0]
            and readers.count(before.writes.number) == 1
            and _fit(before, now, graph.image)
        ):
            values = {key: _either(before.values[key], now.values[key]) for key in (*_ORDER, "by_pixel")}
            fused[-1] = replace(before, writes=now.writes, layer=before.layer or now.layer, values=values)
        else:
            fused.append(now)
    return Graph(graph.image, fused, graph.logits)


def _reading_bytes(graph: Graph) -> list[Op]:
    """The operations, where need be after one that makes numbers of the image's bytes."""
    readers = [op for op in graph.ops if graph.image in op.reads]
    if len(readers) == 1 and readers[0].kind == "scale" and len(readers[0].values["factor"]) == graph.image.shape[0]:
        return list(graph.ops)
    numbers = replace(graph.image, number=max(op.writes.number for op in graph.ops) + 1)
    first = Op("scale", (graph.image,), numbers, "", {"factor": torch.ones(graph.image.shape[0], 1, 1).double()})
    swapped = (replace(op, reads=tuple(numbers if one == graph.image else one for one in op.reads)) for op in graph.ops)
    return [first, *swapped]


def _as_affine(op: Op) -> Op:
    if op.kind not in ("scale", "offset", "floor"):
        return op
    values: dict[str, Any] = {**dict.fromkeys(_ORDER), **op.values}
    constant = values["factor"] if values["factor"] is not None else values["offset"]
    by_pixel = constant is not None and max(constant.shape[1:]) > 1
    if by_pixel and values["offset"] is not None:
        raise UsageError("the network adds a constant to each pixel, which has no form in C")
    return replace(op, kind="affine", values={**values, "by_pixel": by_pixel})


def _fit(before: Op, now: Op, image: Map) -> bool:
    """Whether what `now` does comes after what `before` does, in an affine's order."""
    done = max(place for place, key in enumerate(_ORDER) if before.values[key] is not None)
    to_do = min(place for place, key in enumerate(_ORDER) if now.values[key] is not None)
    from_bytes = before.reads[0] == image and now.values["least"] is not None
    return done < to_do and not before.values["by_pixel"] and not from_bytes


def _either(first: Any, second: Any) -> Any:
    return second if first is None else first


def _identifier(layer: str) -> str:
    return re.sub(r"\W", "_", layer)


def _float(value: float) -> str:
    """As C takes it: nine digits give each float back.

    >>> _float(2.0), _float(-1e-5)
    ('2.0f', '-9.99999975e-06f')
    """
    text = f"{np.float32(value):.9g}"
    return text + ("f" if set(text) & set(".e") else ".0f")


def _floats(values: Sequence[float]) -> str:
    return _lines([_float(value) for value in values])


def _numbers(values: Sequence[int]) -> str:
    return _lines([str(value) for value in values])


def _lines(words: Sequence[str]) -> str:
    rows = [", ".join(words[at : at + NUMBERS_A_LINE]) for at in range(0, len(words), NUMBERS_A_LINE)]
    return ",\n    ".join(rows)


def _string(text: str) -> str:
    r"""A C string of UTF-8.

    >>> print(_string('T-shirt "é"?'))
    "T-shirt \"\303\251\"\077"
    """
    plain = {ord(char) for char in " !#$%&'()*+,-./:;<=>@[]^_`{|}~"} | set(range(48, 58)) | set(range(65, 91))
    plain |= set(range(97, 123))
    spelled: Mapping[int, str] = {34: '\\"', 92: "\\\\"}
    return '"' + "".join(chr(b) if b in plain else spelled.get(b, f"\\{b:03o}") for b in text.encode()) + '"'
