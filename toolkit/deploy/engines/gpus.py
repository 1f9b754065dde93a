"""Which GPUs this machine has, as far as it says so without their libraries."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

from toolkit.units import MIB

_QUERY: Final = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
_QUERY_S: Final = 10.0
# NVIDIA's cards by number, AMD's common door, Windows' below WSL.
_DEVICES: Final = ("nvidia[0-9]*", "kfd", "dxg")


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether there is anything that vLLM could compute on but the processor."""
    return any(path for pattern in _DEVICES for path in devices.glob(pattern))


async def gpu_memories() -> list[int]:
    """The bytes of each of NVIDIA's GPUs; empty where `nvidia-smi` is not or says nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        async with asyncio.timeout(_QUERY_S):
            process = await asyncio.create_subprocess_exec(
                program,
                *_QUERY,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            said, _ = await process.communicate()
    except (OSError, TimeoutError):
        return []
    words = said.decode("ascii", "replace").split()
    return [int(word) * MIB for word in words if word.isascii() and word.isdigit()]
