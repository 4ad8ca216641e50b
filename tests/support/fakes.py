"""Trials with real behaviour and no torch: what they do depends on their seed."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.core.errors import Diverged
from ablate.core.events import Done, Epoch, Event, Failed, Started
from ablate.core.identity import flatten, trial_id
from ablate.core.study import Cell, Trial
from ablate.dispatch import Slot
from ablate.store.run_directory import Run

EPOCHS = 3

TIMES = (
    *("wall_s", "train_s", "train_images_per_s", "peak_bytes", "latency_ms", "latency_low_ms", "latency_high_ms"),
    *("inference_images_per_s", "inference_low_images_per_s", "inference_high_images_per_s"),
)
"""Metrics that no two runs of one trial share."""


def make_trial(seed: int, **levels: Any) -> Trial:
    config = {"recipe": {"epochs": EPOCHS}, "seed": seed, **levels}
    return Trial(Cell(tuple(levels.items())), seed, config, flatten(config), trial_id(config))


def started(epochs: int = EPOCHS) -> Started:
    return Started(host="here", pid=os.getpid(), device="cpu", threads=1, epochs=epochs)


def done(acc: float = 0.9) -> Done:
    return Done(metrics={"test_acc": acc, "wall_s": 0.1}, predicted=[1, 0, 1], labels=[1, 0, 0])


def epoch(number: int, acc: float = 0.5) -> Epoch:
    return Epoch(epoch=number, metrics={"train_loss": 1.0 / number, "train_acc": acc, "valid_acc": acc})


def well(config: Mapping[str, Any], directory: Path) -> Iterator[Event]:
    yield started()
    for number in range(1, EPOCHS + 1):
        yield epoch(number)
    yield done(0.9 + config["seed"] / 100)


def diverges_on_seed_two(config: Mapping[str, Any], directory: Path) -> Iterator[Event]:
    if config["seed"] == 2:
        yield started()
        raise Diverged("the training loss is nan in epoch 1")
    yield from well(config, directory)


def raises_on_seed_1(config: Mapping[str, Any], directory: Path) -> Iterator[Event]:
    if config["seed"] == 1:
        raise RuntimeError("no such thing")
    yield from well(config, directory)


def in_slot(run: Run):
    return _InSlot(run)


class _InSlot:
    """The same run in whatever slot; a class, so that it pickles by name."""

    def __init__(self, run: Run):
        self.run = run

    def __call__(self, slot: Slot) -> Run:
        return self.run


class Dies:
    """On seed 0 the process is killed after two epochs were yielded; then `afterwards` says what happens.

    The attempts are counted in `folder`, since each has a process of its own.
    """

    def __init__(self, folder: Path, afterwards: str):
        self.folder, self.afterwards = folder, afterwards

    def __call__(self, config: Mapping[str, Any], directory: Path) -> Iterator[Event]:
        if config["seed"] != 0:
            yield from well(config, directory)
            return
        attempts = self.folder / "attempts"
        first = not attempts.exists()
        with attempts.open("a") as file:
            file.write("x")
        if first or self.afterwards == "dies again":
            yield started()
            yield epoch(1)
            yield epoch(2)
            time.sleep(0.5)  # let the events reach the driver: what Ray has delivered it drops on a retry
            os.kill(os.getpid(), 9)
        elif self.afterwards == "raises":
            raise RuntimeError("the retry raised")
        elif self.afterwards == "fails":
            yield Failed(kind="error", reason="the retry failed")
        elif self.afterwards == "yields fewer":
            yield done(0.75)
        else:
            yield from well(config, directory)


class Killed(BaseException):
    """Stands for a process that ends between two instructions."""


def killed_at(run: Run, number: int) -> Run:
    """`run`, in a process that is killed after so many events of whatever trials."""
    seen = itertools.count()

    def dies(config: Mapping[str, Any], directory: Path) -> Iterator[Event]:
        for event in run(config, directory):
            yield event
            if next(seen) == number:
                raise Killed

    return dies
