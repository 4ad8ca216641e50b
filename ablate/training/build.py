"""What a trial's config makes: its data set and loaders, its network, its recipe."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.core.errors import UsageError
from ablate.core.text import first_line
from ablate.store.run_directory import WEIGHTS


def trained_network(config: Mapping[str, Any], directory: Path) -> tuple[Any, int, int]:
    """The network of a trial that is done, in evaluation mode, and its numbers of channels and classes.

    Raises:
        UsageError: the weights in its run directory are damaged, or not those of its network.
    """
    import torch

    path = directory / WEIGHTS
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        layers = [value for value in weights.values() if value.dim() > 1]  # in the network's order
        channels, classes = layers[0].shape[1], layers[-1].shape[0]
    except Exception as error:  # torch raises whatever its reader trips over
        raise UsageError(f"{path}: not the weights of this trial's network ({first_line(error)})") from error
    network = make_network(config, channels, classes)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(f"{path}: not the weights of this trial's network ({first_line(error)})") from error
    return network.eval(), channels, classes


def dataset(config: Mapping[str, Any]) -> Any:
    """The data set of a trial's config, kept between the trials of one process. Without torch.

    Raises:
        UsageError: a file of it is missing or damaged.
    """
    return _dataset(json.dumps(config["dataset"], sort_keys=True))


@functools.lru_cache(maxsize=2)
def _dataset(config: str) -> Any:
    from hydra.utils import instantiate

    return instantiate(json.loads(config))


def loaders(data: Any, device: str, *, threads: int, augment: str) -> dict[str, Any]:
    """The splits by name; "valid" where there is one, and "test_crops" where the test images are cropped too."""
    from ablate.data.loader import on_device

    made = {
        "train": on_device(data.train, device, threads=threads, augment=augment),
        "test": on_device(data.test, device, threads=threads),
    }
    if data.valid is not None:
        made["valid"] = on_device(data.valid, device, threads=threads)
    if data.multi_crop:
        made["test_crops"] = on_device(data.test, device, threads=threads, many_crops=True)
    return made


def make_network(config: Mapping[str, Any], channels: int, classes: int, generator: Any = None) -> Any:
    """The untrained network of a trial's config, for images of so many channels and classes."""
    from hydra.utils import instantiate

    return instantiate(config["model"])(
        arm=instantiate(config["norm"]),
        depth=config["depth"],
        width=config["width"],
        bits=config["bits"],
        channels=channels,
        classes=classes,
        generator=generator,
    )


def recipe(config: Mapping[str, Any], steps_per_epoch: int) -> Any:
    from ablate.data import augment
    from ablate.training import loop, schedule

    return loop.Recipe(
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        lr=config["lr"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
        lr_factor=functools.partial(
            getattr(schedule, config["schedule"]),
            steps_per_epoch=steps_per_epoch,
            epochs=config["epochs"],
            floor=config["lr_floor"],
        ),
        augment=getattr(augment, config["augment"]),
        micro_batch=config["micro_batch"],
        compiled=config["compile"],
    )


def restarts(config: Mapping[str, Any]) -> list[int]:
    """The epochs that end a cycle of warm restarts."""
    from ablate.training import schedule

    return schedule.cycle_ends(config["epochs"]) if config["schedule"] == "warm_restarts" else []


def keep_weights(network: Any, directory: Path) -> None:
    from ablate.training import checkpoint

    temporary = directory / f"{WEIGHTS}.tmp"
    checkpoint.write({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, temporary)
    temporary.replace(directory / WEIGHTS)
