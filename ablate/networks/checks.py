"""What a part asks of a cell's config, told before anything starts and without importing torch.

A YAML file names its check (`check: ablate.networks.checks.wide_resnet`); it raises UsageError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ablate.core.errors import UsageError
from ablate.core.levels import show


def wide_resnet(config: Mapping[str, Any]) -> None:
    depth = config["depth"]
    if not 8 <= depth < 10_000 or depth % 6 != 2:
        raise UsageError(
            f"depth={depth}: a wide ResNet has 6n + 2 convolutions; allowed: 8, 14, 20, 26, ... up to 9998"
        )
    if config["width"] % 1:
        raise UsageError(
            f"width={config['width']}: a wide ResNet's stages have 16, 32 and 64 channels times a whole number"
        )
    _residual_and_padding(config)


def imagenet_resnet(config: Mapping[str, Any]) -> None:
    depth, width = config["depth"], config["width"]
    if not 10 <= depth < 10_000 or depth % 8 != 2:
        raise UsageError(
            f"depth={depth}: ImageNet's residual network has 8n + 2 convolutions; allowed: 10, 18, 26, ... up to 9994"
        )
    if 64 * width % 1:
        raise UsageError(
            f"width={width}: 64 times the width is the first stage's channels; allowed: 2.5, 1, 0.25, ..., so that "
            "it is a whole number"
        )
    _residual_and_padding(config)


def _residual_and_padding(config: Mapping[str, Any]) -> None:
    residual, padding = config["model"]["residual"], config["model"]["padding"]
    if not isinstance(residual, bool):
        raise UsageError(f"model.residual={show(residual)}: allowed: true, false")
    if padding not in ("torch", "tf"):
        raise UsageError(f"model.padding={show(padding)}: allowed: torch, tf")


def micro_batch(config: Mapping[str, Any]) -> None:
    """What is compiled is for one size."""
    recipe = config["recipe"]
    part, whole = recipe["micro_batch"], recipe["batch_size"]
    if recipe["compile"] and part is not None and part < whole and whole % part:
        raise UsageError(
            f"recipe.micro_batch={part}: with recipe.compile=true allowed: a divisor of recipe.batch_size={whole}"
        )


def shards(config: Mapping[str, Any]) -> None:
    """A batch is dealt to as many processes as train it, or in as many shards in one."""
    recipe, dispatch = config["recipe"], config["dispatch"]
    dealt, workers, gpus = recipe["shards"], dispatch["workers_per_trial"], dispatch["gpus_per_trial"]
    if dealt > recipe["batch_size"]:
        raise UsageError(f"recipe.shards={dealt}: allowed: up to recipe.batch_size={recipe['batch_size']}")
    if dealt > 1 and recipe["micro_batch"] is not None:
        raise UsageError(f"recipe.micro_batch={recipe['micro_batch']}: with recipe.shards={dealt} allowed: null")
    if workers == 1:
        return
    if dispatch["executor"] == "in_process":
        raise UsageError(f"dispatch.workers_per_trial={workers}: with dispatch=in_process allowed: 1")
    if workers != dealt:
        raise UsageError(f"dispatch.workers_per_trial={workers}: allowed: 1, or recipe.shards={dealt}")
    if recipe["compile"]:
        raise UsageError(f"recipe.compile=true: with dispatch.workers_per_trial={workers} allowed: false")
    if gpus is not None and gpus % 1:
        raise UsageError(
            f"dispatch.gpus_per_trial={gpus:g}: each of dispatch.workers_per_trial={workers} has it; "
            "allowed: 0, or whole GPUs"
        )


def augment(config: Mapping[str, Any]) -> None:
    """Scaling, cropping and flipping is done while files are read, and gives images of 224x224 pixels."""
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


def batch_norm(config: Mapping[str, Any]) -> None:
    affine = config["norm"]["affine"]
    if not isinstance(affine, bool):
        raise UsageError(f"norm.affine={show(affine)}: allowed: true, false")
    if not isinstance(config["norm"]["sync"], bool):
        raise UsageError(f"norm.sync={show(config['norm']['sync'])}: allowed: true, false")
    _number("norm.eps", config["norm"]["eps"], above=0)


def group_norm(config: Mapping[str, Any]) -> None:
    groups, channels = config["norm"]["groups"], _first_channels(config)
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or channels % groups:
        raise UsageError(f"norm.groups={show(groups)}: allowed: a divisor of the narrowest stage's {channels} channels")
    layer_norm(config)


def _first_channels(config: Mapping[str, Any]) -> int:
    """Channels of the narrowest stage."""
    model = config["model"]["_target_"].rpartition(".")[2]
    return round((64 if model == "ImageNetResNet" else 16) * config["width"])


def layer_norm(config: Mapping[str, Any]) -> None:
    _number("norm.eps", config["norm"]["eps"], above=0)
    no_norm(config)


def no_norm(config: Mapping[str, Any]) -> None:
    _number("norm.temperature", config["norm"]["temperature"], above=0)


def shifted_relu(config: Mapping[str, Any]) -> None:
    _number("norm.floor", config["norm"]["floor"])
    _number("norm.temperature", config["norm"]["temperature"], above=0)


def synthetic(config: Mapping[str, Any]) -> None:
    smallest = {"train_items": 10, "test_items": 1, "channels": 1, "size": 4, "classes": 2, "data_seed": 0}
    for key, least in smallest.items():
        value = config["dataset"][key]
        if not isinstance(value, int) or value < least:
            raise UsageError(f"dataset.{key}={show(value)}: allowed: a whole number from {least} up")


def _number(key: str, value: Any, *, above: float = -math.inf) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value <= above:
        raise UsageError(
            f"{key}={show(value)}: allowed: a number" + ("" if above == -math.inf else f" above {above:g}")
        )
