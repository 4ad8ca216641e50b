"""One config -> its parts -> the trial's events. Runs on a worker, which needs little more than torch."""

from __future__ import annotations

import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.core.errors import Stopped
from ablate.core.events import Done, Epoch, Event, Notice, Started, from_dict, to_dict
from ablate.core.text import first_line
from ablate.store.run_directory import PRUNE
from ablate.training import build, memory
from ablate.training.checkpoint_policy import CheckpointPolicy

if TYPE_CHECKING:
    from ablate.training.ranks import Ranks


def run(
    config: Mapping[str, Any],
    directory: Path,
    *,
    threads: int,
    device: str,
    care: CheckpointPolicy | None = None,
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
        cost: whether Done also tells what the network costs, as `ablate.training.cost` measures it.
        ranks: the processes that train it together, as many as `recipe.shards`; None for this one alone.

    Raises:
        Diverged: the training loss is NaN or infinite.
        UsageError: an image file is damaged.
        Stopped: it was asked to.
        Pruned: a tuning asked it to stop.
    """
    care = care or CheckpointPolicy()
    stop = care.stop and directory / care.stop
    is_stopped = stop is not None and stop.exists()
    if ranks.told(is_stopped) if ranks else is_stopped:
        raise Stopped
    import torch

    from ablate.training import evaluation, loop, shards
    from ablate.training.checkpoint import Checkpoints, CheckpointWriter
    from ablate.training.compute import Compute
    from ablate.training.ranks import ALONE

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
    images = build.dataset(config) if data is None else data()
    generators = _generators(config["seed"], device)
    compute = Compute(device, recipe["precision"])
    deal = shards.Deal(recipe["shards"], ranks)
    network = build.make_network(config, images.channels, images.classes, generators.pop("init"))
    network = compute.placed(shards.dealt(network, deal))
    splits = build.loaders(images, device, threads=threads, augment=recipe["augment"])
    plan = build.recipe(recipe, steps_per_epoch=-(-len(images.train) // recipe["batch_size"]))
    training = loop.Training(network, splits["train"], plan, compute=compute, deal=deal, **generators)
    told: list[Epoch] = []
    pending: dict[str, float] | None = None  # of the epoch that is trained but not yet told

    def state() -> dict[str, Any]:
        history = [to_dict(event) for event in told]
        so_far = {"wall_s": time.perf_counter() - began, "peak_bytes": int(ranks.largest(memory.peak_bytes(device)))}
        return {"training": training.state(), "history": history, "pending": pending, **so_far}

    checkpoints = Checkpoints(directory, epochs=care.epochs, minutes=care.minutes)
    keeper = CheckpointWriter(checkpoints, stop, directory / PRUNE, state, ranks)
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

    restarts = build.restarts(recipe)
    for metrics in itertools.chain([pending] if pending else [], training.epochs(keeper.between)):
        epoch, pending = training.epoch, metrics
        is_last = epoch == recipe["epochs"]
        keeper.after_epoch(epoch, is_last=is_last)
        heed = keeper.stop_if_asked if is_last else keeper.between  # the last one's moments are not training's
        if is_last and recipe["moments"] == "reestimated":
            size, augment = loop.part_size(plan), plan.augment
            how = {"batch_size": size, "augment": augment, **generators, "between": heed, "deal": deal}
            evaluation.reestimate_moments(network, splits["train"], compute, **how)
        if "valid" in splits:
            valid = evaluation.evaluate(network, splits["valid"], compute, heed, ranks)
            metrics = metrics | {"valid_loss": valid.loss, "valid_acc": valid.acc}
        if is_last or epoch in restarts:
            test = evaluation.evaluate(network, splits["test"], compute, heed, ranks)
        shown = {"restart_test_acc": test.acc} if epoch in restarts else {}
        told.append(Epoch(epoch=epoch, metrics=metrics | shown | {"wall_s": time.perf_counter() - began}))
        pending = None
        yield told[-1]

    metrics |= {"test_loss": test.loss, "test_acc": test.acc}
    if "test_crops" in splits:
        heed = keeper.stop_if_asked
        metrics["test_acc_multicrop"] = evaluation.multi_crop_acc(network, splits["test_crops"], compute, heed, ranks)
    metrics["peak_bytes"] = max(peak_before, int(ranks.largest(memory.peak_bytes(device))))
    if care.keep != "none" and ranks.is_first:
        build.keep_weights(network, directory)
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

    from ablate.data import loader  # noqa: F401
    from ablate.networks import wrn  # noqa: F401
    from ablate.training import checkpoint, evaluation, loop  # noqa: F401

    torch.optim.SGD([torch.zeros(1)])  # the first optimizer imports half of torch


def _cost(
    config: Mapping[str, Any],
    network: Any,
    shape: tuple[int, int],
    image: Any,
    plan: Any,
    compute: Any,
) -> Generator[Notice, None, dict[str, float]]:
    """What the trained network costs; what cannot be measured of a network of one's own is told, and costs no trial."""
    from ablate.training import cost

    try:
        found = cost.of_training(lambda: build.make_network(config, *shape), tuple(image.shape[1:]), plan, compute)
        return found | cost.of_inference(network, image, compute)
    except Exception as error:
        yield Notice(text=f"its cost was not measured: {type(error).__name__}: {first_line(error)}")
        return {}


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
