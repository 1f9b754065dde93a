"""Sizes in the units of SDLs."""

import math
from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30


def sdl_size(count: int) -> str:
    """Bytes as an SDL writes them: whole GiB, or MiB, rounded up."""
    return f"{count // GIB}Gi" if count % GIB == 0 else f"{math.ceil(count / MIB)}Mi"
