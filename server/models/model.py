"""What a model is to the rest of the server, wherever it lies: in the store, or in the server
of another engine."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from server.models.manifest import Message
from server.models.model_files import ModelFiles
from server.models.name import ModelName

# Under which a loaded model is known: its files here, its name elsewhere.
ModelKey = ModelFiles | ModelName


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """The `details` of Ollama's replies. 0 and "" mean that nobody says."""

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] | None = None
    parameter_size: str = ""
    quantization_level: str = ""
    context_length: int = 0
    embedding_length: int = 0


class Model(Protocol):
    """What `/api/tags` and `/api/show` tell about a model, and what requests need of it.

    A model that cannot be served is one too: its `problem` says why. `parameters` are its
    default options, `system` and `messages` go before each conversation.
    """

    @property
    def name(self) -> ModelName: ...

    @property
    def digest(self) -> str:
        """SHA-256 in hex of what it is made of; of its name if nobody knows that."""

    @property
    def size(self) -> int:
        """Bytes of all its files; 0 if nobody says."""

    @property
    def modified_ns(self) -> int:
        """When it came to where it is, in nanoseconds since 1970."""

    @property
    def modified_text(self) -> str:
        """The same as RFC 3339, as Ollama writes it."""

    @property
    def problem(self) -> str | None: ...

    @property
    def system(self) -> str | None: ...

    @property
    def messages(self) -> tuple[Message, ...]: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...

    @property
    def jinja(self) -> str | None:
        """A chat template that was given to it here and goes before its own."""

    @property
    def manner_template(self) -> str | None:
        """The chat template whose text shows how its replies are written, with tools if it has
        one for those; None if whoever runs it reads its replies."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do here, in Ollama's words, as far as its files say; nothing if it
        cannot be served."""

    @property
    def details(self) -> Details: ...

    @property
    def license_text(self) -> str: ...

    @property
    def parameters_text(self) -> str: ...

    @property
    def template_text(self) -> str: ...

    @property
    def modelfile_text(self) -> str: ...

    @property
    def key(self) -> ModelKey:
        """Under which it is loaded. Raises `ModelUnusable` like `check`."""

    def check(self) -> object:
        """Raise `ModelUnusable` if it cannot be served."""

    def with_system(self, system: str) -> "Model":
        """The same with another system text."""

    def model_info(self, *, verbose: bool = False) -> Mapping[str, Any]:
        """The `model_info` of `/api/show`; may block."""

    def projector_info(self, *, verbose: bool = False) -> Mapping[str, Any]:
        """The `projector_info` of `/api/show`; may block."""

    def tensors(self) -> list[dict[str, Any]]:
        """The `tensors` of a verbose `/api/show`; may block."""
