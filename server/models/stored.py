"""A model of the store: what `/api/tags` and `/api/show` tell about it.

A value without a connection to the store. A model that cannot be served is one
too: its `problem` says why, and whoever wants to run it calls `check` first.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from server.errors import ModelUnusable
from server.models import modelfile, splits
from server.models.gguf import GGUFHeader, Value, read_header
from server.models.manifest import Config, Message
from server.models.model import Details
from server.models.model_files import Adapter, ModelFiles
from server.models.name import ModelName


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model as it lies on disk.

    `digest` is the SHA-256 of the manifest in hex, `size` the bytes of all its blobs.
    `weights` and `header` are there whenever `problem` is None. `template` is a Go
    template from a layer; the Jinja ones are in the header, and `jinja` is one that was
    given to the model here and goes before those. Weights that are split over several
    files are named by the first one.
    """

    name: ModelName
    digest: str
    size: int
    modified_ns: int
    weights: Path | None = None
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()
    header: GGUFHeader | None = None
    problem: str | None = None
    hint: str = ""
    config: Config = Config()
    system: str | None = None
    template: str | None = None
    jinja: str | None = None
    parameters: dict[str, Any] = {}
    messages: tuple[Message, ...] = ()
    licenses: tuple[str, ...] = ()

    def check(self) -> tuple[Path, GGUFHeader]:
        """The weights and their header. Raises `ModelUnusable` if it cannot be served."""
        if self.problem is None and self.weights is not None and self.header is not None:
            return self.weights, self.header
        reason = self.problem or "it has no weights"
        raise ModelUnusable(f"{self.name.display()} cannot be served: {reason}", hint=self.hint)

    def files(self) -> ModelFiles:
        """What is loaded to serve it. Raises `ModelUnusable` like `check`."""
        weights, _ = self.check()
        adapters = tuple(Adapter(path) for path in self.adapters)
        return ModelFiles(weights, adapters, self.projector)

    def with_system(self, system: str) -> "StoredModel":
        """The same with another system text."""
        return msgspec.structs.replace(self, system=system)

    @property
    def key(self) -> ModelFiles:
        """The same: under this it is loaded."""
        return self.files()

    @property
    def manner_template(self) -> str | None:
        """The chat template whose text shows how its replies are written."""
        if self.header is None:
            return self.jinja
        return self.jinja or self.header.chat_templates.get("tool_use") or self.header.chat_template

    @property
    def modified_at(self) -> datetime:
        """When the manifest was written, in local time (to the microsecond)."""
        return datetime.fromtimestamp(self.modified_ns / 1e9, tz=UTC).astimezone()

    @property
    def modified_text(self) -> str:
        """The same as RFC 3339 with local offset and nanoseconds, as Ollama writes it."""
        seconds, nanoseconds = divmod(self.modified_ns, 10**9)
        moment = datetime.fromtimestamp(seconds, tz=UTC).astimezone().isoformat()
        return f"{moment[:19]}.{nanoseconds:09d}{moment[19:]}"

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do here, in Ollama's words; nothing if it cannot be served."""
        if self.problem is not None or self.header is None:
            return ()
        if self.header.only_ranks:
            return ()
        if self.header.only_embeds:
            return ("embedding",)
        insert = ("insert",) if self.header.has_fim else ()
        vision = ("vision",) if self.projector is not None else ()
        return ("completion", *insert, *vision)

    @property
    def details(self) -> Details:
        """Facts of the file; where it cannot be read, those that its config remembers."""
        header = self.header
        family = self.config.model_family or (header.architecture if header else "")
        families = self.config.model_families or ([family] if family else None)
        return Details(
            format=self.config.model_format or ("gguf" if header else ""),
            family=family,
            families=families,
            parameter_size=header.parameter_size if header else self.config.model_type,
            quantization_level=header.quantization_level if header else self.config.file_type,
            context_length=header.context_length if header else 0,
            embedding_length=header.embedding_length if header else 0,
        )

    @property
    def license_text(self) -> str:
        """Its licenses, one after the other."""
        return "\n".join(self.licenses)

    @property
    def parameters_text(self) -> str:
        """Its default options, one a line, names padded to 30 columns."""
        return modelfile.parameters_text(self.parameters)

    @property
    def template_text(self) -> str:
        """The template that its replies are made with: its own layers, else the file's."""
        return self.jinja or self.template or (self.header and self.header.chat_template) or ""

    @property
    def modelfile_text(self) -> str:
        """The Modelfile that would make it again."""
        return modelfile.render(
            self.name.display(),
            [path for path in (self.weights, self.projector) if path],
            adapters=self.adapters,
            template=self.template_text,
            system=self.system,
            parameters=self.parameters,
            messages=self.messages,
            licenses=self.licenses,
        )

    def model_info(self, *, verbose: bool = False) -> dict[str, Value]:
        """The `model_info` of `/api/show`: the header's fields without name and template.

        Long arrays are None unless `verbose`, which reads the file again and blocks.
        """
        return _model_info(self._header(verbose))

    def projector_info(self, *, verbose: bool = False) -> dict[str, Value]:
        """The `projector_info` of `/api/show`, by the same rules; reads the file and blocks."""
        if self.projector is None:
            return {}
        return _model_info(read_header(self.projector, whole=verbose))

    def tensors(self) -> list[dict[str, Any]]:
        """The `tensors` of a verbose `/api/show`; reads the file and blocks."""
        header = self._header(whole=True)
        return [
            {"name": tensor.name, "type": tensor.type_name, "shape": list(tensor.shape)}
            for tensor in (header.tensors if header else ())
        ]

    def _header(self, whole: bool) -> GGUFHeader | None:
        if whole and self.header is not None and self.weights is not None:
            return splits.read_whole(self.weights)
        return self.header


def _model_info(header: GGUFHeader | None) -> dict[str, Value]:
    if header is None:
        return {}
    hidden = {"general.name", "tokenizer.chat_template"}
    fields = {key: value for key, value in header.metadata.items() if key not in hidden}
    fields["general.parameter_count"] = header.parameter_count
    return dict(sorted(fields.items()))
