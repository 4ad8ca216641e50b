"""A network with trained weights, and what is known of it: of a trial, of a file of ours, or of the authors'."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.text import first_line
from ablate.core.trust import OURS, Trust
from ablate.data.labels import labels
from ablate.driver.trained import network_in_words
from ablate.planning import parts
from ablate.training import build

if TYPE_CHECKING:  # torch is imported when a network is read
    from torch import nn

    from ablate.deploy.card import Card

MOST_LAYERS = 10_000
"""Of a network that a file names."""


@dataclass(frozen=True)
class Trained:
    """A network with trained weights.

    Attributes:
        network: a module, or a function of the same form that runs exported code.
        channels: channels of the images that it takes.
        classes: classes that it tells apart.
        typed: the network as the user named it, such as `trial=ID`.
        words: a description for people.
        precision: the precision that it was trained at.
        dataset: the config of the data set that it was trained on; None where that is not known.
        test_acc: the test accuracy of an exported trial on that data set, in [0, 1].
        on_cpu: whether it computes on the CPU alone.
        shape: (C, H, W) of the images that it takes; None for any size.
        classes_by_name: the names of its classes by index; None where only their indices are known.
    """

    network: Any
    channels: int
    classes: int
    typed: str
    words: str
    precision: str = "fp32"
    dataset: Config | None = None
    test_acc: float | None = None
    on_cpu: bool = False
    shape: tuple[int, ...] | None = None
    classes_by_name: tuple[str, ...] | None = None


def of_file(file: str, trust: Trust) -> Trained:
    """Read a file that ablate.export wrote, or a MATLAB file of the authors.

    Raises:
        UsageError: the file is damaged or something else, or its card names code that is not trusted.
    """
    from ablate.deploy import c_source, onnx_file, packed
    from ablate.networks.weights import read_mat

    path, typed = Path(file), f"weights={file}"
    if path.suffix == ".mat":
        published = read_mat(path)
        words = f"{path.name}: wide ResNet {published.depth}-{published.width}, 1 bit per weight, batch norm"
        return Trained(published, published.channels, published.classes, typed, words)
    if path.suffix == ".safetensors":
        network, card = packed.read(path, functools.partial(_like, trust=trust, source=typed, size=path.stat().st_size))
    elif path.suffix == ".onnx":
        network, card = onnx_file.read(path)
    elif path.suffix == ".c":
        network, card = c_source.read(path)
    else:
        raise UsageError(f"{typed}: allowed: a file that ends in .safetensors, .onnx, .c or .mat")
    return Trained(
        network=network,
        channels=card.shape[0],
        classes=card.classes,
        typed=typed,
        words=f"{path.name}: {card.trial_id}, {network_in_words(card.config)}",
        dataset=card.config["dataset"],
        test_acc=card.test_acc,
        on_cpu=path.suffix != ".safetensors",
        shape=None if path.suffix == ".safetensors" else tuple(card.shape),
        classes_by_name=_if_named(tuple(card.labels)),
    )


def _like(card: Card, *, trust: Trust, source: str, size: int) -> nn.Module:
    """Return the folded network that a card names, untrained.

    Args:
        card: of the file.
        trust: the code that it may name.
        source: the file as the user typed it.
        size: of the file, in bytes.

    Raises:
        UsageError: the card names other code, or a network of more weights than the file can hold.
    """
    import torch

    from ablate.deploy.fold import folded

    trust.check(card.config, source)
    parts.check_targets(card.config)
    if card.config["depth"] > MOST_LAYERS:
        raise UsageError(
            f"{source}: its card names a network of depth {card.config['depth']}; allowed: up to {MOST_LAYERS}"
        )
    make = functools.partial(build.make_network, card.config, card.shape[0], card.classes)
    try:
        if {card.config[part]["_target_"] for part in ("model", "norm")} <= OURS:
            with torch.device("meta"):  # takes no memory
                weights = sum(value.numel() for value in make().parameters())
            if weights > 8 * size:
                raise UsageError(f"{source}: its card names a network of {weights:,} weights; it has {size:,} bytes")
        return folded(make())
    except (HydraException, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{source}: its card names no network that can be made ({first_line(error)})") from error


def of_trial(trial_id: str, config: Config, directory: Path) -> Trained:
    """Return the network of a trial that is done, from its config and its run directory."""
    network, channels, classes = build.trained_network(config, directory)
    words = f"{trial_id}: {network_in_words(config)}"
    precision = config["recipe"].get("precision", "fp32")  # the trial may be older than the key
    names = _if_named(labels(config["dataset"]["_target_"], classes))
    return Trained(
        *(network, channels, classes, f"trial={trial_id}", words, precision),
        dataset=config["dataset"],
        classes_by_name=names,
    )


def _if_named(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the names of classes; None where they are but their indices."""
    return None if names == tuple(map(str, range(len(names)))) else names
