"""One rank of a multi-process trial, as Ray Train runs it, and the mailbox by which it reports to the trial's task."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate.core.config import Config
from ablate.core.errors import Diverged, Pruned, Stopped
from ablate.core.events import Event
from ablate.dispatch import ray_private
from ablate.store.text_log import logged

LOCK = "claim-of-ranks"
"""The file in the run directory that the first rank locks, since one whose task has died may write on for a moment."""

SECONDS_TO_DIE = 60.0

LOOPBACK = "127.0.0.1"
"""The node's address in an embedded Ray, which nobody shall reach from outside."""

RAISED_BY_ALL = (Stopped, Pruned, Diverged)
"""Errors that all ranks raise between the same two batches. All of them have then ended, and the first reports it."""


@dataclass(frozen=True)
class Raised:
    """What a rank raised: its exception and those that caused it, and its stack as text.

    Pickling the exception alone would lose all but the first.
    """

    chain: Sequence[BaseException]
    stack: str

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        """Return an exception as it can be sent. One that cannot be pickled becomes a RuntimeError with its text."""
        chain: list[BaseException] = []
        cause: BaseException | None = error
        while cause is not None:
            try:
                pickle.loads(pickle.dumps(cause))
                chain.append(cause)
            except Exception:
                chain.append(RuntimeError(f"{type(cause).__name__}: {cause}"))
            cause = cause.__cause__ or cause.__context__
        return cls(chain, "".join(traceback.format_exception(error)))


class Mailbox:
    """An actor that keeps what ranks put in, in order, until the trial's task takes it out."""

    def __init__(self) -> None:
        self.letters: list[Event | Raised] = []
        self.has_letters = asyncio.Event()

    async def put(self, letter: Event | Raised) -> None:
        """Add a letter at the end."""
        self.letters.append(letter)
        self.has_letters.set()

    async def take(self, patience_s: float) -> list[Event | Raised]:
        """Return all letters. Where there is none, wait up to so many seconds for the first."""
        if not self.letters:  # wait_for with a timeout of 0 would give up before it looks
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.has_letters.wait(), patience_s)
        taken, self.letters = self.letters, []
        self.has_letters.clear()
        return taken


@dataclass(frozen=True)
class RankTask:
    """What each rank of a trial runs.

    `run` is given the config, the run directory, `ranks` and the options. `mailbox` is the handle of the actor.
    """

    run: Callable[..., Iterator[Event]]
    config: Config
    directory: Path
    options: Mapping[str, Any]
    mailbox: Any


def train_on_rank(loop_config: Mapping[str, RankTask]) -> None:
    """Run the trial, in each rank. The first rank reports its events. An error in any rank is reported, and ends all.

    Args:
        loop_config: Ray Train's; the key `task` holds the task.
    """
    import ray

    from ablate.training.ranks import Ranks

    task, ranks = loop_config["task"], Ranks.joined()
    put = task.mailbox.put.remote
    run = logged(task.run, "process", mark=f"[rank {ranks.rank}] ")
    lock = FileLock(task.directory / LOCK, timeout=SECONDS_TO_DIE)
    try:
        if ranks.is_first:
            lock.acquire()
        for event in run(task.config, task.directory, ranks=ranks, **task.options):
            if ranks.is_first:
                ray.get(put(event))
    except RAISED_BY_ALL as error:
        if ranks.is_first:
            ray.get(put(Raised.of(error)))
    except Exception as error:
        ray.get(put(Raised.of(error)))
        raise RuntimeError(f"rank {ranks.rank}: {type(error).__name__}: {error}") from None
    finally:
        lock.release()


def torch_config(*, on_gpu: bool) -> Any:
    """Return how ranks join torch's process group: with gloo on the CPU, and with nccl between GPUs."""
    return ray_private.torch_config("cpu:gloo,cuda:nccl" if on_gpu else "gloo", _start_process_group)


def _start_process_group(group: ray_private.RankGroup, backend: str, timeout_s: float) -> None:
    """Have the ranks meet at a port that listens on one address of the first rank's node, and return once all have."""
    import ray

    meeting, count = group.execute_single(0, _listen), len(group)
    ray.get(
        [group.execute_single_async(rank, _join, rank, count, meeting, backend, timeout_s) for rank in range(count)]
    )


_listening: socket.socket | None = None


def _listen() -> tuple[str, int]:
    """Listen, in the first rank, on the address by which Ray knows this node, and on no other."""
    import ray

    global _listening
    address = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    _listening = socket.create_server((address, 0), family=family)
    return address, _listening.getsockname()[1]


def _join(rank: int, count: int, meeting: tuple[str, int], backend: str, timeout_s: float) -> None:
    """Join torch's process group. This runs in a rank's main thread, the only one in which signals can be set."""
    import ray
    from torch import distributed as dist
    from torch._C._distributed_c10d import TCPStore  # torch.distributed.TCPStore; only this module declares its type

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to the whole process group; only the driver reacts to it
    if ray.util.get_node_ip_address() == LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    patience = timedelta(seconds=timeout_s)
    listening = _listening if rank == 0 else None
    store = TCPStore(
        *meeting,
        world_size=count,
        is_master=listening is not None,
        timeout=patience,
        wait_for_workers=False,
        master_listen_fd=listening.detach() if listening else None,
    )
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=patience)
