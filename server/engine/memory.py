"""How much memory models may take here, and how much one will."""

import math
from collections.abc import Callable
from pathlib import Path

import psutil

from server import limits
from server.engine.config import IMAGE_CACHE_BYTES, EngineConfig
from server.engine.requantizer import Requantizer
from server.errors import ModelUnusable
from server.models import footprint
from server.models.gguf import GGUFHeader
from server.models.model_files import ModelFiles
from server.models.splits import read_weights

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
    files: ModelFiles,
    config: EngineConfig,
    *,
    read: Callable[[Path], GGUFHeader] = read_weights,
    requantizer: Requantizer | None = None,
) -> int:
    """Bytes that a model will take, with the conversations that it may park. Blocks.

    `read` may remember headers, `requantizer` is the one that will rewrite the weights. 0 for
    files that cannot be read: loading them says what is wrong with them.
    """
    weights = files.weights
    try:
        header = read(weights)
        size = requantizer.size(weights, header) if requantizer else header.file_size
        size += sum(adapter.path.stat().st_size for adapter in files.adapters)
        images = _for_images(files.projector) if files.projector else 0
    except (ModelUnusable, OSError):
        return 0
    estimated = footprint.estimate(header, use_of(config), weights_bytes=size)
    return estimated.total_bytes + config.parking_bytes + images


def use_of(config: EngineConfig) -> footprint.Use:
    """How a model is loaded with this configuration."""
    return footprint.Use(
        context=config.context,
        parallel=config.parallel,
        pool=config.num_cells,
        slots=config.num_slots,
        rows=min(config.micro_batch, config.batch),
        keys=config.attention.keys,
        values=config.attention.values,
        flash=config.attention.flash != "off",
        swa_full=config.attention.swa_full,
    )


def _for_images(projector: Path) -> int:
    """The projector's weights, what is kept of images, and the pixels of the largest one: while
    it is decoded there are up to three copies of them."""
    return projector.stat().st_size + IMAGE_CACHE_BYTES + 3 * 3 * limits.MAX_IMAGE_PIXELS


def _read(path: Path) -> float:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return math.inf
