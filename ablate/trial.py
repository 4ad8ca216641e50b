"""One config -> its parts -> the trial's events. Runs on a worker, which needs little more than torch."""

from __future__ import annotations

import functools
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.design import Mistake
from ablate.events import Done, Epoch, Event, Started

WEIGHTS = "weights.pt"
"""In the run directory of a trial that is done: its network's state_dict."""


def run(config: Mapping[str, Any], directory: Path, *, threads: int, device: str) -> Iterator[Event]:
    """Train and evaluate one trial, as told by its plain config; yield its events.

    Before Done the trained weights are put into `directory`. With warm restarts, the epoch that ends a cycle
    tells its test accuracy, as in [WR] figure 5: for display, never to choose by. Until the last epoch that is
    with the running moments of batch norms, since re-estimating them would take draws from the training.

    torch is imported here, so that the driver can name this function without paying for it.

    Args:
        config: the resolved scientific config of a trial, the seed included.
        directory: the trial's run directory.
        threads: CPU threads for torch; results on a CPU repeat to the last bit at one thread count.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.

    Raises:
        Diverged: the training loss is NaN or infinite.
        Mistake: an image file is damaged.
    """
    import torch

    from ablate import train

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    epochs = config["recipe"]["epochs"]
    yield Started(host=platform.node(), pid=os.getpid(), device=device, threads=threads, epochs=epochs)

    began = time.perf_counter()
    data = _dataset(json.dumps(config["dataset"], sort_keys=True))
    generators = _generators(config["seed"], device)
    network = _network(config, data.channels, data.classes, generators.pop("init")).to(device)
    splits = _loaders(data, device, threads=threads, augment=config["recipe"]["augment"])
    recipe = _recipe(config["recipe"], steps_per_epoch=-(-len(data.train) // config["recipe"]["batch_size"]))
    restarts = _restarts(config["recipe"])
    metrics: dict[str, float] = {}
    for epoch, metrics in enumerate(train.fit(network, splits["train"], recipe, **generators), 1):
        if epoch == epochs and config["recipe"]["moments"] == "reestimated":
            train.reestimate_moments(network, splits["train"], recipe, **generators)
        if "valid" in splits:
            valid = train.evaluate(network, splits["valid"])
            metrics |= {"valid_loss": valid.loss, "valid_acc": valid.acc}
        if epoch == epochs or epoch in restarts:
            test = train.evaluate(network, splits["test"])
        shown = {"restart_test_acc": test.acc} if epoch in restarts else {}
        yield Epoch(epoch=epoch, metrics=metrics | shown | {"wall_s": time.perf_counter() - began})

    metrics |= {"test_loss": test.loss, "test_acc": test.acc}
    if "test_crops" in splits:
        metrics["test_acc_multicrop"] = train.multi_crop_acc(network, splits["test_crops"])
    _keep_weights(network, directory)
    yield Done(
        metrics=metrics | {"wall_s": time.perf_counter() - began},
        predicted=test.predicted.tolist(),
        labels=data.test.labels.tolist(),
    )


def trained(config: Mapping[str, Any], directory: Path) -> tuple[Any, int, int]:
    """The network of a trial that is done, in evaluation mode, and its numbers of channels and classes.

    Raises:
        Mistake: the weights in its run directory are damaged, or not those of its network.
    """
    import torch

    path = directory / WEIGHTS
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        layers = [value for value in weights.values() if value.dim() > 1]  # in the network's order
        channels, classes = layers[0].shape[1], layers[-1].shape[0]
    except Exception as error:  # torch raises whatever its reader trips over
        raise Mistake(f"{path}: not the weights of this trial's network ({_first_line(error)})") from error
    network = _network(config, channels, classes)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise Mistake(f"{path}: not the weights of this trial's network ({_first_line(error)})") from error
    return network.eval(), channels, classes


@functools.lru_cache(maxsize=2)
def _dataset(config: str) -> Any:
    """The data set, kept between the trials of one worker process."""
    from hydra.utils import instantiate

    return instantiate(json.loads(config))


def _loaders(data: Any, device: str, *, threads: int, augment: str) -> dict[str, Any]:
    """The splits by name; "valid" where there is one, and "test_crops" where the test images are cropped too."""
    from ablate.parts.loader import on_device

    made = {
        "train": on_device(data.train, device, threads=threads, augment=augment),
        "test": on_device(data.test, device, threads=threads),
    }
    if data.valid is not None:
        made["valid"] = on_device(data.valid, device, threads=threads)
    if data.multi_crop:
        made["test_crops"] = on_device(data.test, device, threads=threads, many_crops=True)
    return made


def _network(config: Mapping[str, Any], channels: int, classes: int, generator: Any = None) -> Any:
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


def _recipe(config: Mapping[str, Any], steps_per_epoch: int) -> Any:
    from ablate import train
    from ablate.parts import augment, schedule

    return train.Recipe(
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
    )


def _restarts(config: Mapping[str, Any]) -> list[int]:
    """The epochs that end a cycle of warm restarts."""
    from ablate.parts import schedule

    return schedule.cycle_ends(config["epochs"]) if config["schedule"] == "warm_restarts" else []


def _keep_weights(network: Any, directory: Path) -> None:
    import torch

    temporary = directory / f"{WEIGHTS}.tmp"
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, temporary)
    temporary.replace(directory / WEIGHTS)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(":") or type(error).__name__


def _generators(seed: int, device: str) -> dict[str, Any]:
    """Independent streams from one seed: the same in every arm, so that arms are paired by seed."""
    import numpy as np
    import torch

    streams = {"init": "cpu", "order": "cpu", "draws": device}
    words = np.random.SeedSequence(seed).generate_state(len(streams), np.uint64)
    return {
        name: torch.Generator(where).manual_seed(int(word >> np.uint64(1)))
        for (name, where), word in zip(streams.items(), words, strict=True)
    }
