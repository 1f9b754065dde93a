"""A model as another server knows it."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from server.errors import ModelUnusable
from server.models import modelfile
from server.models.manifest import Message
from server.models.model import Details
from server.models.name import (
    DEFAULT_HOST,
    DEFAULT_NAMESPACE,
    InvalidModelName,
    ModelName,
)

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)
_LONGEST_PART = 80


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """See `server.models.model.Model`. `upstream_name` is what the other server calls it."""

    name: ModelName
    upstream_name: str
    digest: str
    size: int = 0
    modified_ns: int = 0
    problem: str | None = None
    capabilities: tuple[str, ...] = ("completion",)
    details: Details = Details()
    manner_template: str | None = None
    system: str | None = None
    messages: tuple[Message, ...] = ()
    parameters: dict[str, Any] = {}
    parameters_text: str = ""
    license_text: str = ""
    template_text: str = ""
    modelfile_text: str = ""
    info: dict[str, Any] = {}
    projector: dict[str, Any] = {}
    tensor_list: list[dict[str, Any]] = []

    @property
    def jinja(self) -> None:
        """None is ever given to it here."""
        return None

    @property
    def key(self) -> ModelName:
        """Its name, whatever case it is asked for in."""
        return self.name.folded()

    @property
    def modified_text(self) -> str:
        """When it came there, as RFC 3339."""
        return datetime.fromtimestamp(self.modified_ns / 1e9, tz=UTC).astimezone().isoformat()

    def with_system(self, system: str) -> "ListedModel":
        """The same with another system text."""
        return msgspec.structs.replace(self, system=system)

    def with_modelfile(self, text: str) -> "ListedModel":
        """The same with that Modelfile."""
        return msgspec.structs.replace(self, modelfile_text=text)

    def check(self) -> None:
        """Raise `ModelUnusable` if it cannot be served."""
        if self.problem is not None:
            raise ModelUnusable(f"{self.name.display()} cannot be served: {self.problem}")

    def model_info(self, *, verbose: bool = False) -> Mapping[str, Any]:
        return self.info

    def projector_info(self, *, verbose: bool = False) -> Mapping[str, Any]:
        return self.projector

    def tensors(self) -> list[dict[str, Any]]:
        return self.tensor_list


def digest_of(*facts: str) -> str:
    """For a model whose files nobody has hashed: SHA-256 of what is known of it."""
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def name_of(upstream_name: str) -> ModelName:
    """What a model is called here. Of a name that is none here, such as a path, the last part
    counts, with what may stand in a name."""
    try:
        return ModelName.parse(upstream_name)
    except InvalidModelName:
        last = upstream_name.rstrip("/").rpartition("/")[2]
        kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in last)
        return ModelName(
            DEFAULT_HOST, DEFAULT_NAMESPACE, kept.lstrip(".-")[:80] or "model", "latest"
        )


def modelfile_of(model: ListedModel) -> str:
    """The Modelfile of a model that brings only its name."""
    return modelfile.render(
        model.name.display(),
        [],
        template=model.template_text,
        system=model.system,
        parameters=model.parameters,
        messages=model.messages,
        licenses=(),
    )
