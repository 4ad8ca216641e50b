"""Checks of a cell's config that span several groups."""

from __future__ import annotations

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.levels import show


def micro_batch(config: Config) -> None:
    """Raise UsageError where a compiled network would see micro-batches of two sizes: it is compiled for one."""
    recipe = config["recipe"]
    part, whole = recipe["micro_batch"], recipe["batch_size"]
    if recipe["compile"] and part is not None and part < whole and whole % part:
        raise UsageError(
            f"recipe.micro_batch={part}: with recipe.compile=true allowed: a divisor of recipe.batch_size={whole}"
        )


def shards(config: Config) -> None:
    """Raise UsageError where the shards of a batch fit neither the batch nor the processes that train a trial.

    Each of several processes trains one shard; a single process trains all of them.
    """
    recipe, dispatch = config["recipe"], config["dispatch"]
    count, workers, gpus = recipe["shards"], dispatch["workers_per_trial"], dispatch["gpus_per_trial"]
    if count > recipe["batch_size"]:
        raise UsageError(f"recipe.shards={count}: allowed: up to recipe.batch_size={recipe['batch_size']}")
    if count > 1 and recipe["micro_batch"] is not None:
        raise UsageError(f"recipe.micro_batch={recipe['micro_batch']}: with recipe.shards={count} allowed: null")
    if workers == 1:
        return
    if dispatch["executor"] == "in_process":
        raise UsageError(f"dispatch.workers_per_trial={workers}: with dispatch=in_process allowed: 1")
    if workers != count:
        raise UsageError(f"dispatch.workers_per_trial={workers}: allowed: 1, or recipe.shards={count}")
    if recipe["compile"]:
        raise UsageError(f"recipe.compile=true: with dispatch.workers_per_trial={workers} allowed: false")
    if gpus is not None and gpus % 1:
        raise UsageError(
            f"dispatch.gpus_per_trial={gpus:g}: each of dispatch.workers_per_trial={workers} has it; "
            "allowed: 0, or whole GPUs"
        )


def augment(config: Config) -> None:
    """Raise UsageError for scaling, cropping and flipping where it cannot be done.

    It is done while image files are read, and gives images of 224x224 pixels.
    """
    if config["recipe"]["augment"] != "scale_crop_flip":
        return
    allowed = "none, crop, light, cutout"
    if "workers" not in config["dataset"]:
        raise UsageError(
            "recipe.augment=scale_crop_flip: for images that are read from folders, as those of imagenet; "
            f"allowed here: {allowed}"
        )
    size = config["dataset"].get("size", 224)
    if size != 224:
        raise UsageError(
            "recipe.augment=scale_crop_flip: for images of 224x224 pixels; "
            f"allowed with dataset.size={show(size)}: {allowed}"
        )


def resplit(config: Config) -> None:
    """Refuse to deal training and validation images anew where none are set aside for validation."""
    if config["resplit"] and config["dataset"].get("valid_fraction") == 0:
        raise UsageError(
            "resplit=true: with dataset.valid_fraction=0 there are no validation images to deal anew; "
            "allowed: a fraction above 0, or bootstrap=train"
        )
