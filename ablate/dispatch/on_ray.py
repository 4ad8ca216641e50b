"""Trials side by side on every core and GPU: Ray decides where and when each runs."""

from __future__ import annotations

import functools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ablate.core.config import Config
from ablate.core.errors import AlreadyLeased, DiskFull, ProcessLost
from ablate.core.events import Event, Failed, Notice
from ablate.core.hardware import gpu_bytes
from ablate.core.study import Trial
from ablate.dispatch import multi_process
from ablate.dispatch.capacity import Machines
from ablate.dispatch.cluster import Cluster, on_node
from ablate.dispatch.embedded_ray import private_ray
from ablate.dispatch.queue import Queue, Requests
from ablate.dispatch.ray_private import raised_by_task
from ablate.dispatch.shared_data import SharedData, call, load
from ablate.dispatch.slot import RunInSlot, Slot, TrialEvents, never
from ablate.store import run_directory
from ablate.store.run_store import RunStore
from ablate.store.text_log import logged

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_COUNTS = 5.0
"""How often the nodes of a cluster, which come and go, are counted."""


@dataclass(frozen=True)
class RayOptions:
    """What makes a study faster on Ray. Each function is named by its module, so that workers can import it.

    data: a trial's config -> what its run takes as `data()`; made once for all trials with the same `dataset`, and held
        once on each node.
    warm: run once in every worker process, at the start.
    bytes_of: the bytes of memory that a trial is expected to need, of the GPU where it has one; None when unknown.
    """

    data: Callable[[Config], object] | None = None
    warm: Callable[[], None] | None = None
    bytes_of: Callable[[Trial], int | None] = lambda trial: None


def on_ray(
    run: RunInSlot,
    trials: Iterable[Trial],
    *,
    store: RunStore,
    slot: Slot,
    max_lost: int = 3,
    should_stop: Callable[[], bool] = never,
    options: RayOptions = RayOptions(),
    cluster: Cluster | None = None,
) -> TrialEvents:
    """Yield every trial's events as they happen.

    A trial whose worker process dies is tried again, up to `max_lost` times: it continues from its checkpoint, and
    yields its earlier events again. A trial that runs out of memory is tried once more, alone, when all others are
    done. A trial that another process works on is put off, and its events are yielded when that process has finished.
    Ray retries nothing by itself: its retry would drop events, and swallow an error that comes too early.

    Args:
        run: given the slot, returns what trains; workers import it by name.
        trials: taken in this order, as slots become free; more may be put into a `Queue` while it runs.
        store: the run directories; `store.runs` is an absolute path.
        slot: the resources of each trial.
        max_lost: how many deaths of its worker a trial may have; one more, and the trial is `Failed(lost)`.
        should_stop: whether to start no further trial.
        options: what makes the study faster.
        cluster: where the trials run; None for every core and GPU of this machine.

    While it runs, sys.stdout and sys.stderr are `store.runs`/ray.log, for Ray's own messages: whoever draws on
    the terminal takes hold of its stream beforehand.

    Raises:
        UsageError: the slot is larger than this machine, or than every node.
        DiskFull: the disk is full.
    """
    if cluster is not None:
        with cluster.quiet():
            hosts = _Hosts(cluster.ray, cluster.gpu_memory, is_cluster=True)
            yield from _Dispatcher(hosts, run, slot, store, options, max_lost).events(trials, should_stop)
        return
    with private_ray(store.runs / "ray.log") as ray:
        hosts = _Hosts(ray, min(gpu_bytes(), default=None), is_cluster=False)
        yield from _Dispatcher(hosts, run, slot, store, options, max_lost).events(trials, should_stop)


@dataclass(frozen=True)
class _Hosts:
    """The Ray that runs, on this machine or on a cluster. `gpu_memory` are the bytes of its smallest GPU, if known."""

    ray: Any
    gpu_memory: float | None
    is_cluster: bool

    def machines(self) -> Machines:
        """Return the machines that run now."""
        return Machines.of(self.ray, self.gpu_memory)

    def driver_node(self) -> Any:
        """Return the scheduling strategy for the driver's node. None where that is the only one."""
        return on_node(self.ray.get_runtime_context().get_node_id()) if self.is_cluster else None


@dataclass
class _Stream:
    """The events of one attempt at a trial, as they come from Ray. `has_outcome`: the last event was an outcome."""

    trial: Trial
    alone: bool
    has_outcome: bool = False


class _Dispatcher:
    """The trials of one call: those that wait, and those that run."""

    def __init__(
        self, hosts: _Hosts, run: RunInSlot, slot: Slot, store: RunStore, options: RayOptions, max_lost: int
    ) -> None:
        ray = hosts.ray
        self.hosts, self.ray, self.store, self.max_lost = hosts, ray, store, max_lost
        self.machines = hosts.machines()
        self.counted_at = time.monotonic()
        self.slot = slot = self.machines.resolve(slot)
        self.run, self.bytes_of = multi_process.of(run(slot), slot), options.bytes_of
        self.deaths: Counter[str] = Counter()
        self.once_put_off: set[str] = set()
        self.queue, self.alone = Queue(), Queue()
        self.requests = Requests(store, self.queue)
        self.running: dict[Any, _Stream] = {}
        self.remote = ray.remote(
            num_returns="streaming",
            max_calls=0,  # keep the worker process, warm, also where it holds a GPU
            max_retries=0,
        )(_attempt)
        self.data = SharedData(ray, options.data, hosts.driver_node())
        if options.warm and slot.workers == 1:  # Ray Train starts processes of its own
            warm = ray.remote(num_cpus=slot.cpus, num_gpus=slot.gpus, max_calls=0, max_retries=0)(call)
            self.warming = [warm.remote(options.warm) for _ in range(self.machines.slots(slot))]

    def events(self, trials: Iterable[Trial], should_stop: Callable[[], bool]) -> TrialEvents:
        """Yield the events of all trials as they happen."""
        self.queue = Queue.of(trials)
        self.requests = Requests(self.store, self.queue)
        self.data.request(self.queue)
        while True:
            if not should_stop():
                self._start_trials()
            if not self.running:
                if should_stop() or not (self.queue or self.alone):
                    return
                self.queue.wait()
                continue
            with_event, _ = self.ray.wait(list(self.running), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
            for generator in with_event:
                stream = self.running[generator]
                for event in self._next(generator, stream, should_stop):
                    yield stream.trial, event

    def _start_trials(self) -> None:
        """Give Ray as many trials as it takes at a time. Start those that must run alone when all others are done."""
        self.data.update()
        if self.hosts.is_cluster and time.monotonic() - self.counted_at > SECONDS_BETWEEN_COUNTS:
            self.machines, self.counted_at = self.hosts.machines(), time.monotonic()
        at_once = self.machines.at_once(self.slot)
        while len(self.running) < at_once and (trial := self.queue.take(self.data.is_made)):
            self._start(trial, alone=False)
        if not self.running and not self.queue and (trial := self.alone.take()):
            self._start(trial, alone=True)

    def _start(self, trial: Trial, *, alone: bool) -> None:
        if alone and self.slot.workers == 1:
            resources = self.machines.whole(self.slot)
        else:
            resources = self.machines.share(self.slot, self.bytes_of(trial))
        task = self.remote.options(**resources)
        before = self.requests.attempts_before(trial)
        generator = task.remote(self.run, trial, self.store, before, alone, self.data.of(trial))
        self.running[generator] = _Stream(trial, alone)

    def _next(self, generator: Any, stream: _Stream, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Yield what the stream reports now: its next event, or what its end means."""
        errors = self.ray.exceptions
        lost = (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.LocalRayletDiedError)
        try:
            event = self.ray.get(next(generator))
        except DiskFull as full:
            raise DiskFull(str(raised_by_task(full))) from None
        except OSError as refused:  # as a worker raised it, with the file's name
            raise raised_by_task(refused) from None
        except AlreadyLeased:
            del self.running[generator]
            self.store.is_leased(stream.trial.trial_id)  # only repeated looks show that the process has died
            yield from self._put_off(stream)
        except errors.OutOfMemoryError:
            del self.running[generator]
            yield from self._out_of_memory(stream)
        except (StopIteration, ProcessLost, *lost) as end:  # any other, such as an ImportError, concerns all trials
            del self.running[generator]
            if not stream.has_outcome and not should_stop():
                yield from self._without_outcome(stream, died=not isinstance(end, StopIteration))
        else:
            stream.has_outcome = run_directory.outcome_of(event) is not None
            yield from self._reported(stream, event)

    def _without_outcome(self, stream: _Stream, *, died: bool) -> Iterator[Event]:
        """Yield what happened to a trial whose stream ended without an outcome. Queue it where it is tried again."""
        trial = stream.trial
        if run_directory.is_over(self.store.outcome(trial), self.requests.has_ended_since(trial), stream.alone):
            yield from self._reported(stream, self.store.local.history(trial)[-1])
        elif self.store.is_leased(trial.trial_id, by_others=True):
            yield from self._put_off(stream)
        elif self.deaths[trial.trial_id] < self.max_lost:
            self.deaths[trial.trial_id] += 1
            self._queue_of(stream).put_first(trial)
            yield Notice(text=f"its worker process {'died' if died else 'ended without a result'}; it is tried again")
        else:
            times = self.max_lost + 1
            reason = f"its worker process died {times} time{'s' * (times > 1)}"
            yield self.store.mark(trial, Failed(kind="lost", reason=reason))

    def _queue_of(self, stream: _Stream) -> Queue:
        return self.alone if stream.alone else self.queue

    def _put_off(self, stream: _Stream) -> Iterator[Event]:
        """Queue a trial that another process works on. Yield a notice the first time."""
        trial = stream.trial
        self._queue_of(stream).put_off(trial)
        if trial.trial_id not in self.once_put_off:
            self.once_put_off.add(trial.trial_id)
            yield Notice(text="another process is working on it; its result is taken over")

    def _out_of_memory(self, stream: _Stream) -> Iterator[Event]:
        reason = "the machine's memory ran out, and Ray ended its process"
        failed = self.store.mark(stream.trial, Failed(kind="oom", reason=reason, alone=stream.alone))
        yield from self._reported(stream, failed)

    def _reported(self, stream: _Stream, event: Event) -> Iterator[Event]:
        """Yield the event. Where memory ran out beside others, queue the trial to run alone, and yield a notice."""
        if isinstance(event, Failed) and event.kind == "oom" and not event.alone:
            self.alone.put(stream.trial)
            yield Notice(text=f"oom: {event.reason}; it is tried once more, alone, when the others are done")
        else:
            yield event


def _attempt(
    run: run_directory.Run, trial: Trial, store: RunStore, attempts_before: int, alone: bool, data: list[Any]
) -> Iterator[Event]:
    """Try the trial, in a worker, with the data that Ray's object store holds."""
    if data:
        with_data: Any = run
        run = functools.partial(with_data, data=functools.partial(load, data[0]))
    run = logged(run, "nothing" if multi_process.has_ranks(run) else "process")
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to the whole process group; the driver reacts to it
    try:
        yield from store.attempt(run, trial, attempts_before=attempts_before, alone=alone)
    finally:
        signal.signal(signal.SIGTERM, before)
