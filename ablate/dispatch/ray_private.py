"""Everything that ablate uses of Ray beyond its public API, one function each.

Each docstring says what it relies on. Most of it was compared in Ray 2.52 and 2.60, and is the same in
both. A newer release may change any of it, so this module is the one to check when Ray is upgraded.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")

_LINES_OF_JOB_MANAGER = re.compile(r"\d{4}-\S+ \S+\s+INFO job_manager.py|Running entrypoint for job ")


class RankGroup(Protocol):
    """The processes of Ray Train that train one trial together. They are numbered by rank, from 0."""

    def __len__(self) -> int: ...

    def execute_single(self, worker_index: int, func: Callable[..., Any], *args: Any) -> Any:
        """Call a function in one of the processes and return its result."""

    def execute_single_async(self, worker_index: int, func: Callable[..., Any], *args: Any) -> Any:
        """Call a function in one of the processes and return a reference to its result."""


def current_cluster() -> str:
    """Return HOST:PORT of the cluster that this machine belongs to, or an empty text where it belongs to none.

    Relies on: the file in which `ray start` leaves the address. `ray.init` has it in its docstring.
    """
    return CURRENT_CLUSTER.read_text().strip() if CURRENT_CLUSTER.is_file() else ""


def alive_machines(host: str, port: int, token: str | None, timeout_s: float) -> list[str]:
    """Return the addresses of a cluster's machines, as its head lists them within `timeout_s`.

    Ray's own functions for it would try for minutes, and need a process that has joined the cluster.

    Relies on: the gRPC service NodeInfoGcsService of the head, in ray.core.generated; the token in the header
    `authorization: Bearer ...`, and UNAUTHENTICATED for a wrong one.

    Raises:
        PermissionError: the head refuses the token, or wants one.
        ConnectionError: what answers there is no Ray; its message is the gRPC status, such as UNIMPLEMENTED.
    """
    import grpc
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    headers = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            reply = NodeInfoGcsServiceStub(channel).GetAllNodeInfo(
                messages.GetAllNodeInfoRequest(), timeout=timeout_s, metadata=headers
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise PermissionError("the head refuses the token") from error
            raise ConnectionError(error.code().name) from error
    return [node.node_manager_address for node in reply.node_info_list if node.state == node.ALIVE]


def is_slow_start(error: Exception) -> bool:
    """Return whether `ray.init` gave up on processes that did not come up in time: an Exception, known by its text."""
    return type(error) is Exception and "timed out during startup" in str(error)


@contextlib.contextmanager
def few_processes() -> Iterator[None]:
    """Keep `ray.init` from starting three processes of use to others alone: it is up seconds sooner.

    They are the dashboard's server, which without a dashboard reports usage statistics; the autoscaler's monitor; and
    the one that passes the workers' output on to a driver that asks for it.

    Relies on: the methods of ray._private.node.Node that start them, whose results nobody needs: Ray itself goes on
    where the first fails. A method that is not there is no loss.
    """
    from ray._private.node import Node

    names = [name for name in ("start_api_server", "start_monitor", "start_log_monitor") if hasattr(Node, name)]
    methods = {name: getattr(Node, name) for name in names}
    for name in methods:
        setattr(Node, name, lambda *_args, **_options: None)
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(Node, name, method)


def without_sigterm(ray: Any) -> None:
    """Let `ray.shutdown` kill Ray's own processes at once, and not send them SIGTERM and wait.

    For a Ray that was started with SIGTERM blocked. Its agents would outlive it by half a minute.

    Relies on: `kill_all_processes` of ray._private.worker._global_node, which `ray.shutdown` calls with
    `allow_graceful`; psutil, which comes with Ray.
    """
    import psutil

    node = ray._private.worker._global_node
    end = node.kill_all_processes

    def kill_all(**options: Any) -> None:
        below = [child for _, process in node.live_processes() for child in _below(process.pid)]
        end(**{**options, "allow_graceful": False})
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def _below(pid: int) -> list[Any]:
        try:
            return list(psutil.Process(pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    node.kill_all_processes = kill_all


def memory_option(memory_bytes: int) -> dict[str, int]:
    """Return the argument of `ray.init` that sets how many bytes of memory tasks may ask for.

    Relies on: `_memory`, which `ray.init` documents among its underscored arguments. `ray start` has a public --memory.
    """
    return {"_memory": memory_bytes}


def folder_option(folder: Path | None) -> dict[str, str]:
    """Return the argument of `ray.init` that sets the folder of its sockets and logs; none for Ray's own choice.

    Relies on: `_temp_dir`, which `ray.init` documents among its underscored arguments. `ray start` has a public
    --temp-dir. Ray's own choice is the folder ray in RAY_TMPDIR, else TMPDIR, else /tmp: see `ray_folder`.
    """
    return {} if folder is None else {"_temp_dir": str(folder)}


def torch_config(backend: str, start: Callable[[RankGroup, str, float], None]) -> Any:
    """Return a TorchConfig of Ray Train whose ranks form torch's process group by `start`, not by Ray's own function.

    Ray's own function lets the ranks meet at a port that listens on every network of the machine.

    Relies on: `TorchConfig.backend_cls`, a property that returns a class whose `on_start` is called with the group of
    processes and the config, before the training function is called in each process; `timeout_s` of the config.

    Args:
        backend: of torch.distributed, such as gloo.
        start: is given the processes, the backend, and the seconds that the ranks may take to meet.
    """
    from ray.train.torch import TorchConfig

    def on_start(_self: object, worker_group: RankGroup, backend_config: Any) -> None:
        start(worker_group, backend_config.backend, backend_config.timeout_s)

    def backend_cls(self: Any) -> type:
        return type("Backend", (TorchConfig.backend_cls.fget(self),), {"on_start": on_start})

    return type("Config", (TorchConfig,), {"backend_cls": property(backend_cls)})(backend=backend)


def errors_of_ranks(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error of each rank of a training that failed, each followed by what caused it.

    Relies on: `worker_failures` of ray.train.v2.api.exceptions.WorkerGroupError (rank -> exception), and
    `health_check_failure` of an error that wraps the one of a process that died.
    """
    for failure in getattr(error, "worker_failures", {}).values():
        cause: BaseException | None = failure
        while cause is not None:
            yield cause
            cause = getattr(cause, "health_check_failure", None) or cause.__cause__


def raised_by_task(error: BaseException) -> BaseException:
    """Return the error that a task itself raised, or the given one where Ray did not wrap it.

    Relies on: `cause` of ray.exceptions.RayTaskError. `ray.get` raises an error that is both a RayTaskError and of the
    class of the task's error.
    """
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def quiet_job_client() -> None:
    """Keep Ray's client for jobs from printing what it does.

    Relies on: the names of its loggers.
    """
    for module in ("job.sdk", "dashboard_sdk"):
        logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.ERROR)


def is_refusal(error: BaseException) -> bool:
    """Return whether the dashboard refused a token, given the error of Ray's client for jobs.

    Relies on: the status or the reason in its text, since it raises a bare RuntimeError for every answer but 200.
    """
    text = f"{type(error).__name__} {error}".lower()
    return any(word in text for word in ("401", "403", "unauthorized", "forbidden", "authentication"))


def lines_of_job(log: str) -> Iterator[str]:
    """Yield the lines of a job's log, without those that Ray puts before the job's own.

    Relies on: how those lines begin.
    """
    return (line for line in log.splitlines(keepends=True) if not _LINES_OF_JOB_MANAGER.match(line))
