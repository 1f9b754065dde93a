"""The headers of models that lie elsewhere, fetched without the weights behind them.

A header is a few megabytes at most, nearly all of it the vocabulary, and nobody says how long
it is. So the beginning of a file is asked for in ranges, each as long as all before it, until
the header is whole.
"""

from collections.abc import Sequence
from functools import partial

from server.errors import ModelUnusable, PullFailed
from server.models.cursor import Beyond
from server.models.download import Getter, Remote
from server.models.gguf import GGUFHeader, parse_beginning
from server.models.hub import Hub, HubFile
from server.models.manifest import read_manifest
from server.models.name import ModelName
from server.models.patience import Interrupted, Patience, persist
from server.models.registry import Registry
from server.models.sources import Registries
from server.models.splits import merged, ordered

FIRST_BYTES = 64 << 10
MAX_BYTES = 128 << 20
MAX_PARTS = 256
_BESIDE = ("adapter", "projector")


async def header_in_registry(
    name: ModelName, registries: Registries, patience: Patience
) -> tuple[GGUFHeader, int]:
    """The header of a model in a registry, with its tensors; `file_size` counts all parts. And
    the bytes of what belongs to it, adapters and what shows it images.

    Raises `NotFound`, `Forbidden`, `PullFailed`, or `ModelUnusable` for a model without weights
    in GGUF files.
    """
    registry = Registry(name, registries, patience)
    try:
        manifest = read_manifest(await registry.manifest())
    except ValueError as error:
        raise PullFailed(f"pull model manifest: {error}") from error
    layers = manifest.of_kind("model")
    if not 0 < len(layers) <= MAX_PARTS:
        raise ModelUnusable(
            f"{name.display()} has no weights in the registry", hint="name another model"
        )
    remotes = [registry.remote(layer) for layer in layers]
    beside = sum(one.size for kind in _BESIDE for one in manifest.of_kind(kind))
    async with registry.web() as web:
        return await _header(web.get, remotes, name.display(), patience), beside


async def header_on_hub(file: HubFile, patience: Patience) -> GGUFHeader:
    """The same of a GGUF file on Hugging Face, with all parts where it is split.

    Raises `Unsupported` without huggingface_hub, `NotFound`, `PullFailed`, `ModelUnusable`.
    """
    hub = Hub(patience)
    remotes = await hub.remotes(file)
    async with hub.web() as web:
        return await _header(web.get, remotes, file.file, patience)


async def _header(
    get: Getter, remotes: Sequence[Remote], name: str, patience: Patience
) -> GGUFHeader:
    headers = [await _fetched(get, remote, name, patience) for remote in remotes]
    return merged([headers[index] for index in ordered(headers)])


async def _fetched(get: Getter, remote: Remote, name: str, patience: Patience) -> GGUFHeader:
    data = bytearray()
    wanted = FIRST_BYTES
    while True:
        reading = partial(read_range, get, remote.url, data, min(wanted, remote.size))
        await persist(reading, patience, progress=lambda: len(data))
        try:
            return parse_beginning(bytes(data), remote.size, name)
        except Beyond as beyond:
            wanted = max(beyond.needed, 2 * len(data))
        if wanted > MAX_BYTES:
            raise ModelUnusable(f"the header of {name} is longer than {MAX_BYTES >> 20} MiB")


async def read_range(get: Getter, url: str, data: bytearray, end: int) -> None:
    """Read on in a file, from the end of `data` to `end`, and append it. Takes no more than
    that from a server that has no ranges. Raises `Interrupted`, `NotFound`, `PullFailed`."""
    start = len(data)
    if start >= end:
        return
    async with get(url, range=f"bytes={start}-{end - 1}") as response:
        is_range = response.status_code == 206
        expected = f"bytes {start}-"
        if is_range and not response.headers.get("content-range", "").startswith(expected):
            raise PullFailed("the server sends another part than the wanted one")
        skipped = 0 if is_range else start
        async for chunk in response.aiter_raw():
            kept = chunk[min(skipped, len(chunk)) :]
            skipped -= len(chunk) - len(kept)
            data += kept[: end - len(data)]
            if len(data) >= end:
                return
    if len(data) < end:
        raise Interrupted("the server sends less than was asked for")
