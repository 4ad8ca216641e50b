"""The settings of a study: where and how it runs, never what it computes. Built once, from a checked config."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from ablate.core import hardware
from ablate.core.config import Config
from ablate.core.errors import UsageError


@dataclass(frozen=True)
class DispatchSettings:
    """Where trials run, and what each of them is given.

    Attributes:
        executor: "ray" for this machine, "cluster" for a Ray cluster, "in_process" for one trial after the other here.
        cpus_per_trial: cores for each process of a trial; fractions share a core.
        gpus_per_trial: GPUs for each process of a trial; None for one where the machine has one.
        workers_per_trial: processes that train one trial together.
        max_lost: how often a trial starts again after its worker or its machine was lost.
        address: HOST:PORT of the cluster's head, or "auto" for the cluster of this machine; None without a cluster.
        jobs: URL that `ablate.submit` sends a study to; None without a cluster.
    """

    executor: Literal["ray", "in_process", "cluster"]
    cpus_per_trial: float
    gpus_per_trial: float | None
    workers_per_trial: int
    max_lost: int
    address: str | None = None
    jobs: str | None = None

    @property
    def slots_here(self) -> int:
        """The number of trials that run at once on this machine."""
        if self.executor == "in_process":
            return 1
        return hardware.slots(self.cpus_per_trial, self.gpus_per_trial, self.workers_per_trial)


@dataclass(frozen=True)
class CheckpointSettings:
    """When a trial writes a checkpoint, and what stays of it at the end. One of `epochs` and `minutes` is None."""

    epochs: int | None
    minutes: float | None
    keep: Literal["none", "weights", "all"]

    @classmethod
    def of(cls, checkpoint: Config) -> Self:
        """Return the settings of a config's `checkpoint`; raise UsageError for an interval that is not allowed."""
        return cls(*interval(checkpoint["every"]), checkpoint["keep"])


@dataclass(frozen=True)
class TrackSettings:
    """Where runs are tracked: an MLflow tracking URI; None for nowhere."""

    uri: str | None


@dataclass(frozen=True)
class Settings:
    """Where and how a study runs, as the line says it.

    Attributes:
        dispatch: where its trials run.
        checkpoint: when they write checkpoints.
        track: where they are tracked.
        runs: the folder of the run directories, as typed.
        storage: URL of an object store for the run directories; None where they are in `runs`.
        mode: "run", or "plan" to show what would run.
        retry: "failed" to run failed trials again, else "none".
        code: "any" to take trials that are done with earlier code of a user's own parts, else "current".
        fail_fast: whether the first failed trial stops the study.
        cost: whether the cost of each trial's network is measured.
        study: the name that was typed for the study; None for one made of its factors.
    """

    dispatch: DispatchSettings
    checkpoint: CheckpointSettings
    track: TrackSettings
    runs: str
    storage: str | None
    mode: Literal["run", "plan"]
    retry: Literal["none", "failed"]
    code: Literal["current", "any"]
    fail_fast: bool
    cost: bool
    study: str | None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the settings in a resolved and checked config."""
        return cls(
            dispatch=DispatchSettings(**config["dispatch"]),
            checkpoint=CheckpointSettings.of(config["checkpoint"]),
            track=TrackSettings(**config["track"]),
            runs=config["runs"],
            storage=config["storage"],
            mode=config["mode"],
            retry=config["retry"],
            code=config["code"],
            fail_fast=config["fail_fast"],
            cost=config["cost"],
            study=config["study"],
        )


def interval(every: str) -> tuple[int | None, float | None]:
    """Return the epochs, or the minutes, of `checkpoint.every`; one of both is None.

    >>> interval("2"), interval("0.5min")
    ((2, None), (None, 0.5))

    Raises:
        UsageError: it is neither a number of epochs nor of minutes.
    """
    try:
        minutes = float(every.removesuffix("min")) if every.endswith("min") else None
        epochs = int(every) if minutes is None else None
        if 0 < (minutes or epochs or 0) < math.inf:
            return epochs, minutes
    except ValueError:
        pass
    raise UsageError(f"checkpoint.every={every}: allowed: epochs, as in 1, or minutes, as in 5min")
