"""The model store: Ollama's layout on disk, so that either may use the other's.

    <root>/
    ├── manifests/<host>/<namespace>/<model>/<tag>    JSON: which blobs a model is made of
    ├── blobs/sha256-<hex>                            weights, templates, parameters, …
    └── .akash-llm/                                   locks, headers that were read before,
                                                      weights in another type

Every change is made by renaming something complete into its place. Several
processes may use one store: adding and removing hold a lock while manifests
change, copying weights does not. All of it blocks on the disk.
"""

import builtins
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import msgspec

from server.errors import ModelNotFound
from server.models.blobs import Blobs, Draft, Progress
from server.models.files import read_chunks, replace_file, storage_errors
from server.models.gguf import GGUFHeader, read_header
from server.models.headers import Headers
from server.models.layers import check_model, read_model
from server.models.manifest import (
    CONFIG_TYPE,
    LAYER_PREFIX,
    Config,
    Layer,
    Manifest,
    Message,
    read_manifest,
)
from server.models.name import InvalidModelName, ModelName
from server.models.stored import StoredModel

PRIVATE = ".akash-llm"


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has besides its weights: each becomes a layer."""

    system: str | None = None
    template: str | None = None
    params: Mapping[str, Any] | None = None
    messages: tuple[Message, ...] = ()
    licenses: tuple[str, ...] = ()

    def layers(self) -> Iterator[tuple[str, bytes]]:
        """The kind and the bytes of each layer, in Ollama's order."""
        if self.template:
            yield "template", self.template.encode()
        if self.system:
            yield "system", self.system.encode()
        for text in self.licenses:
            yield "license", text.encode()
        if self.params:
            yield "params", msgspec.json.encode(self.params)
        if self.messages:
            yield "messages", msgspec.json.encode(self.messages)


class Store:
    """The models below one folder, which need not exist before something is added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._manifests = root / "manifests"
        self._private = root / PRIVATE
        self._blobs = Blobs(root / "blobs", self._private / "blobs.lock")
        self._headers = Headers(self._private / "headers")
        # Weights that were rewritten: called by what they were made from, so they go with it.
        self.requantized = self._private / "requantized"

    def get(self, name: ModelName | str) -> StoredModel:
        """The model of a name, whatever its case; it may be one that cannot be served.

        Raises `InvalidModelName` and `ModelNotFound`.
        """
        path = self._find(_parsed(name))
        if path is not None:
            with suppress(FileNotFoundError):  # removed a moment ago
                return self._read(path)
        raise missing(name)

    def header(self, weights: Path) -> GGUFHeader:
        """The header of a model file, remembered if it was read before. Raises
        `ModelUnusable`."""
        return self._headers.read(weights)

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
        self._make_private_folder()
        with self._blobs.draft(chunks, size, progress) as draft:
            header = read_header(draft.path, label=source)
            check_model(header, source)
            with self._changing():
                self._commit(parsed, draft, header, extras or Extras())
        return self.get(parsed)

    def remove(self, name: ModelName | str) -> None:
        """Remove a model and the blobs that no other model uses. Raises `ModelNotFound`."""
        parsed = _parsed(name)
        if self._find(parsed) is None:  # do not make folders in a store that has none
            raise missing(name)
        with self._changing():
            path = self._find(parsed)
            if path is None:
                raise missing(name)
            digests = self._digests(path)
            path.unlink()
            self._remove_empty_folders(path.parent)
            self._drop_unused(digests)

    def list(self) -> builtins.list[StoredModel]:
        """Every model, newest first, also those that cannot be served."""
        models = []
        for path in self._paths():
            with suppress(FileNotFoundError):  # removed a moment ago
                models.append(self._read(path))
        return sorted(models, key=lambda model: (-model.modified_ns, model.name))

    # -- reading

    def _paths(self) -> Iterator[Path]:
        """The manifests whose path is a name."""
        for path in sorted(self._manifests.glob("*/*/*/*")):
            if _name_of(path) is not None and path.is_file():
                yield path

    def _find(self, name: ModelName) -> Path | None:
        """The manifest of a name: as it is spelled, else in whatever case it is there."""
        exact = self._manifests.joinpath(*name.parts())
        with suppress(OSError):  # a host that is longer than a name of a folder can be
            if exact.is_file():
                return exact
        same = (path for path in self._paths() if _same(path, name))
        return next(same, None)

    def _read(self, path: Path) -> StoredModel:
        name = ModelName(*path.parts[-4:])
        try:
            return read_model(name, path, self._blobs, self._headers)
        except FileNotFoundError:
            raise
        except OSError as error:
            problem = f"its manifest cannot be read: {error.strerror}"
            return StoredModel(name=name, digest="", size=0, modified_ns=0, problem=problem)

    # -- changing

    def _make_private_folder(self) -> None:
        """The locks lie in it."""
        with storage_errors(self.root):
            self._private.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock of the manifests."""
        lock = filelock.FileLock(self._private / "manifests.lock")
        self._make_private_folder()
        with storage_errors(self.root), lock:
            yield

    def _commit(self, name: ModelName, draft: Draft, header: GGUFHeader, extras: Extras) -> None:
        """Place the blobs, then the manifest; take back the blobs if that fails."""
        replaced = self._find(name)
        old = self._digests(replaced) if replaced else set()
        placed = {draft.digest}
        try:
            self._blobs.place(draft)
            layers = [_layer("model", draft)]
            for kind, data in extras.layers():
                layers.append(_layer(kind, self._blobs.write(data)))
                placed.add(layers[-1].digest)
            config = self._blobs.write(_config(header, layers).to_json())
            placed.add(config.digest)
            manifest = Manifest(
                config=Layer(CONFIG_TYPE, config.digest, config.size), layers=layers
            )
            path = replaced or self._manifests.joinpath(*name.parts())
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, manifest.to_json())
        finally:
            self._drop_unused(old | placed)

    def _drop_unused(self, digests: Iterable[str]) -> None:
        """Remove those of the blobs that no manifest names.

        Nothing is removed while a manifest cannot be read: it may name them.
        """
        try:
            used = set().union(*(_digests(path.read_bytes()) for path in self._paths()))
        except (OSError, ValueError):
            return
        for digest in set(digests) - used:
            self._blobs.remove(digest)
            self._headers.forget(self._blobs.path(digest).name)
            for path in self.requantized.glob(f"{digest.partition(':')[2]}-*"):
                path.unlink(missing_ok=True)

    def _digests(self, path: Path) -> set[str]:
        """The blobs of a manifest; none if it is damaged."""
        try:
            return _digests(path.read_bytes())
        except ValueError:
            return set()

    def _remove_empty_folders(self, folder: Path) -> None:
        while folder != self._manifests:
            try:
                folder.rmdir()
            except OSError:  # not empty
                return
            folder = folder.parent


def _parsed(name: ModelName | str) -> ModelName:
    return ModelName.parse(name) if isinstance(name, str) else name


def _name_of(path: Path) -> ModelName | None:
    """The name that a manifest's path spells; None for other files that lie around."""
    host, namespace, model, tag = path.parts[-4:]
    try:
        return ModelName.parse(f"{host}/{namespace}/{model}:{tag}")
    except InvalidModelName:
        return None


def _same(path: Path, name: ModelName) -> bool:
    found = _name_of(path)
    return found is not None and found.same_as(name)


def missing(name: ModelName | str) -> ModelNotFound:
    """What is said of a name that no model has."""
    shown = name if isinstance(name, str) else name.display()
    return ModelNotFound(
        f"model '{shown}' not found", hint="`akash-llm models list` shows the models there are"
    )


def _digests(data: bytes) -> set[str]:
    return {layer.digest for layer in read_manifest(data).blobs()}


def _layer(kind: str, blob: Draft) -> Layer:
    return Layer(f"{LAYER_PREFIX}{kind}", blob.digest, blob.size)


def _config(header: GGUFHeader, layers: Iterable[Layer]) -> Config:
    return Config(
        model_format="gguf",
        model_family=header.architecture,
        model_families=[header.architecture],
        model_type=header.parameter_size,
        file_type=header.quantization_level,
        architecture="amd64",
        os="linux",
        rootfs={"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    )
