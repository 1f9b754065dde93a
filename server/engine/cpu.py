"""How many threads pay off: the physical cores that this process may really use."""

import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import psutil

_CPUS = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def default_threads() -> int:
    """Physical cores within the affinity mask, at most what the cgroups grant.

    A hyper-thread adds nothing to matrix work, and more threads than the cgroup allows
    are stopped in the middle of every step while the others wait for them.
    """
    cores = _physical_cores(os.sched_getaffinity(0))
    return max(1, math.ceil(min(cores, _cgroup_cores())))


def _physical_cores(cpus: Collection[int]) -> int:
    """How many cores these logical ones are: those of one core name the same siblings."""
    siblings = {_read(_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list") for cpu in cpus}
    if "" in siblings:  # not told here, as in some sandboxes
        return min(psutil.cpu_count(logical=False) or len(cpus), len(cpus))
    return len(siblings)


def _cgroup_cores() -> float:
    """Cores that the cgroups grant; infinite if none sets a limit.

    A limit holds for everything below it, so the least one on the way to the root counts.
    """
    limits = [*map(_v2_cores, _folders("", "")), *map(_v2_cores, _folders("", "unified"))]
    for mount in ("cpu", "cpu,cpuacct"):
        limits += map(_v1_cores, _folders("cpu", mount))
    return min(limits)


def _folders(controller: str, mount: str) -> Iterator[Path]:
    """The folder of this process's cgroup and those above it, up to the mount.

    A container may see the path that it has on its host, below a mount that begins at its
    own cgroup: then only the mount is there, and what is missing sets no limit.
    """
    path = PurePosixPath("/")
    for line in _read(_OWN_CGROUPS).splitlines():
        _, controllers, name = line.split(":", 2)
        if controller in controllers.split(",") and ".." not in name:
            path = PurePosixPath(name)
    for folder in (path, *path.parents):
        yield _CGROUPS / mount / folder.relative_to("/")


def _v2_cores(folder: Path) -> float:
    return _cores(_read(folder / "cpu.max"))


def _v1_cores(folder: Path) -> float:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return _cores(f"{quota} {period}")


def _cores(text: str) -> float:
    try:
        quota, period = (float(part) for part in text.split())
    except ValueError:
        return math.inf  # "max", or nothing there
    return quota / period if quota > 0 and period > 0 else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
