"""A folded network in one safetensors file, its weights packed at their bits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ablate.core.errors import UsageError
from ablate.deploy.card import KEY, Card
from ablate.deploy.fold import FixedConv2d

CODES = ".codes"
"""Ending of the tensor with a weight's codes, as in `FixedConv2d`: least significant bit first, without gaps."""

STEP = ".step"
"""Ending of the tensor with a weight's step, one float64."""

DIGEST = "sha256"
"""The key, in a file's metadata, of the `digest` of its card and its tensors."""


def write(network: nn.Module, card: Card, path: Path) -> None:
    """Write a network that `fold.folded` made."""
    from safetensors.torch import save

    layers = _coded(network)
    tensors = {}
    for name, value in network.state_dict().items():
        layer = layers.get(name)
        if layer is None:
            tensors[name] = value.cpu().contiguous()
        else:
            tensors[name + CODES] = pack(layer.codes.cpu(), layer.stored_bits)
            tensors[name + STEP] = torch.tensor(layer.step, dtype=torch.float64)
    text = card.to_json()
    path.write_bytes(save(tensors, metadata={KEY: text, DIGEST: digest(text, tensors)}))


def read(path: Path, make: Callable[[Card], nn.Module]) -> tuple[nn.Module, Card]:
    """Return the network in evaluation mode, and its card.

    Args:
        path: of a file that `write` wrote.
        make: makes a card's network as `fold.folded` does, with any weights. It refuses a card that names code which
            is not trusted.

    Raises:
        UsageError: the file is damaged, or is something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            card = Card.from_json(metadata[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"weights={path}: not a packed model that ablate.export wrote ({error})") from error
    if digest(metadata[KEY], tensors) != metadata.get(DIGEST):
        raise UsageError(
            f"weights={path}: damaged: its card or its numbers are not those that were written (or an earlier version "
            "wrote it, which kept no digest of the card: export the trial again)"
        )
    network = make(card)
    try:
        for name, layer in _coded(network).items():
            count = layer.weight.numel()
            layer.codes = unpack(tensors.pop(name + CODES), layer.stored_bits, count).reshape(layer.weight.shape)
            if tensors.pop(name + STEP).item() != layer.step:
                raise ValueError(f"the step of {name} is not that of the network it names")
            tensors[name] = layer.weight
        network.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise UsageError(f"weights={path}: its tensors are not those of the network it names ({error})") from error
    return network, card


def digest(card: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over a card and each tensor's name, type, shape and bytes, in the order of the names."""
    sha256 = hashlib.sha256(f"{len(card.encode())} {card}".encode())
    for name in sorted(tensors):
        numbers = tensors[name].numpy()
        sha256.update(f"{len(name.encode())} {name} {numbers.dtype} {numbers.shape}".encode())
        sha256.update(numbers.tobytes())
    return sha256.hexdigest()


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack numbers from 0 to 2^bits - 1, of any shape, into uint8 without gaps, least significant bit first.

    >>> pack(torch.tensor([1, 0, 0, 1], dtype=torch.uint8), bits=1).tolist()
    [9]
    """
    single = np.unpackbits(codes.reshape(-1, 1).numpy(), axis=1, count=bits, bitorder="little")
    return torch.from_numpy(np.packbits(single, bitorder="little"))


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return the `count` numbers that `pack` packed. Raise ValueError if the bytes hold another count.

    >>> unpack(torch.tensor([9], dtype=torch.uint8), bits=1, count=4).tolist()
    [1, 0, 0, 1]
    """
    if packed.dtype != torch.uint8 or packed.numel() != -(-count * bits // 8):
        raise ValueError(f"{packed.numel()} bytes where {count} weights of {bits} bits belong")
    single = np.unpackbits(packed.numpy(), count=count * bits, bitorder="little").reshape(count, bits)
    return torch.from_numpy(np.packbits(single, axis=1, bitorder="little")).flatten()


def _coded(network: nn.Module) -> dict[str, FixedConv2d]:
    """Return the layers below 32 bits, by the names of their weights."""
    return {
        f"{name}.weight": layer
        for name, layer in network.named_modules()
        if isinstance(layer, FixedConv2d) and layer.stored_bits < 32
    }
