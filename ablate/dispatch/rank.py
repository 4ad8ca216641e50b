"""One rank of a trial on several processes, as Ray Train runs it, and the mail that it sends to who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import traceback
from datetime import timedelta
from typing import Any

from filelock import FileLock

from ablate.core.errors import Diverged, Pruned, Stopped

CLAIM = "claim-of-ranks"
"""In the run directory, a lock of the first rank's: one that lost whoever waited for it writes on for a moment."""

SECONDS_TO_DIE = 60.0

LOOPBACK = "127.0.0.1"
"""The node's address in an embedded Ray, that nobody is to reach from outside."""

AGREED = (Stopped, Pruned, Diverged)
"""Raised on all ranks between the same two batches: all are through, and the first says so."""


class Mail:
    """An actor: what ranks put in, in order, for the one who takes it out. ("event", Event) or ("raised", chain)."""

    def __init__(self) -> None:
        self.there: list[tuple[str, Any]] = []
        self.came = asyncio.Event()

    async def put(self, kind: str, what: Any) -> None:
        self.there.append((kind, what))
        self.came.set()

    async def take(self, patience_s: float) -> list[tuple[str, Any]]:
        """All there is; where there is none, what comes within so many seconds."""
        if not self.there:  # a wait of no patience would give up before it looks
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.came.wait(), patience_s)
        found, self.there = self.there, []
        self.came.clear()
        return found


def train_on_rank(told: dict[str, Any]) -> None:
    """In each rank: run the trial; the first tells its events. What one raises is told, and ends the others."""
    import ray

    from ablate.training.ranks import Ranks

    ranks, put = Ranks.joined(), told["mail"].put.remote
    claim = FileLock(told["directory"] / CLAIM, timeout=SECONDS_TO_DIE)
    try:
        if ranks.is_first:
            claim.acquire()
        for event in told["run"](told["config"], told["directory"], ranks=ranks, **told["options"]):
            if ranks.is_first:
                ray.get(put("event", event))
    except AGREED as error:
        if ranks.is_first:
            ray.get(put("raised", _chain(error)))
    except Exception as error:
        ray.get(put("raised", _chain(error)))
        raise RuntimeError(f"rank {ranks.rank}: {type(error).__name__}: {error}") from None
    finally:
        claim.release()


def _chain(error: BaseException | None) -> list[Any]:
    """An exception, those behind it and its stack as text: pickling alone would leave all but the first here."""
    text = "".join(traceback.format_exception(error))
    chain: list[Any] = []
    while error is not None:
        try:
            pickle.loads(pickle.dumps(error))
            chain.append(error)
        except Exception:
            chain.append(RuntimeError(f"{type(error).__name__}: {error}"))
        error = error.__cause__ or error.__context__
    return [*chain, text]


def torch_config(*, on_gpu: bool) -> Any:
    """How Ray Train has ranks join torch's process group: with gloo on the CPU, and with nccl between GPUs."""
    from ray.train.torch import TorchConfig

    class Config(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            return _joining(super().backend_cls)

    return Config(backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo")


def _joining(of_ray: Any) -> Any:
    class Joining(of_ray):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            """In place of Ray's own, whose meeting point listens on every network of the machine."""
            import ray

            meeting, count = worker_group.execute_single(0, _listen), len(worker_group)
            how = backend_config.backend, backend_config.timeout_s
            ray.get([worker_group.execute_single_async(one, _join, one, count, meeting, *how) for one in range(count)])

    return Joining


_listening: socket.socket | None = None


def _listen() -> tuple[str, int]:
    """In the first rank: listen on the address by which Ray knows this node, and no other."""
    import ray

    global _listening
    address = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    _listening = socket.create_server((address, 0), family=family)
    return address, _listening.getsockname()[1]


def _join(rank: int, count: int, meeting: tuple[str, int], backend: str, timeout_s: float) -> None:
    """In a rank's main thread, where alone signals are set."""
    import ray
    from torch import distributed as dist

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to us all, it is the driver's to answer
    if ray.util.get_node_ip_address() == LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    patience = timedelta(seconds=timeout_s)
    if rank == 0 and _listening is not None:
        open_at = _listening.detach()
        store = dist.TCPStore(*meeting, count, True, patience, wait_for_workers=False, master_listen_fd=open_at)
    else:
        store = dist.TCPStore(*meeting, count, False, patience, wait_for_workers=False)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=patience)
