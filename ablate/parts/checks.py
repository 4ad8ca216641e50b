"""What a part asks of a cell's config, told before anything starts and without importing torch.

A YAML file names its check (`check: ablate.parts.checks.wide_resnet`); it raises Mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.design import Mistake, show


def wide_resnet(config: Mapping[str, Any]) -> None:
    depth = config["depth"]
    if depth < 8 or depth % 6 != 2:
        raise Mistake(f"depth={depth}: a wide ResNet has 6n + 2 convolutions; allowed: 8, 14, 20, 26, ...")


def temperature(config: Mapping[str, Any]) -> None:
    value = config["norm"]["temperature"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise Mistake(f"norm.temperature={show(value)}: allowed: a number above 0")


def synthetic(config: Mapping[str, Any]) -> None:
    smallest = {"train_items": 10, "test_items": 1, "channels": 1, "size": 4, "classes": 2, "data_seed": 0}
    for key, least in smallest.items():
        value = config["dataset"][key]
        if not isinstance(value, int) or value < least:
            raise Mistake(f"dataset.{key}={show(value)}: allowed: a whole number from {least} up")
