"""An embedded Ray of our own."""

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

SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every socket on loopback
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # what a worker has to say is in the run directory
    "RAY_task_oom_retries": "0",  # we try it again ourselves, once, alone
}


BESIDE_OBJECT_STORE = 0.7
"""The share of memory that tasks may ask for; Ray's object store takes up to 30%."""


@functools.cache
def _token() -> str:
    """One for all Rays of this process: its first is the one that Ray keeps in mind."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def private_ray(log: Path) -> Iterator[Any]:
    """Ray on loopback only, for as long as this lasts, with a token of its own that is in no file.

    What it prints, from threads too, goes to `log`.
    """
    own = {**SETTINGS, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
    before = {key: os.environ.get(key) for key in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    os.environ.update(own)  # before the import
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        import ray

        ours = signal.getsignal(signal.SIGTERM)
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error", **_limits())
        if ours is not None:
            signal.signal(signal.SIGTERM, ours)  # Ray has put its own there
        try:
            yield ray
        finally:
            ray.shutdown()
            for key, value in before.items():
                os.environ.pop(key) if value is None else os.environ.update({key: value})


def _limits() -> dict[str, int]:
    """Return the CPUs, and where a container limits it the memory, that Ray may hand out here.

    Ray itself counts the host's CPUs, without regard to affinity, and reads the memory limit of the mounted root group
    alone. `_memory` is the part of the memory that Ray itself would leave beside its object store; its docstring names
    this argument.
    """
    limits = {"num_cpus": container.cpus()}
    if (memory := container.memory_bytes()) < container.physical_memory_bytes():
        limits["_memory"] = int(BESIDE_OBJECT_STORE * memory)
    return limits
