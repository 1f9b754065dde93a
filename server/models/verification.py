"""Whether the files of a model are what their names say."""

import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec

from server.models.files import sha256_of, while_awaited
from server.models.manifest import Layer
from server.models.name import ModelName
from server.models.store import Store

GOOD, MISSING, DAMAGED = "good", "missing", "damaged"

Progress = Callable[[int], None]  # bytes that were read so far


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
    starts = itertools.accumulate((layer.size for layer in layers), initial=0)
    return [
        _verified(store, layer, start, progress)
        for layer, start in zip(layers, starts, strict=False)
    ]


async def hashed(path: Path) -> str:
    """The digest (hex) of what is in a file, for as long as somebody waits for it. Raises
    `OSError`."""

    def work(is_wanted: Callable[[], bool]) -> str:
        def look(_: int) -> None:
            if not is_wanted():
                raise _Unwanted

        return sha256_of(path, look)

    return await while_awaited(work)


class _Unwanted(Exception):
    """Ends the thread; nobody sees it."""


def _verified(store: Store, layer: Layer, start: int, progress: Progress) -> Verified:
    path = store.blobs.path(layer.digest)
    try:
        sha256 = sha256_of(path, lambda done: progress(start + done))
        state = GOOD if f"sha256:{sha256}" == layer.digest else DAMAGED
    except OSError:
        state = DAMAGED if path.exists() else MISSING
    return Verified(layer.kind, layer.digest, layer.size, state)
