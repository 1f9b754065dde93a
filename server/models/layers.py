"""From a manifest to a `StoredModel`: reads the layers and notes what is wrong.

Nothing here raises for a bad model: the store lists it with the reason.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from server.errors import ModelUnusable
from server.models import splits
from server.models.blobs import Blobs
from server.models.gguf import GGUFHeader
from server.models.headers import Headers
from server.models.manifest import (
    JINJA_TYPE,
    Config,
    Layer,
    Manifest,
    Message,
    read_manifest,
)
from server.models.name import ModelName
from server.models.stored import StoredModel

MAX_LAYER_BYTES = 16 << 20  # of a layer that is read into memory
GET_AGAIN = "get the model again"

# Kinds of projectors whose rows depend on what stands before the image in the prompt (in
# llama.cpp's mtmd: padding to a multiple of tokens, the number of the image).
_BY_PLACE = frozenset({"deepseek4v", "hunyuanvl"})

T = TypeVar("T")


def read_model(
    name: ModelName, path: Path, blobs: Blobs, headers: Headers, links: Path
) -> StoredModel:
    """The model whose manifest lies at `path`; `links` is where parts of weights get names.

    Raises `OSError` if the manifest cannot be read.
    """
    data = path.read_bytes()
    stored = StoredModel(
        name=name,
        digest=hashlib.sha256(data).hexdigest(),
        size=0,
        modified_ns=path.stat().st_mtime_ns,
    )
    try:
        manifest = read_manifest(data)
    except ValueError as error:
        return msgspec.structs.replace(stored, problem=str(error), hint=GET_AGAIN)
    return _LayerReader(manifest, blobs, headers, links).complete(stored)


def check_model(header: GGUFHeader, name: str, *, num_files: int = 1) -> None:
    """Raise `ModelUnusable` if a sound GGUF file called `name`, or so many together, are not
    a whole model."""
    kind = header.text("general.type")
    if header.architecture == "clip" or kind not in ("", "model"):
        raise ModelUnusable(
            f"{name} is not a model but {kind or 'a projector'}",
            hint="name the file with the weights of the language model",
        )
    parts = splits.num_parts(header)
    if parts != num_files:
        raise ModelUnusable(
            f"{name} is one of {parts} parts of a model",
            hint=f"create the model from all {parts} files",
        )
    if not header.architecture or not header.tensor_count:
        missing = "weights" if header.architecture else "architecture"
        raise ModelUnusable(f"{name} has no {missing} in it", hint="choose another file")


def check_adapter(header: GGUFHeader, architecture: str) -> None:
    """Raise `ModelUnusable` unless a sound GGUF file is a LoRA adapter of an architecture."""
    if header.text("general.type") != "adapter" or header.text("adapter.type") != "lora":
        raise ModelUnusable("its LoRA adapter is something else", hint=GET_AGAIN)
    if header.architecture != architecture:
        raise ModelUnusable(
            f"its LoRA adapter is for {header.architecture!r}, its weights are {architecture!r}",
            hint="use the adapter with the model that it was trained on",
        )


def check_projector(header: GGUFHeader) -> None:
    """Raise `ModelUnusable` unless a sound GGUF file shows images to a model in llama.cpp."""
    if header.architecture != "clip":
        raise ModelUnusable("its projector is something else", hint=GET_AGAIN)
    kind = header.text("clip.vision.projector_type") or header.text("clip.projector_type")
    if kind in _BY_PLACE:
        raise ModelUnusable(f"images cannot be shown to it: its projector is of the kind {kind!r}")


class _LayerReader:
    """Reads the layers of one manifest; the first problem is the one that is told."""

    def __init__(self, manifest: Manifest, blobs: Blobs, headers: Headers, links: Path) -> None:
        self._manifest = manifest
        self._blobs = blobs
        self._headers = headers
        self._links = links
        self._problems: list[ModelUnusable] = []

    def complete(self, stored: StoredModel) -> StoredModel:
        config = self._config()
        nothing: tuple[Path | None, GGUFHeader | None] = (self._path("model"), None)
        weights, header = self._attempt(lambda: self._weights(config), nothing)
        changes: dict[str, Any] = {
            "config": config,
            "size": self._manifest.size,
            "weights": weights,
            "projector": self._attempt(self._projector, None),
            "header": header,
            "adapters": self._attempt(lambda: self._adapters(header), None) or (),
            "system": self._attempt(lambda: self._text("system"), None),
            "template": self._attempt(lambda: self._text("template"), None),
            "jinja": self._attempt(lambda: self._text(JINJA_TYPE), None),
            "parameters": self._attempt(lambda: self._json("params", dict[str, Any]), None) or {},
            "messages": self._attempt(lambda: self._json("messages", tuple[Message, ...]), None)
            or (),
            "licenses": tuple(self._licenses()),
        }
        if self._problems:
            changes |= {"problem": self._problems[0].message, "hint": self._problems[0].hint}
        return msgspec.structs.replace(stored, **changes)

    def _attempt(self, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except ModelUnusable as error:
            self._problems.append(error)
            return otherwise

    def _path(self, kind: str) -> Path | None:
        for layer in self._manifest.of_kind(kind):
            path = self._blobs.path(layer.digest)
            if path.is_file():
                return path
        return None

    def _config(self) -> Config:
        """The config, or an empty one: it only helps to describe the model."""
        try:
            return msgspec.json.decode(self._read(self._manifest.config), type=Config)
        except (ModelUnusable, msgspec.MsgspecError, UnicodeDecodeError):
            return Config()

    def _weights(self, config: Config) -> tuple[Path | None, GGUFHeader | None]:
        """The file to load and its checked header."""
        layers = self._manifest.of_kind("model")
        if config.remote_host:
            raise ModelUnusable(f"it runs at {config.remote_host}, its weights are not here")
        if not layers:
            raise ModelUnusable("it has no GGUF weights", hint="use a GGUF version of the model")
        if len(layers) > 1:
            return self._split_weights(layers)
        header = self._layer_header(layers[0], "its weights")
        check_model(header, "the file of its weights")
        return self._blobs.path(layers[0].digest), header

    def _split_weights(self, layers: list[Layer]) -> tuple[Path, GGUFHeader]:
        """The same of weights in several files."""
        headers = [self._layer_header(layer, "its weights") for layer in layers]
        order = splits.ordered(headers)
        header = splits.merged([headers[index] for index in order])
        check_model(header, "the first of its files", num_files=len(layers))
        parts = [self._blobs.path(layers[index].digest) for index in order]
        return splits.linked(self._links, parts), header

    def _adapters(self, weights: GGUFHeader | None) -> tuple[Path, ...]:
        """The checked LoRA adapters, in their order; none if the weights are no good."""
        if weights is None:
            return ()
        layers = self._manifest.of_kind("adapter")
        for layer in layers:
            check_adapter(self._layer_header(layer, "its LoRA adapters"), weights.architecture)
        return tuple(self._blobs.path(layer.digest) for layer in layers)

    def _projector(self) -> Path | None:
        """The checked projector of images, if there is one."""
        for layer in self._manifest.of_kind("projector"):
            check_projector(self._layer_header(layer, "its projectors"))
            return self._blobs.path(layer.digest)
        return None

    def _layer_header(self, layer: Layer, name: str) -> GGUFHeader:
        """The header of a layer that is a whole GGUF file; `name` (plural) is for messages."""
        path = self._blobs.path(layer.digest)
        if not path.is_file():
            raise ModelUnusable(f"{name} are missing", hint=GET_AGAIN)
        header = self._headers.read(path)
        if header.file_size != layer.size:
            raise ModelUnusable(
                f"{name} have {header.file_size} bytes instead of {layer.size}", hint=GET_AGAIN
            )
        return header

    def _text(self, kind: str) -> str | None:
        """The last layer of a kind as text."""
        layers = self._manifest.of_kind(kind)
        if not layers:
            return None
        try:
            return self._read(layers[-1]).decode()
        except UnicodeDecodeError as error:
            raise self._unreadable(kind) from error

    def _json(self, kind: str, form: type[T]) -> T | None:
        text = self._text(kind)
        if text is None:
            return None
        try:
            return msgspec.json.decode(text, type=form)
        except msgspec.MsgspecError as error:
            raise self._unreadable(kind) from error

    def _licenses(self) -> list[str]:
        """What can be read of them: they do not change what the model answers."""
        texts = []
        for layer in self._manifest.of_kind("license"):
            try:
                texts.append(self._read(layer).decode("utf-8", "replace"))
            except ModelUnusable:
                continue
        return texts

    def _read(self, layer: Layer) -> bytes:
        path = self._blobs.path(layer.digest)
        try:
            if path.stat().st_size <= MAX_LAYER_BYTES:
                return path.read_bytes()
        except OSError as error:
            raise self._unreadable(layer.kind) from error
        raise self._unreadable(layer.kind)

    @staticmethod
    def _unreadable(kind: str) -> ModelUnusable:
        return ModelUnusable(f"its layer {kind!r} is missing or cannot be read", hint=GET_AGAIN)
