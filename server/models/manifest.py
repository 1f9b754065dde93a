"""Manifests and their layers, as Ollama writes them to disk.

A manifest names blobs by digest; the kind of a layer is the end of its media type.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from server.errors import InvalidRequest
from server.models.gguf import GGUFHeader

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_PREFIX = "application/vnd.ollama.image."
# Ollama's own kind "template" is a Go template; a Jinja one is a kind that it passes over.
JINJA_TYPE = "application/vnd.akash-llm.jinja"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(data: bytes) -> str:
    """The digest of what is in memory."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def parse_digest(text: str) -> str:
    """A digest as clients write it, `sha256:<hex>` or `sha256-<hex>`, in the first form.

    Raises `InvalidRequest` in Ollama's words.
    """
    digest = text.replace("sha256-", "sha256:", 1)
    if not DIGEST.fullmatch(digest):
        raise InvalidRequest("invalid digest format", hint="it is sha256: and 64 hex digits")
    return digest


class Layer(msgspec.Struct, frozen=True, rename="camel"):
    """One blob of a model. `digest` is `sha256:<hex>`."""

    media_type: str
    digest: str
    size: int = 0

    @classmethod
    def of(cls, media_type: str, data: bytes) -> "Layer":
        """The layer of a small blob."""
        return cls(media_type, digest_of(data), len(data))

    @property
    def kind(self) -> str:
        """Such as "model", "template", "params"; the whole media type if it is not Ollama's."""
        return self.media_type.removeprefix(LAYER_PREFIX)


class Manifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a model is made of."""

    schema_version: int = 2
    media_type: str = MANIFEST_TYPE
    config: Layer
    layers: list[Layer] = []

    def of_kind(self, kind: str) -> list[Layer]:
        """The layers of one kind, in order."""
        return [layer for layer in self.layers if layer.kind == kind]

    def blobs(self) -> list[Layer]:
        """The config and every layer."""
        return [self.config, *self.layers]

    @property
    def size(self) -> int:
        """The bytes of all blobs together, as Ollama counts them."""
        return sum(layer.size for layer in self.blobs())

    def to_json(self) -> bytes:
        """The file's bytes; their SHA-256 is the digest of the model."""
        return msgspec.json.encode(self)


class Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The config blob: a short description, kept beside the weights."""

    model_format: str = ""
    model_family: str = ""
    model_families: list[str] | None = None
    model_type: str = ""
    file_type: str = ""
    remote_host: str = ""
    architecture: str = ""
    os: str = ""
    rootfs: dict[str, Any] | None = None

    def to_json(self) -> bytes:
        """The blob's bytes."""
        return msgspec.json.encode(self)


def media_type(kind: str) -> str:
    """The media type of a kind of layer, such as "model"."""
    return LAYER_PREFIX + kind


def make_config(header: GGUFHeader, layers: Iterable[Layer]) -> Config:
    """The config of a model with this header and these layers."""
    layers = list(layers)
    families = [header.architecture]
    if any(layer.kind == "projector" for layer in layers):
        families.append("clip")
    return Config(
        model_format="gguf",
        model_family=header.architecture,
        model_families=families,
        model_type=header.parameter_size,
        file_type=header.quantization_level,
        architecture="amd64",
        os="linux",
        rootfs={"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    )


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation that a model begins with."""

    role: str
    content: str


def read_manifest(data: bytes) -> Manifest:
    """Decode a manifest. Raises `ValueError` if it is damaged or names no proper digest."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"its manifest is damaged: {error}") from error
    for layer in manifest.blobs():
        if not DIGEST.fullmatch(layer.digest) or layer.size < 0:
            raise ValueError("its manifest is damaged: a layer has no proper digest")
    return manifest
