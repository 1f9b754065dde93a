"""How much memory models may take here, and how much one will."""

import math
from collections.abc import Callable
from pathlib import Path

import psutil

from server.engine.config import EngineConfig
from server.errors import ModelUnusable
from server.models import footprint
from server.models.gguf import GGUFHeader, read_header

_CGROUP_V2 = Path("/sys/fs/cgroup/memory.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")

# Left to the HTTP process and everything else: a tenth, at least this much, at most half.
_LEAST_RESERVE_BYTES = 512 << 20


def default_budget() -> int:
    """Bytes that models may take together: what the machine has, or the cgroup grants,
    less a reserve. A number without a limit in it ("max") is none."""
    granted = int(min(psutil.virtual_memory().total, _read(_CGROUP_V2), _read(_CGROUP_V1)))
    return granted - min(max(_LEAST_RESERVE_BYTES, granted // 10), granted // 2)


def needed(
    path: Path, config: EngineConfig, *, read: Callable[[Path], GGUFHeader] = read_header
) -> int:
    """Bytes that the model at `path` will take; `read` blocks, and may remember headers.

    0 for a file that cannot be read: loading it says what is wrong with it.
    """
    try:
        header = read(path)
    except ModelUnusable:
        return 0
    estimated = footprint.estimate(header, context=config.context, parallel=config.parallel)
    return estimated.total_bytes


def _read(path: Path) -> float:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return math.inf
