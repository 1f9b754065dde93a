"""What a model has besides its weights."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from server.models.manifest import JINJA_TYPE, Message, media_type


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has besides its weights: each becomes a layer."""

    system: str | None = None
    template: str | None = None
    jinja: str | None = None
    params: Mapping[str, Any] | None = None
    messages: tuple[Message, ...] = ()
    licenses: tuple[str, ...] = ()

    def layers(self) -> Iterator[tuple[str, bytes]]:
        """The media type and the bytes of each layer, in Ollama's order."""
        if self.template:
            yield media_type("template"), self.template.encode()
        if self.jinja:
            yield JINJA_TYPE, self.jinja.encode()
        if self.system:
            yield media_type("system"), self.system.encode()
        for text in self.licenses:
            yield media_type("license"), text.encode()
        if self.params:
            yield media_type("params"), msgspec.json.encode(self.params)
        if self.messages:
            yield media_type("messages"), msgspec.json.encode(self.messages)
