"""The type of a config's group `recipe`. Without torch, for the driver."""

from __future__ import annotations

from typing import TypedDict


class RecipeConfig(TypedDict):
    """How a trial is trained, as its resolved config says; conf/config.yaml comments every key."""

    epochs: int
    batch_size: int
    lr: float
    lr_floor: float
    schedule: str
    momentum: float
    weight_decay: float
    augment: str
    moments: str
    precision: str
    compile: bool
    micro_batch: int | None
    shards: int
