"""A multi-process trial. Ray Train starts the processes, called ranks; the events of the first are the trial's."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ablate.core.config import Config
from ablate.core.errors import ProcessLost
from ablate.core.events import Event
from ablate.dispatch.rank import Mailbox, Raised, RankTask, torch_config, train_on_rank
from ablate.dispatch.ray_private import errors_of_ranks
from ablate.dispatch.slot import Slot
from ablate.store import run_directory

TRAIN = "ranks"
"""The folder in the run directory for what Ray Train itself writes: an empty file, by which it checks that it can."""

SECONDS_BETWEEN_LOOKS = 1.0

_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a data set's folder may be relative
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # what ranks print is in the trial's own log
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it would restart the training by itself, without a limit
}


def of(run: run_directory.Run, slot: Slot) -> run_directory.Run:
    """Return what trains in the slot: `run` itself, or with several workers `on_all_ranks` of it."""
    return functools.partial(on_all_ranks, run, slot) if slot.workers > 1 else run


def has_ranks(run: run_directory.Run) -> bool:
    """Return whether the run is one on all ranks, perhaps with its data: the trial's code is in their processes."""
    return isinstance(run, functools.partial) and run.func is on_all_ranks


def on_all_ranks(
    run: Callable[..., Iterator[Event]], slot: Slot, config: Config, directory: Path, **options: Any
) -> Iterator[Event]:
    """Yield the events of the first of several ranks, as they happen, and raise what a rank raises.

    It is a `run_directory.Run`. It runs in a Ray task that needs no resources, since it only waits. Each rank is a
    process of its own with the slot's resources; either all of them start, or none. They end when this process ends,
    however it ends.

    Args:
        run: what trains. In each rank it is given the config, the directory, `ranks` and the options.
        slot: the resources of each rank, and the number of ranks.
        config: the trial's config.
        directory: the run directory. The first rank reads and writes it, whichever node it is on.
        **options: what else `run` takes, such as its data.

    Raises:
        ProcessLost: the process of a rank died.
    """
    import ray

    os.environ.update(_SETTINGS)
    mailbox = ray.remote(num_cpus=0, max_restarts=0)(Mailbox).remote()
    training = _InThread(_trainer(RankTask(run, config, directory, options, mailbox), slot).fit)
    raised: BaseException | None = None
    has_outcome = False
    try:
        while True:
            is_last = not training.is_alive()
            for letter in ray.get(mailbox.take.remote(0 if is_last else SECONDS_BETWEEN_LOOKS)):
                if isinstance(letter, Raised):
                    raised = raised or _linked(letter)
                else:
                    has_outcome = has_outcome or run_directory.outcome_of(letter) is not None
                    yield letter
            if is_last:
                break
    finally:
        ray.kill(mailbox)
        shutil.rmtree(directory / TRAIN, ignore_errors=True)
    if has_outcome:
        return  # whatever happened to the other ranks
    _raise_if_dead(training.error)
    if error := raised or training.error:
        raise error


def _trainer(task: RankTask, slot: Slot) -> Any:
    """Return the TorchTrainer of Ray Train that runs the task on all ranks. It restarts nothing."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    each = {"CPU": slot.cpus} | ({"GPU": slot.gpus} if slot.gpus else {})
    return TorchTrainer(
        train_on_rank,
        train_loop_config={"task": task},
        torch_config=torch_config(on_gpu=bool(slot.gpus)),
        scaling_config=ScalingConfig(
            num_workers=slot.workers, use_gpu=bool(slot.gpus), resources_per_worker=each, placement_strategy="PACK"
        ),
        run_config=RunConfig(
            name=TRAIN, storage_path=str(task.directory.absolute()), failure_config=FailureConfig(max_failures=0)
        ),
    )


class _InThread(threading.Thread):
    """Runs the function in a thread, which starts at once, and keeps its error."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.function = function
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        """Call the function."""
        try:
            self.function()
        except Exception as error:
            self.error = error


def _raise_if_dead(error: Exception | None) -> None:
    """Raise MemoryError or ProcessLost where the process of a rank died, in contrast to one that raised an error.

    The other ranks then complain that it left them, which says nothing about the cause.
    """
    from ray import exceptions

    for cause in errors_of_ranks(error):
        if isinstance(cause, exceptions.OutOfMemoryError):
            raise MemoryError("the machine's memory ran out, and Ray ended the process of a rank")
        if isinstance(cause, exceptions.RayActorError | exceptions.NodeDiedError):
            raise ProcessLost("the process of a rank died") from error


def _linked(raised: Raised) -> BaseException:
    """Return the exception that a rank raised, with those that caused it and, last, the text of its stack."""
    last: BaseException = _Remote(raised.stack)
    for error in reversed(raised.chain):
        error.__cause__, last = last, error
    return last


class _Remote(Exception):
    """The stack of an error in another process, as text."""

    def __str__(self) -> str:
        return f"in a rank's process:\n{self.args[0]}"
