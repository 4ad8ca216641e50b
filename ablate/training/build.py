"""What a trial's config makes: its data set and loaders, its network, its recipe, its training."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import values_for_part
from ablate.core.text import first_line
from ablate.data.resampling import resampled
from ablate.store.run_directory import WEIGHTS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ablate.data.batches import Loader
    from ablate.data.splits import ImageDataset
    from ablate.training.compute import Compute
    from ablate.training.generators import Generators
    from ablate.training.loop import Training, TrainingRecipe
    from ablate.training.ranks import Ranks
    from ablate.training.recipe_config import RecipeConfig
    from ablate.training.shards import BatchPartition


@dataclass(frozen=True)
class Parts:
    """All that a trial trains and evaluates with.

    dataset: its images.
    loaders: its splits by name, as `loaders` returns them.
    network: on its device, its batch norms as the partition of batches needs them.
    compute: the device and the precision.
    partition: how each batch is split in shards.
    generators: what training draws from.
    recipe: how to train.
    training: the training loop, before its first batch.
    """

    dataset: ImageDataset
    loaders: dict[str, Loader]
    network: nn.Module
    compute: Compute
    partition: BatchPartition
    generators: Generators
    recipe: TrainingRecipe
    training: Training

    @property
    def ranks(self) -> Ranks:
        """The processes that train the trial together."""
        return self.partition.ranks


def parts(
    config: Config,
    device: str,
    *,
    threads: int,
    ranks: Ranks,
    load_dataset: Callable[[], ImageDataset] | None = None,
) -> Parts:
    """Return what a trial's config makes, on the device.

    Args:
        config: the resolved config of a trial, the seed included.
        device: "cpu" or "cuda".
        threads: as in `loaders`.
        ranks: the processes that train the trial together.
        load_dataset: returns the data set of this config, as `dataset` does; None to call that.

    Raises:
        UsageError: a file of the data set is missing or damaged.
    """
    from ablate.training import generators, loop, shards
    from ablate.training.compute import Compute

    config_of_recipe: RecipeConfig = config["recipe"]
    images = resampled(dataset(config) if load_dataset is None else load_dataset(), config)
    of_initial_weights, of_training = generators.from_seed(config["seed"], device)
    generators.seed_globals(config["seed"])  # alike on all ranks, for the initial weights
    compute = Compute(device, config_of_recipe["precision"])
    partition = shards.BatchPartition(config_of_recipe["shards"], ranks)
    network = make_network(config, images.channels, images.classes, of_initial_weights)
    network = compute.placed(shards.sharded(network, partition))
    splits = loaders(images, device, threads=threads, augment=config_of_recipe["augment"])
    steps_per_epoch = -(-len(images.train) // config_of_recipe["batch_size"])
    planned = recipe(config_of_recipe, steps_per_epoch=steps_per_epoch)
    training = loop.Training(
        network, splits["train"], planned, generators=of_training, compute=compute, partition=partition
    )
    if ranks.rank:
        generators.seed_globals(config["seed"], rank=ranks.rank)
    return Parts(images, splits, network, compute, partition, of_training, planned, training)


def trained_network(config: Config, directory: Path) -> tuple[nn.Module, int, int]:
    """Return the network of a trial that is done, in evaluation mode, and its numbers of channels and classes.

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


def dataset(config: Config) -> ImageDataset:
    """Return the data set of a trial's config, kept between the trials of one process. One of ours does without torch.

    A user's own finds the global generators in the same state whichever trial reads it first.

    Raises:
        UsageError: a file of it is missing or damaged.
    """
    return _dataset(json.dumps(config["dataset"], sort_keys=True))


@functools.lru_cache(maxsize=2)
def _dataset(config: str) -> ImageDataset:
    from hydra.utils import instantiate

    values = json.loads(config)
    if not values["_target_"].startswith("ablate."):
        from ablate.training import generators

        generators.seed_globals(0, generators.OF_DATA)
    images: ImageDataset = instantiate(values_for_part(values))
    return images


def loaders(images: ImageDataset, device: str, *, threads: int, augment: str) -> dict[str, Loader]:
    """Return the splits by name: "train", "test", "valid" and "test_crops".

    "valid" is missing where nothing is set aside, and "test_crops" where the test images are not cropped too.
    Arguments are as in `ablate.data.loader.on_device`.
    """
    from ablate.data.loader import on_device

    splits = {
        "train": on_device(images.train, device, threads=threads, augment=augment),
        "test": on_device(images.test, device, threads=threads),
    }
    if images.valid is not None:
        splits["valid"] = on_device(images.valid, device, threads=threads)
    if images.multi_crop:
        splits["test_crops"] = on_device(images.test, device, threads=threads, many_crops=True)
    return splits


def make_network(config: Config, channels: int, classes: int, generator: torch.Generator | None = None) -> nn.Module:
    """Return the untrained network of a trial's config.

    Args:
        config: the resolved config of a trial.
        channels: of the images.
        classes: of the data set.
        generator: a CPU generator that draws the initial weights; None for torch's own.
    """
    from hydra.utils import instantiate

    network: nn.Module = instantiate(values_for_part(config["model"]))(
        arm=instantiate(values_for_part(config["norm"])),
        depth=config["depth"],
        width=config["width"],
        bits=config["bits"],
        channels=channels,
        classes=classes,
        generator=generator,
    )
    return network


def recipe(config: RecipeConfig, steps_per_epoch: int) -> TrainingRecipe:
    """Return the recipe of a config, whose schedule and augmentation are named there."""
    from ablate.data import augment
    from ablate.training import loop, schedule

    return loop.TrainingRecipe(
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


def restarts(config: RecipeConfig) -> list[int]:
    """Return the epochs, counted from 1, that end a cycle of warm restarts; none under other schedules."""
    from ablate.training import schedule

    return schedule.cycle_ends(config["epochs"]) if config["schedule"] == "warm_restarts" else []


def keep_weights(network: nn.Module, directory: Path) -> None:
    """Write the weights to a trial's run directory, whole or not at all."""
    from ablate.training import checkpoint

    temporary = directory / f"{WEIGHTS}.tmp"
    checkpoint.write({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, temporary)
    temporary.replace(directory / WEIGHTS)
