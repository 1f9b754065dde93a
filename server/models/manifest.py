"""Manifests and their layers, as Ollama writes them to disk.

A manifest names blobs by digest; the kind of a layer is the end of its media type.
"""

import re
from typing import Any

import msgspec

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_PREFIX = "application/vnd.ollama.image."
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Layer(msgspec.Struct, frozen=True, rename="camel"):
    """One blob of a model. `digest` is `sha256:<hex>`."""

    media_type: str
    digest: str
    size: int = 0

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
