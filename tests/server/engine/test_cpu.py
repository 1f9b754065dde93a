"""How many threads a runner takes."""

import os
from pathlib import Path

import psutil
import pytest

from server.engine import cpu

CPUS = 16


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of sixteen cores without hyper-threads, and cgroups that limit nothing."""
    for number in range(CPUS):
        topology = tmp_path / f"cpu/cpu{number}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{number}\n")
    (tmp_path / "own").write_text("0::/\n")
    monkeypatch.setattr(cpu, "_CPUS", tmp_path / "cpu")
    monkeypatch.setattr(cpu, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cpu, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(CPUS)))
    return tmp_path


def limit(machine: Path, name: str, text: str) -> None:
    path = machine / "cgroup" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_default_is_within_what_this_process_may_use() -> None:
    assert 1 <= cpu.default_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 16),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("0 0", 16),
        ("junk", 16),
        ("", 16),
    ],
)
def test_the_limit_of_the_cgroup_counts(machine: Path, text: str, expected: int) -> None:
    limit(machine, "cpu.max", text)
    assert cpu.default_threads() == expected


@pytest.mark.parametrize("own", ["a/b/c", "a/b", "a/b/c/d"])
def test_a_limit_above_holds_below_and_the_least_one_counts(machine: Path, own: str) -> None:
    (machine / "own").write_text(f"0::/{own}\n")
    limit(machine, "cpu.max", "max 100000")
    limit(machine, "a/cpu.max", "800000 100000")
    limit(machine, "a/b/cpu.max", "300000 100000")
    limit(machine, "a/b/c/cpu.max", "max 100000")
    limit(machine, "elsewhere/cpu.max", "100000 100000")
    assert cpu.default_threads() == 3


@pytest.mark.parametrize("own", ["0::/of/the/host\n", "0::/../..\n", "", "1:cpuset:/x\n"])
def test_a_path_that_is_not_there_leaves_the_mount(machine: Path, own: str) -> None:
    """As in a container whose mount begins at its own group."""
    (machine / "own").write_text(own)
    limit(machine, "cpu.max", "200000 100000")
    assert cpu.default_threads() == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_cgroups_of_the_first_version(machine: Path, mount: str) -> None:
    (machine / "own").write_text(
        "3:memory:/else\n2:cpu,cpuacct:/docker/x\n1:name=systemd:/y\n0::/\n"
    )
    limit(machine, f"{mount}/docker/x/cpu.cfs_quota_us", "-1")
    limit(machine, f"{mount}/docker/x/cpu.cfs_period_us", "100000")
    limit(machine, f"{mount}/docker/cpu.cfs_quota_us", "250000")
    limit(machine, f"{mount}/docker/cpu.cfs_period_us", "100000")
    assert cpu.default_threads() == 3


def test_hyper_threads_are_not_cores(machine: Path) -> None:
    for number in range(CPUS):
        path = machine / f"cpu/cpu{number}/topology/thread_siblings_list"
        path.write_text(f"{number % 8},{number % 8 + 8}\n")
    assert cpu.default_threads() == 8


def test_only_cores_of_the_affinity_mask_count(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 5, 6})
    assert cpu.default_threads() == 3


def test_a_machine_that_does_not_tell_its_topology(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_CPUS", machine / "none")
    monkeypatch.setattr(psutil, "cpu_count", lambda **_kwargs: 6)
    assert cpu.default_threads() == 6
    monkeypatch.setattr(psutil, "cpu_count", lambda **_kwargs: None)
    assert cpu.default_threads() == CPUS
