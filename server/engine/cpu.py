"""How many threads pay off: the physical cores that this process may really use."""

import math
import os
from pathlib import Path

import psutil

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def default_threads() -> int:
    """Physical cores, at most those of the affinity mask and the cgroup's limit.

    A hyper-thread adds nothing to matrix work, and more threads than the cgroup allows
    are stopped in the middle of every step while the others wait for them.
    """
    logical = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False) or logical
    return max(1, math.ceil(min(physical, logical, _cgroup_cores())))


def _cgroup_cores() -> float:
    """Cores that the cgroup grants; infinite if it sets no limit or says nothing."""
    for quota, period in (_read_v2(), _read_v1()):
        if quota > 0 and period > 0:
            return quota / period
    return math.inf


def _read_v2() -> tuple[float, float]:
    return _numbers(_read(_CGROUP_V2))


def _read_v1() -> tuple[float, float]:
    quota, period = _read(_CGROUP_V1 / "cpu.cfs_quota_us"), _read(_CGROUP_V1 / "cpu.cfs_period_us")
    return _numbers(f"{quota} {period}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _numbers(text: str) -> tuple[float, float]:
    try:
        quota, period = (float(part) for part in text.split())
    except ValueError:
        return 0.0, 0.0  # "max", or nothing there
    return quota, period
