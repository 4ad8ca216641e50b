"""Trials side by side on every core and GPU: Ray decides where and when each runs."""

from __future__ import annotations

import functools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.core.errors import AlreadyLeased, DiskFull, ProcessLost
from ablate.core.events import Event, Failed, Notice
from ablate.core.hardware import gpu_bytes
from ablate.core.study import Trial
from ablate.dispatch import multi_process
from ablate.dispatch.capacity import Machines
from ablate.dispatch.cluster import Cluster, on_node
from ablate.dispatch.embedded_ray import private_ray
from ablate.dispatch.queue import Queue
from ablate.dispatch.shared_data import SharedData, call, held
from ablate.dispatch.slot import RunInSlot, Slot, TrialEvents, never
from ablate.store import run_directory
from ablate.store.run_store import RunStore

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_COUNTS = 5.0
"""Of a cluster's nodes: they come and go."""


@dataclass(frozen=True)
class RayOptions:
    """What makes a study faster on Ray, each named by its module so that workers can import it.

    data: a trial's config -> what its run takes as `data()`; made once for all trials with the same `dataset`,
        and held once on each node.
    warm: run once in every worker process, at the start.
    bytes_of: the memory that a trial is expected to need, of the GPU where it has one; None when unknown.
    """

    data: Callable[[Mapping[str, Any]], Any] | None = None
    warm: Callable[[], None] | None = None
    bytes_of: Callable[[Trial], int | None] = lambda trial: None


def on_ray(
    run: RunInSlot,
    trials: Iterable[Trial],
    *,
    store: RunStore,
    slot: Slot,
    max_lost: int = 3,
    stopping: Callable[[], bool] = never,
    aids: RayOptions = RayOptions(),
    cluster: Cluster | None = None,
) -> TrialEvents:
    """Yield every trial's events as they happen.

    A trial whose worker process dies is tried again, up to `max_lost` times: it goes on from its checkpoint, and
    what it has told already it tells again. One that runs out of memory is tried once more when all others are
    through, alone. One that another process works on is put off, and told when that one is through with it.
    Ray retries nothing by itself: its retry would drop events, and swallow an error that comes too early.

    Args:
        run: given the slot, what trains; imported by name in the workers.
        trials: taken in this order, as slots come free; to a `Queue`, more may be put while it runs.
        store: the run directories; `store.runs` is an absolute path.
        slot: what each trial is given.
        max_lost: deaths of its worker that are forgiven; one more and the trial is `Failed(lost)`.
        stopping: whether to begin no further trial.
        aids: to be faster.
        cluster: where they run; None for every core and GPU of this machine.

    While it runs, sys.stdout and sys.stderr are `store.runs`/ray.log, for Ray's own messages: whoever draws on
    the terminal takes hold of its stream beforehand.

    Raises:
        UsageError: the slot is larger than this machine, or than every node.
        DiskFull: the disk is full.
    """
    if cluster is not None:
        with cluster.quiet():
            study = _Study(cluster.ray, run, slot, max_lost, aids, store, cluster.gpu_memory, cluster)
            yield from study.events(trials, stopping)
        return
    with private_ray(store.runs / "ray.log") as ray:
        gpu_memory = min(gpu_bytes(), default=None)
        study = _Study(ray, run, slot, max_lost, aids, store, gpu_memory)
        yield from study.events(trials, stopping)


class _Study:
    """The trials of one call: those that wait, those that run."""

    def __init__(
        self,
        ray: Any,
        run: RunInSlot,
        slot: Slot,
        max_lost: int,
        aids: RayOptions,
        store: RunStore,
        gpu_memory: float | None,
        cluster: Cluster | None = None,
    ) -> None:
        self.ray, self.max_lost, self.store = ray, max_lost, store
        self.gpu_memory, self.cluster = gpu_memory, cluster
        self.machines = Machines.of(ray, gpu_memory)
        self.counted = time.monotonic()
        self.slot = slot = self.machines.resolve(slot)
        self.run, self.bytes_of = multi_process.of(run(slot), slot), aids.bytes_of
        self.asked = time.time()
        self.lost: Counter[str] = Counter()
        self.queue, self.alone = Queue(), Queue()
        self.running: dict[Any, _Stream] = {}
        self.remote = ray.remote(
            num_returns="streaming",
            max_calls=0,  # keep the worker process, warm, also where it holds a GPU
            max_retries=0,
        )(_attempt)
        here = on_node(ray.get_runtime_context().get_node_id()) if cluster else None
        self.data = SharedData(ray, aids.data, here)
        if aids.warm and slot.workers == 1:  # Ray Train starts processes of its own
            warm = ray.remote(num_cpus=slot.cpus, num_gpus=slot.gpus, max_calls=0, max_retries=0)(call)
            self.warming = [warm.remote(aids.warm) for _ in range(self.machines.slots(slot))]

    def events(self, trials: Iterable[Trial], stopping: Callable[[], bool]) -> TrialEvents:
        self.queue = Queue.of(trials)
        self.data.ask_for(self.queue)
        while True:
            if not stopping():
                self._begin_trials()
            if not self.running:
                if stopping() or not (self.queue or self.alone):
                    return
                self.queue.wait()
                continue
            ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
            for generator in ready:
                stream = self.running[generator]
                for event in self._next(generator, stream, stopping):
                    yield stream.trial, event

    def _begin_trials(self) -> None:
        """Hand Ray those that fit, and as many again, so that no slot waits for us; then, each alone, the rest."""
        self.data.look()
        if self.cluster and time.monotonic() - self.counted > SECONDS_BETWEEN_COUNTS:
            self.machines, self.counted = Machines.of(self.ray, self.gpu_memory), time.monotonic()
        at_once = self.machines.at_once(self.slot)
        while len(self.running) < at_once and (trial := self.queue.take(self.data.is_ready)):
            self._begin(trial, alone=False)
        if not self.running and not self.queue and (trial := self.alone.take()):
            self._begin(trial, alone=True)

    def _begin(self, trial: Trial, *, alone: bool) -> None:
        machines = self.machines
        is_whole = alone and self.slot.workers == 1
        asked_for = machines.whole(self.slot) if is_whole else machines.share(self.slot, self.bytes_of(trial))
        data = self.data.of(trial)
        generator = self.remote.options(**asked_for).remote(self.run, trial, self.store, self.asked, alone, data)
        self.running[generator] = _Stream(trial, alone)

    def _next(self, generator: Any, stream: _Stream, stopping: Callable[[], bool]) -> Iterator[Event]:
        """What the stream has to say now: its next event, or what its end means."""
        errors = self.ray.exceptions
        lost = (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.LocalRayletDiedError)
        try:
            event = self.ray.get(next(generator))
        except DiskFull as full:
            raise DiskFull(str(getattr(full, "cause", full))) from None
        except AlreadyLeased:
            del self.running[generator]
            self.store.is_leased(stream.trial.trial_id)  # looked at again and again, it shows when that process died
            yield from self._put_off(stream)
        except errors.OutOfMemoryError:
            del self.running[generator]
            yield from self._out_of_memory(stream)
        except (StopIteration, ProcessLost, *lost) as end:  # all else, as an ImportError, is everyone's problem
            del self.running[generator]
            if not stream.is_over and not stopping():
                yield from self._ended(stream, died=not isinstance(end, StopIteration))
        else:
            stream.is_over = run_directory.outcome_of(event) is not None
            yield from self._told(stream, event)

    def _ended(self, stream: _Stream, *, died: bool) -> Iterator[Event]:
        """What became of a trial whose stream ended without an outcome."""
        trial = stream.trial
        if run_directory.is_over(self.store.outcome(trial), self.asked, stream.alone):
            yield from self._told(stream, self.store.local.history(trial)[-1])
        elif self.store.is_leased(trial.trial_id, by_others=True):
            yield from self._put_off(stream)
        elif self.lost[trial.trial_id] < self.max_lost:
            self.lost[trial.trial_id] += 1
            (self.alone if stream.alone else self.queue).put_first(trial)
            yield Notice(text=f"its worker process {'died' if died else 'said nothing more'}; it is tried again")
        else:
            times = self.max_lost + 1
            reason = f"its worker process died {times} time{'s' * (times > 1)}"
            yield self.store.mark(trial, Failed(kind="lost", reason=reason))

    def _put_off(self, stream: _Stream) -> Iterator[Event]:
        trial = stream.trial
        (self.alone if stream.alone else self.queue).put_off(trial)
        if not self.lost[f"claimed {trial.trial_id}"]:
            self.lost[f"claimed {trial.trial_id}"] = 1
            yield Notice(text="another process is working on it; its result is taken over")

    def _out_of_memory(self, stream: _Stream) -> Iterator[Event]:
        reason = "the machine's memory ran out, and Ray ended its process"
        failed = self.store.mark(stream.trial, Failed(kind="oom", reason=reason, alone=stream.alone))
        yield from self._told(stream, failed)

    def _told(self, stream: _Stream, event: Event) -> Iterator[Event]:
        """The event; where memory ran out beside others, that the trial is tried once more."""
        if isinstance(event, Failed) and event.kind == "oom" and not event.alone:
            self.alone.put(stream.trial)
            yield Notice(text=f"oom: {event.reason}; it is tried once more, alone, when the others are through")
        else:
            yield event


@dataclass
class _Stream:
    trial: Trial
    alone: bool
    is_over: bool = False


def _attempt(
    run: run_directory.Run, trial: Trial, store: RunStore, asked: float, alone: bool, data: list[Any]
) -> Iterator[Event]:
    """In a worker: the store's `attempt`, with the data that Ray's store holds."""
    if data:
        with_data: Any = run
        run = functools.partial(with_data, data=functools.partial(held, data[0]))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to us all, it is the driver's to answer
    try:
        yield from store.attempt(run, trial, requested_at=asked, alone=alone)
    finally:
        signal.signal(signal.SIGTERM, before)
