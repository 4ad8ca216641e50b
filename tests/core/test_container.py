"""Limits of a container, read from files in the kernel's own format."""

from __future__ import annotations

import os

import pytest

from ablate.core import container, hardware

GIB = 2**30


@pytest.fixture
def host(monkeypatch, tmp_path):
    """host(own_groups, files): a host of 16 cores and 64 GiB whose cgroup files, under the mount, hold these texts."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    monkeypatch.setattr(container, "physical_memory_bytes", lambda: 64 * GIB)
    monkeypatch.setattr(container, "MOUNT", tmp_path / "mount")
    monkeypatch.setattr(container, "OWN_GROUPS", tmp_path / "cgroup")

    def is_like(own_groups, files):
        (tmp_path / "cgroup").write_text(own_groups)
        for path, text in files.items():
            file = tmp_path / "mount" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")

    return is_like


V1 = "6:memory:/docker/4f1c\n4:cpu,cpuacct:/docker/4f1c\n3:cpuset:/docker/4f1c\n1:name=systemd:/docker/4f1c\n0::/\n"


def test_without_any_cgroup_the_host_counts(host):
    assert (container.cpus(), container.memory_bytes()) == (16, 64 * GIB)


def test_in_version_2_the_containers_own_group_is_the_mounted_root(host):
    host("0::/\n", {"cpu.max": "400000 100000", "memory.max": f"{8 * GIB}"})
    assert (container.cpus(), container.memory_bytes()) == (4, 8 * GIB)


def test_max_is_no_limit(host):
    host("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"})
    assert (container.cpus(), container.memory_bytes()) == (16, 64 * GIB)


def test_of_nested_groups_the_lowest_limit_counts(host):
    files = {
        "user.slice/cpu.max": "300000 100000",
        "user.slice/memory.max": f"{4 * GIB}",
        "user.slice/mia.scope/cpu.max": "max 100000",
        "user.slice/mia.scope/memory.max": f"{6 * GIB}",
        "user.slice/mia.scope/step/memory.max": "max",
        "user.slice/noa.scope/cpu.max": "100000 100000",
        "user.slice/noa.scope/memory.max": f"{GIB}",
    }
    host("0::/user.slice/mia.scope/step\n", files)
    assert (container.cpus(), container.memory_bytes()) == (3, 4 * GIB)


@pytest.mark.parametrize("path", ["/docker/4f1c", "/../../docker/4f1c"])
def test_a_path_that_is_the_hosts_or_lies_outside_falls_back_on_the_mounted_root(host, path):
    host(f"0::{path}\n", {"cpu.max": "200000 100000", "memory.max": f"{2 * GIB}"})
    assert (container.cpus(), container.memory_bytes()) == (2, 2 * GIB)


@pytest.mark.parametrize("mounted", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["docker/4f1c/", ""])
def test_version_1_has_a_hierarchy_for_each_resource(host, mounted, group):
    files = {
        f"{mounted}/{group}cpu.cfs_quota_us": "250000",
        f"{mounted}/{group}cpu.cfs_period_us": "50000",
        f"memory/{group}memory.limit_in_bytes": f"{3 * GIB}",
    }
    host(V1, files)
    assert (container.cpus(), container.memory_bytes()) == (5, 3 * GIB)


def test_in_version_1_minus_one_and_the_largest_number_are_no_limits(host):
    files = {
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "9223372036854771712",
    }
    host(V1, files)
    assert (container.cpus(), container.memory_bytes()) == (16, 64 * GIB)


@pytest.mark.parametrize(("quota", "cpus"), [(50_000, 1), (150_000, 1), (350_000, 3), (9_900_000, 16)])
def test_a_part_of_a_cpu_is_rounded_down_and_one_is_the_least(host, quota, cpus):
    host("0::/\n", {"cpu.max": f"{quota} 100000"})
    assert container.cpus() == cpus


def test_pinned_to_one_core_there_is_one(host, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {7})
    host("0::/\n", {"cpu.max": "400000 100000"})
    assert container.cpus() == 1


def test_a_damaged_file_is_no_limit(host):
    host("0::/\n", {"cpu.max": "", "memory.max": "much"})
    assert (container.cpus(), container.memory_bytes()) == (16, 64 * GIB)


def test_slots_and_memory_heed_the_container(host):
    host("0::/\n", {"cpu.max": "600000 100000", "memory.max": f"{8 * GIB}"})
    assert hardware.slots(1, 0, 1) == 6
    assert hardware.slots(0.5, 0, 1) == 12
    assert hardware.slots(2, 0, 2) == 1
    assert hardware.memory_bytes("cpu") == 8 * GIB
