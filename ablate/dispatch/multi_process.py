"""A trial on several processes at once: Ray Train starts them, and the first one's events are the trial's."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.core.errors import ProcessLost
from ablate.core.events import Event
from ablate.dispatch.rank import Mail, torch_config, train_on_rank
from ablate.dispatch.slot import Slot
from ablate.store import run_directory

TRAIN = "ranks"
"""Folder in the run directory for what Ray Train itself writes: an empty file that tells it that it can."""

SECONDS_BETWEEN_LOOKS = 1.0

_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a data set's folder may be relative
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it would begin again by itself, as often as it likes
}


def of(run: run_directory.Run, slot: Slot) -> run_directory.Run:
    """What trains in the slot: `run` itself, or with several workers `together` of it."""
    return functools.partial(together, run, slot) if slot.workers > 1 else run


def together(
    run: Callable[..., Iterator[Event]], slot: Slot, config: Mapping[str, Any], directory: Path, **options: Any
) -> Iterator[Event]:
    """A `store.Run`: yield the events of the first of several ranks, as they happen, and raise what it raises.

    It runs in a Ray task that needs no resource, since it only waits: each rank is a process of its own with the
    slot's, all of them or none. They end when this process ends, however it does.

    Args:
        run: in each rank is given the config, the directory, `ranks` and the options.
        slot: each rank's, and how many they are.
        config: the trial's.
        directory: the run directory, which the first rank reads and writes on whatever node it is.
        **options: what else `run` takes, such as its data.

    Raises:
        ProcessLost: the process of a rank died.
    """
    import ray

    os.environ.update(_SETTINGS)
    mail = ray.remote(num_cpus=0, max_restarts=0)(Mail).remote()
    told = {"run": run, "config": config, "directory": directory, "options": options, "mail": mail}
    trainer = _trainer(told, slot, directory)
    fitting = _InThread(trainer.fit)
    raised: BaseException | None = None
    is_over = False
    try:
        while True:
            is_last = not fitting.is_alive()
            for kind, what in ray.get(mail.take.remote(0 if is_last else SECONDS_BETWEEN_LOOKS)):
                if kind == "event":
                    is_over = is_over or run_directory.outcome_of(what) is not None
                    yield what
                else:
                    raised = raised or _linked(what)
            if is_last:
                break
    finally:
        ray.kill(mail)
        shutil.rmtree(directory / TRAIN, ignore_errors=True)
    if is_over:
        return  # whatever became of the others
    _raise_if_dead(fitting.error)
    if raised or fitting.error:
        raise raised or fitting.error  # type: ignore[misc]


def _trainer(told: dict[str, Any], slot: Slot, directory: Path) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    each = {"CPU": slot.cpus} | ({"GPU": slot.gpus} if slot.gpus else {})
    return TorchTrainer(
        train_on_rank,
        train_loop_config=told,
        torch_config=torch_config(on_gpu=bool(slot.gpus)),
        scaling_config=ScalingConfig(
            num_workers=slot.workers, use_gpu=bool(slot.gpus), resources_per_worker=each, placement_strategy="PACK"
        ),
        run_config=RunConfig(
            name=TRAIN, storage_path=str(directory.absolute()), failure_config=FailureConfig(max_failures=0)
        ),
    )


class _InThread(threading.Thread):
    """Runs the function, begun at once, and keeps its error."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.function = function
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.function()
        except Exception as error:
            self.error = error


def _raise_if_dead(error: Exception | None) -> None:
    """Tell a process that died from one that raised: the others' complaints, that it left them, say nothing."""
    from ray import exceptions

    for failure in getattr(error, "worker_failures", {}).values():
        behind: BaseException | None = failure
        while behind is not None:
            if isinstance(behind, exceptions.OutOfMemoryError):
                raise MemoryError("the machine's memory ran out, and Ray ended the process of a rank")
            if isinstance(behind, exceptions.RayActorError | exceptions.NodeDiedError):
                raise ProcessLost("the process of a rank died") from error
            behind = getattr(behind, "health_check_failure", None) or behind.__cause__


def _linked(chain: list[BaseException | str]) -> BaseException:
    """An exception as it was, with what lay behind it and, last, the text of its stack."""
    *errors, text = chain
    last: BaseException = _Remote(text)
    for error in reversed(errors):
        assert isinstance(error, BaseException)
        error.__cause__, last = last, error
    return last


class _Remote(Exception):
    """The stack, as text, in another process."""

    def __str__(self) -> str:
        return f"in a rank's process:\n{self.args[0]}"
