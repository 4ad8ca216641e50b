"""A folded network as an ONNX file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ablate.core.errors import UsageError
from ablate.core.text import first_line
from ablate.deploy.card import KEY, Card

DIGEST = "ablate.sha256"
"""The key, in a model's metadata, of its digest."""

if TYPE_CHECKING:
    import onnx

IMAGES, LOGITS = "images", "logits"
"""Names of the input, (N, C, H, W) float32 pixel values from 0 to 255, and of the output, (N, classes) float32."""


def write(network: nn.Module, card: Card, path: Path) -> None:
    """Write a network that `fold.folded` made, for any number of images. ONNX's own checker passes it first.

    Raises:
        UsageError: ONNX has no form for what the network computes.
    """
    import onnx

    images = torch.zeros(2, *card.shape)
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("N")},),
                input_names=[IMAGES],
                output_names=[LOGITS],
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UsageError(f"format=onnx: ONNX has no form for this network ({str(error).splitlines()[0]})") from error
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key=KEY, value=card.to_json())
    model.metadata_props.add(key=DIGEST, value=_digest(model))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def read(path: Path) -> tuple[nn.Module, Card]:
    """Return the model as a network that onnxruntime computes on the CPU, and its card.

    Raises:
        UsageError: the file is damaged, or is something else.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
        card = Card.from_json({entry.key: entry.value for entry in model.metadata_props}[KEY])
    except Exception as error:  # the errors of protobuf's parser have no base class
        raise UsageError(f"weights={path}: not an ONNX model that ablate.export wrote ({first_line(error)})") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise UsageError(f"weights={path}: it keeps numbers in other files; allowed: all in one file")
    if _digest(model) not in [entry.value for entry in model.metadata_props if entry.key == DIGEST]:
        raise UsageError(
            f"weights={path}: damaged: its card or its graph is not what was written (or an earlier version wrote it, "
            "which kept no digest: export the trial again)"
        )
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of onnxruntime have no base class
        raise UsageError(f"weights={path}: onnxruntime refuses it ({first_line(error)})") from error
    return OnnxNetwork(session), card


def _digest(model: onnx.ModelProto) -> str:
    """Return the SHA-256 over a model with its card, without its digest."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    bare.metadata_props.extend(entry for entry in model.metadata_props if entry.key != DIGEST)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


class OnnxNetwork(nn.Module):
    """A network in onnxruntime, on the CPU: (N, C, H, W) float -> (N, classes) logits."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session

    def forward(self, images: Tensor) -> Tensor:
        (logits,) = self.session.run([LOGITS], {IMAGES: images.contiguous().numpy()})
        return torch.from_numpy(logits)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which reports its inner workings through loggers, warnings and standard output."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
