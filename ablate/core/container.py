"""The CPUs and the memory that this process may use: the host's, or less where a container limits them.

A limit is set on a control group (cgroup) of the kernel. It holds for all groups below, so the lowest limit on the way
from the process's group up to the root counts. Version 1 has a hierarchy of groups for each resource; version 2 has
one for all.

Inside a container the path in /proc/self/cgroup often is the host's, and its folder does not exist there: what is
mounted as the root then is the container's own group. Folders that do not exist are therefore skipped.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst (cpu.max, memory.max); cgroup-v1/memory.rst
(memory.limit_in_bytes); scheduler/sched-bwc.rst (cpu.cfs_quota_us, cpu.cfs_period_us); man 7 cgroups (the format of
/proc/PID/cgroup).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
"""Lines of hierarchy:controllers:path. Version 2 has one line, `0::/path`."""


def cpus() -> int:
    """Return how many CPUs this process may keep busy, at least 1.

    That is the CPUs it may be scheduled on, or the group's quota of CPU time, rounded down, where that is less.
    """
    quotas = [*_limits("", _quota_v2), *_limits("cpu", _quota_v1)]
    return max(1, int(min([_schedulable_cpus(), *quotas])))


def memory_bytes() -> int:
    """Return the bytes of memory that this process may use: the host's, or its group's limit where that is lower."""
    limits = [*_limits("", _memory_v2), *_limits("memory", _memory_v1)]
    return int(min([physical_memory_bytes(), *limits]))


def physical_memory_bytes() -> int:
    """Return the bytes of memory of the host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _schedulable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limits(controller: str, limit_of: Callable[[Path], float | None]) -> Iterator[float]:
    """Yield the limits on this process's group and on those above it.

    Args:
        controller: of version 1; empty for version 2.
        limit_of: returns the limit that a group's folder states, None where it is unlimited. It may raise OSError or
            ValueError for a folder that lacks the file, or in which it is not readable.
    """
    for folder in _group_folders(controller):
        try:
            limit = limit_of(folder)
        except (OSError, ValueError):
            continue
        if limit is not None:
            yield limit


def _group_folders(controller: str) -> Iterator[Path]:
    """Yield the folder of this process's group, then those above it, up to the mounted root."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        group = Path(os.path.normpath("/" + path.lstrip("/"))).relative_to("/")  # /.. is a group that is not mounted
        for root in {MOUNT / controllers, MOUNT / controller}:  # cpu is mounted as cpu,cpuacct, and may be linked
            yield from (root / parent for parent in (group, *group.parents))


def _quota_v2(folder: Path) -> float | None:
    """Read cpu.max: `max 100000`, or the microseconds of CPU time in each period, and the period."""
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text())


def _memory_v2(folder: Path) -> float | None:
    text = (folder / "memory.max").read_text().strip()
    return None if text == "max" else int(text)


def _memory_v1(folder: Path) -> float | None:
    """Read memory.limit_in_bytes. Unlimited is a number close to 2^63."""
    return int((folder / "memory.limit_in_bytes").read_text())
