"""The model store: Ollama's layout on disk, so that either may use the other's.

    <root>/
    ├── manifests/<host>/<namespace>/<model>/<tag>    JSON: which blobs a model is made of
    ├── blobs/sha256-<hex>                            weights, templates, parameters, …
    └── .akash-llm/                                   locks, headers that were read before,
                                                      weights in another type, links that
                                                      give the parts of split weights names

Every change is made by renaming something complete into its place. Several
processes may use one store: adding and removing hold a lock while manifests
change, copying weights does not. All of it blocks on the disk.
"""

import builtins
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from server.errors import ModelNotFound, ModelUnusable, ServerError
from server.models import splits
from server.models.blobs import Blobs, Draft, Progress
from server.models.extras import Extras
from server.models.files import read_chunks, remove_older, replace_file, storage_errors
from server.models.gguf import GGUFHeader, read_header
from server.models.headers import Headers
from server.models.layers import check_model, read_model
from server.models.manifest import (
    CONFIG_TYPE,
    Layer,
    Manifest,
    make_config,
    media_type,
    read_manifest,
)
from server.models.manifests import Manifests
from server.models.name import InvalidModelName, ModelName
from server.models.stored import StoredModel

PRIVATE = ".akash-llm"
_LIST_HINT = "`akash-llm models list` shows the models there are"


class BlobMissing(ServerError):
    """A model names a blob that is not in the store as it should be."""

    code = "blob_missing"


class Store:
    """The models below one folder, which need not exist before something is added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests = Manifests(root / "manifests")
        self._private = root / PRIVATE
        self.blobs = Blobs(root / "blobs", self._private / "blobs.lock")
        self._headers = Headers(self._private / "headers")
        # Weights that were rewritten: called by what they were made from, so they go with it.
        self.requantized = self._private / "requantized"
        self._links = self._private / "splits"

    def get(self, name: ModelName | str) -> StoredModel:
        """The model of a name, whatever its case; it may be one that cannot be served.

        Raises `InvalidModelName` and `ModelNotFound`.
        """
        path = self.manifests.find(_parsed(name))
        if path is not None:
            with suppress(FileNotFoundError):  # removed a moment ago
                return self._read(path)
        raise missing(name)

    def link(self, parts: Sequence[Path]) -> Path:
        """A path that weights in several files can be loaded from, given in their order.

        Raises `ModelUnusable` if the store cannot be written to.
        """
        return splits.linked(self._links, parts)

    def spelled(self, name: ModelName) -> ModelName:
        """The name as it is spelled here, if there is a model of that name."""
        path = self.manifests.find(name)
        return ModelName(*path.parts[-4:]) if path else name

    def manifest(self, name: ModelName | str) -> Manifest:
        """What a model is made of. Raises `ModelNotFound`, and `ModelUnusable` if it cannot
        be read."""
        path = self.manifests.find(_parsed(name))
        if path is None:
            raise missing(name)
        try:
            return read_manifest(path.read_bytes())
        except FileNotFoundError:  # removed a moment ago
            raise missing(name) from None
        except (OSError, ValueError) as error:
            raise ModelUnusable(f"{path.parts[-2]}: {error}", hint="get the model again") from None

    def header(self, weights: Path) -> GGUFHeader:
        """The header of weights, remembered if it was read before. Raises `ModelUnusable`."""
        return splits.whole_header(weights, self._headers.read)

    def blob_header(self, path: Path) -> GGUFHeader:
        """The header of a single file of the store, remembered as well."""
        return self._headers.read(path)

    def add_file(
        self,
        name: ModelName | str,
        path: Path,
        *,
        extras: Extras | None = None,
        progress: Progress | None = None,
    ) -> StoredModel:
        """Copy a GGUF file into the store under a name; an older model of that name goes.

        Raises `InvalidModelName`, `ModelUnusable` (before anything is written),
        `StorageFull`, or `ServerError` if the store cannot be changed; then the
        store is as it was.
        """
        parsed = _parsed(name)
        header = read_header(path)
        check_model(header, path.name)
        return self.add_chunks(
            parsed,
            read_chunks(path),
            header.file_size,
            source=path.name,
            extras=extras,
            progress=progress,
        )

    def add_chunks(
        self,
        name: ModelName | str,
        chunks: Iterable[bytes],
        size: int,
        *,
        source: str,
        extras: Extras | None = None,
        progress: Progress | None = None,
    ) -> StoredModel:
        """Like `add_file`, of `size` bytes that come from elsewhere; `source` names them."""
        parsed = _parsed(name)
        self.private_folder()
        with self.blobs.draft(chunks, size, progress) as draft:
            header = read_header(draft.path, label=source)
            check_model(header, source)
            weights = Layer(media_type("model"), draft.digest, draft.size)
            texts = list((extras or Extras()).layers())
            layers = [weights, *(Layer.of(kind, data) for kind, data in texts)]
            config = make_config(header, layers).to_json()
            manifest = Manifest(config=Layer.of(CONFIG_TYPE, config), layers=layers)
            contents = [*(data for _, data in texts), config]
            self.commit(parsed, manifest.to_json(), contents=contents, draft=draft)
        return self.get(parsed)

    def commit(
        self,
        name: ModelName,
        manifest: bytes,
        *,
        contents: Iterable[bytes] = (),
        draft: Draft | None = None,
    ) -> bool:
        """Write a manifest and its blobs that are in memory or a draft; the others are there.

        A model of that name is replaced and keeps its spelling. Whether blobs went because
        of that. Raises `BlobMissing`, `StorageFull`, or `ServerError` if the store cannot be
        changed, `ValueError` for no manifest; then the store is as it was.
        """
        layers = read_manifest(manifest).blobs()
        with self.changing():
            path = self.manifests.find(name)
            old = self.manifests.digests(path) if path else set()
            new: set[str] = set()
            try:
                for blob in self._placed(contents, draft):
                    new.add(blob)
                self._require(layers)
                replace_file(self.manifests.place(name), manifest)
            finally:
                num_dropped = self._drop_unused(old | new)
            return num_dropped > 0

    def copy(self, source: str, destination: str) -> None:
        """Give a model another name as well; a model that had it is replaced.

        Raises `InvalidModelName` and `ModelNotFound` in Ollama's words.
        """
        old, new = _named("source", source), _named("destination", destination)
        path = self.manifests.find(old)
        if path is not None and old.same_as(new):
            return
        try:
            if path is not None:
                self.commit(new, path.read_bytes())
                return
        except FileNotFoundError:  # removed a moment ago
            pass
        except ValueError as error:
            raise ModelUnusable(f"{old.display()} cannot be copied: {error}") from None
        raise ModelNotFound(f'model "{source}" not found', hint=_LIST_HINT)

    def remove(self, name: ModelName | str) -> None:
        """Remove a model and the blobs that no other model uses. Raises `ModelNotFound`."""
        parsed = _parsed(name)
        if self.manifests.find(parsed) is None:  # do not make folders in a store that has none
            raise missing(name)
        with self.changing():
            path = self.manifests.find(parsed)
            if path is None:
                raise missing(name)
            digests = self.manifests.digests(path)
            self.manifests.remove(path)
            self._drop_unused(digests)

    def list(self) -> builtins.list[StoredModel]:
        """Every model, newest first, also those that cannot be served."""
        models = []
        for path in self.manifests.paths():
            with suppress(FileNotFoundError):  # removed a moment ago
                models.append(self._read(path))
        return sorted(models, key=lambda model: (-model.modified_ns, model.name))

    # -- reading

    def _read(self, path: Path) -> StoredModel:
        name = ModelName(*path.parts[-4:])
        try:
            return read_model(name, path, self.blobs, self._headers, self._links)
        except FileNotFoundError:
            raise
        except OSError as error:
            problem = f"its manifest cannot be read: {error.strerror}"
            return StoredModel(name=name, digest="", size=0, modified_ns=0, problem=problem)

    # -- changing

    def private_folder(self) -> Path:
        """Where the locks lie, made if it is not there."""
        with storage_errors(self.root):
            self._private.mkdir(parents=True, exist_ok=True)
        return self._private

    @property
    def writers_lock(self) -> Path:
        """Held together by those that put blobs into the store which no manifest names yet."""
        return self._private / "writers.lock"

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock of the manifests."""
        lock = filelock.FileLock(self._private / "manifests.lock")
        self.private_folder()
        with storage_errors(self.root), lock:
            yield

    def _placed(self, contents: Iterable[bytes], draft: Draft | None) -> Iterator[str]:
        """Place the blobs of a new model; each digest when it is there."""
        if draft is not None:
            self.blobs.place(draft)
            yield draft.digest
        for data in contents:
            yield self.blobs.write(data).digest

    def _require(self, layers: Iterable[Layer]) -> None:
        for layer in layers:
            size = self.blobs.size(layer.digest)
            if size != layer.size:
                raise BlobMissing(
                    f"the blob {layer.digest} "
                    + ("is not there" if size is None else f"has {size} bytes, not {layer.size}"),
                    hint="get the model again",
                )

    def drop(self, digests: Iterable[str]) -> None:
        """Remove blobs with all that was made from them. The lock of the manifests is held."""
        for digest in digests:
            self.blobs.remove(digest)
            self._headers.forget(self.blobs.path(digest).name)
            self._forget_requantized(digest.partition(":")[2])
        for sha256 in splits.drop_broken(self._links):
            self._forget_requantized(sha256)

    def drop_left_overs(self, before_s: float) -> builtins.list[int]:
        """Remove what a process that was killed left of files that it wrote, if they are
        older than a time, and what was made from blobs that are gone; the bytes of each.
        The lock of the manifests is held."""
        names = {path.name for path in self.blobs.folder.iterdir()}
        self._headers.forget_all_but(names)
        self.drop(())
        halves = [*self.manifests.folder.rglob(".*-*"), *self.blobs.folder.glob(".sha256-*")]
        return [size for path in halves if (size := remove_older(path, before_s)) is not None]

    def _forget_requantized(self, sha256: str) -> None:
        for path in self.requantized.glob(f"{sha256}-*"):
            path.unlink(missing_ok=True)

    def _drop_unused(self, digests: Iterable[str]) -> int:
        """Remove those of the blobs that no manifest names; how many.

        Nothing is removed while a manifest cannot be read: it may name them.
        """
        try:
            unused = set(digests) - self.manifests.used()
        except (OSError, ValueError):
            return 0
        self.drop(unused)
        return len(unused)


def _parsed(name: ModelName | str) -> ModelName:
    return ModelName.parse(name) if isinstance(name, str) else name


def _named(what: str, text: str) -> ModelName:
    try:
        return ModelName.parse(text)
    except InvalidModelName as error:
        raise InvalidModelName(f'{what} "{text[:100]}" is invalid', hint=error.hint) from None


def missing(name: ModelName | str) -> ModelNotFound:
    """What is said of a name that no model has."""
    shown = name if isinstance(name, str) else name.display()
    return ModelNotFound(f"model '{shown}' not found", hint=_LIST_HINT)
