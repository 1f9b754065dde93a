"""Weights in another type for a model that is made of them: `quantize` of a create request."""

from pathlib import Path

from server.engine.requantizer import patience_for, run_module
from server.errors import LoadFailed
from server.models.files import check_space
from server.models.splits import part_paths


class Quantizer:
    """Rewrites weights in a process of its own. `threads` 0 chooses as the engine does."""

    kinds: tuple[str, ...] = ("q4_k_s", "q4_k_m", "q8_0", "q4_0")

    def __init__(self, *, threads: int = 0) -> None:
        self._threads = threads

    async def quantize(self, source: Path, target: Path, kind: str) -> None:
        """Write `source` as `target`. Cancelling ends the work.

        Raises `LoadFailed` with llama.cpp's reason, or `StorageFull`.
        """
        size = sum(path.stat().st_size for path in part_paths(source))
        code, reason = await run_module(
            *("server.engine.quantize", str(source), str(target), kind, str(self._threads)),
            patience_s=patience_for(size),
        )
        if code:
            check_space(target.parent, 0)  # a full disk is why, more often than not
            raise LoadFailed(
                f"the weights cannot be quantized to {kind}: "
                f"{reason or 'the process that does it ended unexpectedly'}",
                hint="create the model without quantize, or with another type",
            )
