"""An embedded Ray: a private one, on this machine, for as long as a study runs."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.core import container
from ablate.core.errors import UsageError
from ablate.dispatch import ray_folder, ray_private

SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every socket on loopback
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # what a worker reports is in the run directory
    "RAY_task_oom_retries": "0",  # we try the trial again ourselves, once, alone
}


STARTS = 3
"""How often Ray is started where it does not come up in the half minute that it gives itself."""

BESIDE_OBJECT_STORE = 0.7
"""The share of memory that tasks may ask for; Ray's object store takes up to 30%."""


@functools.cache
def _token() -> str:
    """Return one token for all embedded Rays of this process, since Ray caches the first one that it reads."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def private_ray(log: Path) -> Iterator[Any]:
    """Start Ray, yield its module, and shut it down at the end.

    It listens on loopback only. Its token is its own and is in no file. What it prints, also from threads, goes to
    `log`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file), started() as ray:
        yield ray


@contextlib.contextmanager
def started() -> Iterator[Any]:
    """Start Ray, yield its module, and shut it down at the end; it prints to stdout and stderr.

    Its processes have SIGTERM blocked. Batch systems send it to every process of a job, and a raylet that reacts to it
    takes its workers along before they have written a checkpoint.
    """
    own = {**SETTINGS, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
    before = {key: os.environ.get(key) for key in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    os.environ.update(own)  # before the import
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    folder = contextlib.ExitStack()  # it outlives Ray
    try:
        _init(ray, folder.enter_context(ray_folder.own_folder()))
        ray_private.without_sigterm(ray)
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)  # in place of the one that ray.init sets
        yield ray
    finally:
        ray.shutdown()
        folder.close()
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _init(ray: Any, folder: Path | None = None) -> None:
    """Start Ray's processes, again where they were too slow: on a busy machine they give each other up.

    Args:
        ray: Ray's module.
        folder: where it has its sockets and logs; None for the folder that it chooses itself.

    Raises:
        UsageError: they were too slow each time.
    """
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    options |= {**_limits(), **ray_private.folder_option(folder)}
    for _ in range(STARTS):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # Ray's processes inherit it
        try:
            with ray_private.few_processes():
                ray.init(address="local", **options)
        except Exception as error:
            if not ray_private.is_slow_start(error):
                raise
            ray.shutdown()
        else:
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    raise UsageError(
        f"dispatch=ray: Ray did not come up, {STARTS} times; allowed: to say it again when this machine is less busy, "
        "or dispatch=in_process"
    )


def _limits() -> dict[str, int]:
    """Return the CPUs, and where a container limits it the memory, that Ray may hand out here.

    Ray itself counts the host's CPUs without regard to affinity, and reads only the memory limit of the mounted root
    group.
    """
    limits = {"num_cpus": container.cpus()}
    if (memory := container.memory_bytes()) < container.physical_memory_bytes():
        limits |= ray_private.memory_option(int(BESIDE_OBJECT_STORE * memory))
    return limits
