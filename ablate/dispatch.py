"""Where and when trials run: `in_process` and `on_ray`, one contract. The one room that knows Ray."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate import store
from ablate.design import Mistake, Trial
from ablate.events import Event

TrialEvents = Generator[tuple[Trial, Event], None, None]


@dataclass(frozen=True)
class Slot:
    """What one trial is given. Fractions share a core or a GPU; gpus=None is one where there is one."""

    cpus: float = 1
    gpus: float | None = 0

    @property
    def threads(self) -> int:
        """Threads of one trial: its cores, rounded down, and at least one."""
        return max(1, int(self.cpus))


RunInSlot = Callable[[Slot], store.Run]
"""What trains, once the slot is known: its thread count and its device."""


def in_process(run: RunInSlot, trials: Iterable[Trial], *, runs: Path, slot: Slot) -> TrialEvents:
    """Yield every trial's events as they happen, one trial after the other, in this process."""
    for trial in trials:
        for event in store.attempt(run(slot), trial, runs):
            yield trial, event


def on_ray(run: RunInSlot, trials: Iterable[Trial], *, runs: Path, slot: Slot, max_lost: int = 3) -> TrialEvents:
    """Yield every trial's events as they happen; Ray decides where and when each runs.

    A trial whose worker process dies is run again, up to `max_lost` times. Ray then drops as many events
    as it has already delivered, and where the new attempt yields fewer, or raises, it ends the stream as
    if all were well. So the outcome of a stream that ends without one is read from the run directory.

    Args:
        run: given the slot, what trains; imported by name in the workers.
        trials: taken as slots come free.
        runs: folder of the run directories, an absolute path.
        slot: what each trial is given.
        max_lost: deaths of its worker that are forgiven; one more and the trial is `Failed(lost)`.

    While it runs, sys.stdout and sys.stderr are `runs`/ray.log, for Ray's own messages: whoever draws on
    the terminal takes hold of its stream beforehand.

    Raises:
        Mistake: the slot is larger than this machine.
    """
    with _private_ray(runs / "ray.log") as ray:
        slot = _on_this_machine(slot, ray.cluster_resources())
        remote = ray.remote(
            num_cpus=slot.cpus,
            num_gpus=slot.gpus,
            num_returns="streaming",
            max_calls=0,  # keep the worker process, warm, also where it holds a GPU
            max_retries=max_lost,
        )(store.attempt)
        waiting = iter(trials)
        running = {
            remote.remote(run(slot), trial, runs): _Stream(trial)
            for trial in itertools.islice(waiting, _in_flight(slot, ray.cluster_resources()))
        }
        while running:
            ready, _ = ray.wait(list(running), num_returns=1, timeout=None)
            for generator in ready:
                stream = running[generator]
                event = _next_event(ray, generator)
                if event is None:
                    del running[generator]
                    for trial in itertools.islice(waiting, 1):
                        running[remote.remote(run(slot), trial, runs)] = _Stream(trial)
                    if not stream.has_outcome:
                        yield stream.trial, _stored_outcome(stream.trial, runs, max_lost)
                elif not stream.has_outcome:
                    stream.has_outcome = store.outcome_of(event) is not None
                    yield stream.trial, event


@dataclass
class _Stream:
    trial: Trial
    has_outcome: bool = False


def _next_event(ray: Any, generator: Any) -> Event | None:
    """The stream's next event; None at its end, be it clean or the death of its worker.

    Only the errors that mean "the worker or its node died" end a stream: an ImportError in a worker, say,
    is everyone's problem and is raised.
    """
    died = (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
        ray.exceptions.LocalRayletDiedError,
    )
    try:
        return ray.get(next(generator))
    except (StopIteration, *died):
        return None


def _stored_outcome(trial: Trial, runs: Path, max_lost: int) -> Event:
    found = store.outcome(trial, runs)
    return found or store.mark_lost(trial, runs, f"its worker process died {max_lost + 1} time{'s' * (max_lost > 0)}")


def _on_this_machine(slot: Slot, resources: dict[str, float]) -> Slot:
    """The slot with its GPUs settled; raise Mistake when it is larger than the machine."""
    gpus = min(1, resources.get("GPU", 0)) if slot.gpus is None else slot.gpus
    for key, asked, there in (("cpus", slot.cpus, resources["CPU"]), ("gpus", gpus, resources.get("GPU", 0))):
        if asked > there:
            raise Mistake(f"dispatch.{key}_per_trial={asked:g}: allowed: up to {there:g}, what this machine has")
    return Slot(slot.cpus, gpus)


def _in_flight(slot: Slot, resources: dict[str, float]) -> int:
    """Trials handed to Ray at once: those that fit, and as many again, so that no slot waits for us."""
    fit = resources["CPU"] / slot.cpus
    if slot.gpus:
        fit = min(fit, resources.get("GPU", 0) / slot.gpus)
    return 2 * max(1, int(fit))


@contextlib.contextmanager
def _private_ray(log: Path) -> Iterator[Any]:
    """An embedded Ray of our own, on loopback only. What it prints, from threads too, goes to `log`."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # before the import: every socket on loopback
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_IGNORE_UNHANDLED_ERRORS"] = "1"  # a retry's error is told by the run directory
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        import ray

        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
        try:
            yield ray
        finally:
            ray.shutdown()
