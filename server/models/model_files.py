"""The files that make one loaded model: whoever loads the same ones shares it."""

from pathlib import Path

import msgspec


class Adapter(msgspec.Struct, frozen=True):
    """A LoRA adapter and how strongly it is applied; 0 is not at all."""

    path: Path
    scale: float = 1.0


class ModelFiles(msgspec.Struct, frozen=True):
    """Weights, what is applied to them, and what shows them images. Can be the key of a dict."""

    weights: Path
    adapters: tuple[Adapter, ...] = ()
    projector: Path | None = None
