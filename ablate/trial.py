"""One config -> its parts -> the trial's events. Runs on a worker, which needs little more than torch."""

from __future__ import annotations

import functools
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate import memory
from ablate.core.errors import Stopped, UsageError
from ablate.core.events import Done, Epoch, Event, Notice, Started, from_dict, to_dict
from ablate.core.text import first_line
from ablate.store.run_directory import PRUNE, WEIGHTS

if TYPE_CHECKING:
    from ablate.parts.ranks import Ranks


@dataclass(frozen=True)
class Care:
    """How a trial is kept from being lost.

    epochs, minutes: between two checkpoints; one of both is None.
    keep: what stays of a trial that is done: "none", its "weights", or "all", the last checkpoint too.
    stop: once this file exists, the trial writes a checkpoint and stops between two batches; relative to the
        run directory, unless absolute.
    """

    epochs: int | None = None
    minutes: float | None = 5
    keep: str = "weights"
    stop: Path | None = None


def run(
    config: Mapping[str, Any],
    directory: Path,
    *,
    threads: int,
    device: str,
    care: Care | None = None,
    data: Callable[[], Any] | None = None,
    cost: bool = False,
    ranks: Ranks | None = None,
) -> Iterator[Event]:
    """Train and evaluate one trial, as told by its plain config; yield its events.

    It goes on from the checkpoint in `directory`, if there is one, after telling again what that holds. Before
    Done the trained weights are put there. With warm restarts, the epoch that ends a cycle tells its test
    accuracy, as in [WR] figure 5: for display, never to choose by. Until the last epoch that is with the running
    moments of batch norms, since re-estimating them would take draws from the training.

    torch is imported here, so that the driver can name this function without paying for it.

    On several ranks all of them run this, each on its shard of every batch. The first alone reads and writes the
    directory, and its events are the trial's; a checkpoint of theirs is one of a single process, and the reverse.

    Args:
        config: the resolved scientific config of a trial, the seed included.
        directory: the trial's run directory; only the first rank's matters.
        threads: CPU threads for torch, of each rank; results on a CPU repeat to the last bit at one thread count.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        care: of checkpoints; None for the usual.
        data: gives the data set of this config, as `dataset` does; None to make it here.
        cost: whether Done also tells what the network costs, as `ablate.cost` measures it.
        ranks: the processes that train it together, as many as `recipe.shards`; None for this one alone.

    Raises:
        Diverged: the training loss is NaN or infinite.
        UsageError: an image file is damaged.
        Stopped: it was asked to.
        Pruned: a tuning asked it to stop.
    """
    care = care or Care()
    stop = care.stop and directory / care.stop
    is_stopped = stop is not None and stop.exists()
    if ranks.told(is_stopped) if ranks else is_stopped:
        raise Stopped
    import torch

    from ablate import scores, train
    from ablate.checkpoint import Checkpoints, Keeper
    from ablate.parts import shards
    from ablate.parts.compute import Compute
    from ablate.parts.ranks import ALONE

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over every new map, for nothing
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = config["recipe"]
    ranks = ranks or ALONE
    yield Started(host=platform.node(), pid=os.getpid(), device=device, threads=threads, epochs=recipe["epochs"])

    memory.begin(device)
    began = time.perf_counter()
    images = dataset(config) if data is None else data()
    generators = _generators(config["seed"], device)
    compute = Compute(device, recipe["precision"])
    deal = shards.Deal(recipe["shards"], ranks)
    network = make_network(config, images.channels, images.classes, generators.pop("init"))
    network = compute.placed(shards.dealt(network, deal))
    splits = _loaders(images, device, threads=threads, augment=recipe["augment"])
    plan = _recipe(recipe, steps_per_epoch=-(-len(images.train) // recipe["batch_size"]))
    training = train.Training(network, splits["train"], plan, compute=compute, deal=deal, **generators)
    told: list[Epoch] = []
    pending: dict[str, float] | None = None  # of the epoch that is trained but not yet told

    def state() -> dict[str, Any]:
        history = [to_dict(event) for event in told]
        so_far = {"wall_s": time.perf_counter() - began, "peak_bytes": int(ranks.largest(memory.peak_bytes(device)))}
        return {"training": training.state(), "history": history, "pending": pending, **so_far}

    checkpoints = Checkpoints(directory, epochs=care.epochs, minutes=care.minutes)
    keeper = Keeper(checkpoints, stop, directory / PRUNE, state, ranks)
    found, complaints = ranks.told(checkpoints.load() if ranks.is_first else None)
    peak_before = 0
    if found is not None:
        training.restore(found["training"])
        told, pending = [_epoch(event) for event in found["history"]], found["pending"]
        began, peak_before = began - found["wall_s"], found["peak_bytes"]
        yield from told
    for complaint in complaints:
        where = f"in epoch {training.epoch + 1}, from the one before" if found else "from the beginning"
        yield Notice(text=f"{complaint}; it goes on {where}")

    restarts = _restarts(recipe)
    for metrics in itertools.chain([pending] if pending else [], training.epochs(keeper.between)):
        epoch, pending = training.epoch, metrics
        is_last = epoch == recipe["epochs"]
        keeper.after_epoch(epoch, is_last=is_last)
        heed = keeper.stop_if_asked if is_last else keeper.between  # the last one's moments are not training's
        if is_last and recipe["moments"] == "reestimated":
            size, augment = train.part_size(plan), plan.augment
            how = {"batch_size": size, "augment": augment, **generators, "between": heed, "deal": deal}
            scores.reestimate_moments(network, splits["train"], compute, **how)
        if "valid" in splits:
            valid = scores.evaluate(network, splits["valid"], compute, heed, ranks)
            metrics = metrics | {"valid_loss": valid.loss, "valid_acc": valid.acc}
        if is_last or epoch in restarts:
            test = scores.evaluate(network, splits["test"], compute, heed, ranks)
        shown = {"restart_test_acc": test.acc} if epoch in restarts else {}
        told.append(Epoch(epoch=epoch, metrics=metrics | shown | {"wall_s": time.perf_counter() - began}))
        pending = None
        yield told[-1]

    metrics |= {"test_loss": test.loss, "test_acc": test.acc}
    if "test_crops" in splits:
        heed = keeper.stop_if_asked
        metrics["test_acc_multicrop"] = scores.multi_crop_acc(network, splits["test_crops"], compute, heed, ranks)
    metrics["peak_bytes"] = max(peak_before, int(ranks.largest(memory.peak_bytes(device))))
    if care.keep != "none" and ranks.is_first:
        _keep_weights(network, directory)
    if cost and ranks.is_first:
        shape = images.channels, images.classes
        metrics |= yield from _cost(config, network, shape, splits["test"].first(), plan, compute)
        epochs_s = [one.metrics["train_s"] for one in told[1:] or told]  # the first one warms the process up
        metrics["train_images_per_s"] = len(splits["train"]) / statistics.median(epochs_s)
    yield Done(
        metrics=metrics | {"wall_s": time.perf_counter() - began},
        predicted=test.predicted.tolist(),
        labels=images.test.labels.tolist(),
    )
    if care.keep != "all" and ranks.is_first:
        checkpoints.remove()


def warm() -> None:
    """Import what every trial needs: a worker process does so while the plan is made and data is read."""
    import hydra.utils  # noqa: F401
    import torch

    from ablate import checkpoint, scores, train  # noqa: F401
    from ablate.parts import loader, wrn  # noqa: F401

    torch.optim.SGD([torch.zeros(1)])  # the first optimizer imports half of torch


def trained(config: Mapping[str, Any], directory: Path) -> tuple[Any, int, int]:
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
        micro_batch=config["micro_batch"],
        compiled=config["compile"],
    )


def _restarts(config: Mapping[str, Any]) -> list[int]:
    """The epochs that end a cycle of warm restarts."""
    from ablate.parts import schedule

    return schedule.cycle_ends(config["epochs"]) if config["schedule"] == "warm_restarts" else []


def _cost(
    config: Mapping[str, Any],
    network: Any,
    shape: tuple[int, int],
    image: Any,
    plan: Any,
    compute: Any,
) -> Generator[Notice, None, dict[str, float]]:
    """What the trained network costs; what cannot be measured of a network of one's own is told, and costs no trial."""
    from ablate import cost

    try:
        found = cost.of_training(lambda: make_network(config, *shape), tuple(image.shape[1:]), plan, compute)
        return found | cost.of_inference(network, image, compute)
    except Exception as error:
        yield Notice(text=f"its cost was not measured: {type(error).__name__}: {first_line(error)}")
        return {}


def _keep_weights(network: Any, directory: Path) -> None:
    from ablate import checkpoint

    temporary = directory / f"{WEIGHTS}.tmp"
    checkpoint.write({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, temporary)
    temporary.replace(directory / WEIGHTS)


def _epoch(values: Mapping[str, Any]) -> Epoch:
    event = from_dict(values)
    assert isinstance(event, Epoch)
    return event


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
