"""Whether the files of a model are what their names say."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from server.models.files import read_chunks
from server.models.manifest import Layer
from server.models.name import ModelName
from server.models.store import Store

GOOD, MISSING, DAMAGED = "good", "missing", "damaged"

Progress = Callable[[int], None]  # bytes that were read


class Verified(msgspec.Struct, frozen=True):
    """One blob of a model: `state` is good, missing or damaged."""

    kind: str
    digest: str
    size: int
    state: str


def verify(
    store: Store, name: ModelName | str, progress: Progress = lambda _: None
) -> list[Verified]:
    """Read and hash every file of a model. Blocks for as long as reading takes.

    Raises `ModelNotFound`, and `ModelUnusable` for a manifest that cannot be read.
    """
    layers = store.manifest(name).blobs()
    return [
        Verified(layer.kind, layer.digest, layer.size, _state(store, layer, progress))
        for layer in layers
    ]


def sha256_of(path: Path, progress: Progress = lambda _: None) -> str:
    """The digest (hex) of what is in a file. Raises `OSError`."""
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
        progress(len(chunk))
    return digest.hexdigest()


def _state(store: Store, layer: Layer, progress: Progress) -> str:
    path = store.blobs.path(layer.digest)
    try:
        is_good = path.stat().st_size == layer.size
        is_good = is_good and f"sha256:{sha256_of(path, progress)}" == layer.digest
    except OSError:
        return DAMAGED if path.exists() else MISSING
    return GOOD if is_good else DAMAGED
