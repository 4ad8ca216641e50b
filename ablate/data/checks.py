"""Checks of data sets that have no files, before anything starts and without importing torch."""

from __future__ import annotations

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.levels import show


def synthetic(config: Config) -> None:
    """Raise UsageError for a number of images, pixels or classes from which no data set can be made."""
    smallest = {"train_items": 10, "test_items": 1, "channels": 1, "size": 4, "classes": 2, "data_seed": 0}
    for key, least in smallest.items():
        value = config["dataset"][key]
        if not isinstance(value, int) or value < least:
            raise UsageError(f"dataset.{key}={show(value)}: allowed: a whole number from {least} up")
