"""Model names: `[host/][namespace/]model[:tag]`, as Ollama reads them.

Names are compared without regard to case and keep the case they were written in.
A name is also a path below the store, so nothing that could leave it is a name.
"""

import re

import msgspec

from server.errors import InvalidRequest

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)
_SCHEMES = ("https://", "http://")


class InvalidModelName(InvalidRequest):
    """A text that cannot name a model."""

    code = "invalid_model_name"


class ModelName(msgspec.Struct, frozen=True, order=True):
    """A model's name with every part filled in.

    Two names are equal if they are spelled the same; `same_as` is the comparison
    that finds models.
    """

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Read a name, filling in the defaults. Raises `InvalidModelName`."""
        rest = text.strip()
        for scheme in _SCHEMES:
            rest = rest.removeprefix(scheme)
        rest, tag = _split_tag(rest)
        parts = rest.split("/")
        if len(parts) > 3:
            raise _invalid(text)
        model = parts.pop()
        namespace = parts.pop() if parts else DEFAULT_NAMESPACE
        host = parts.pop() if parts else DEFAULT_HOST
        name = cls(host, namespace, model, tag)
        if not name._is_valid():
            raise _invalid(text)
        return name

    def _is_valid(self) -> bool:
        return bool(
            _HOST.fullmatch(self.host)
            and _NAMESPACE.fullmatch(self.namespace)
            and _PART.fullmatch(self.model)
            and _PART.fullmatch(self.tag)
        )

    def same_as(self, other: "ModelName") -> bool:
        """Whether both name the same model: case does not count."""
        return self.folded() == other.folded()

    def folded(self) -> "ModelName":
        """The name in lower case, to compare and to look up by."""
        return ModelName(*(part.lower() for part in self.parts()))

    def parts(self) -> tuple[str, str, str, str]:
        """Host, namespace, model and tag: the path of the manifest."""
        return (self.host, self.namespace, self.model, self.tag)

    def display(self) -> str:
        """The short form: without default host and namespace, always with the tag."""
        name = f"{self.model}:{self.tag}"
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{name}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{name}"
        return name

    def full(self) -> str:
        """Every part written out."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"


def _split_tag(text: str) -> tuple[str, str]:
    """The tag is behind the last colon, unless that colon belongs to the host's port."""
    head, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        return text, DEFAULT_TAG
    return head, tag


def _invalid(text: str) -> InvalidModelName:
    shown = text if len(text) <= 100 else text[:100] + "…"
    return InvalidModelName(
        f'name "{shown}" is invalid',
        hint="a name looks like smollm2:135m or host/namespace/model:tag",
    )
