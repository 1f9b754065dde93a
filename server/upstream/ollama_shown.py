"""What Ollama tells of its models, as models of ours. Pure."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from server.engine.entry import FOREVER
from server.engine.types import ModelInfo
from server.errors import InvalidRequest
from server.models import parameters
from server.upstream.listed import ListedModel, name_of
from server.upstream.ollama_requests import IGNORED_OPTIONS
from server.upstream.ollama_wire import Running, Shown, Tag

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
# Of a model of which nobody says it; no request asks for so much.
_UNKNOWN_WINDOW: Final = 1 << 31
# What the text of a Go template shows.
_IN_TEMPLATES: Final = {"tools": ".Tools", "insert": ".Suffix", "thinking": ".Thinking"}


def listed(tag: Tag) -> ListedModel:
    """A model as the list has it."""
    return ListedModel(
        name=name_of(tag.name),
        upstream_name=tag.name,
        digest=tag.digest.removeprefix("sha256:"),
        size=tag.size,
        modified_ns=_moment_ns(tag.modified_at),
        capabilities=tuple(tag.capabilities or ()),
        details=tag.details,
    )


def described(model: ListedModel, shown: Shown) -> ListedModel:
    """The same with what is known of it alone."""
    info = shown.model_info or {}
    return msgspec.structs.replace(
        model,
        capabilities=_capabilities(shown),
        details=model.details if model.details.format else shown.details,
        system=shown.system or None,
        messages=tuple(shown.messages or ()),
        parameters=parameters_of(shown.parameters),
        parameters_text=shown.parameters,
        license_text=shown.license,
        template_text=shown.template,
        modelfile_text=shown.modelfile,
        info=info,
        projector=shown.projector_info or {},
        tensor_list=shown.tensors or [],
    )


def _capabilities(shown: Shown) -> tuple[str, ...]:
    """What it can do. Versions that do not say it are asked for what shows it."""
    if shown.capabilities is not None:
        return tuple(shown.capabilities)
    info = shown.model_info or {}
    if _of_architecture(info, "pooling_type") is not None:
        return ("embedding",)
    found = [name for name, sign in _IN_TEMPLATES.items() if sign in shown.template]
    sees = shown.projector_info or _of_architecture(info, "vision.block_count") is not None
    return ("completion", *(("vision",) if sees else ()), *found)


def parameters_of(text: str) -> dict[str, Any]:
    """The parameters of a model: one a line, a name and a value as Go writes it. What is not
    known here, or makes no sense, is left to Ollama."""
    found: dict[str, Any] = {}
    for name, value in parameters.from_lines(list(_lines(text))).items():
        try:
            found |= parameters.checked({name: value})[0]
        except InvalidRequest:
            continue
    return found


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        yield name, _unquoted(value.strip())


def _unquoted(value: str) -> str:
    """Go's escapes are Python's, too."""
    if not _QUOTED.fullmatch(value):
        return value
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def info_of(model: ListedModel, running: Running | None) -> ModelInfo:
    """What the core has to know. The window is the one that is loaded, else the model's own."""
    trained = _of_architecture(model.info, "context_length") or model.details.context_length
    own = model.parameters.get("num_ctx", 0)
    window = running.context_length if running else 0
    return ModelInfo(
        architecture=str(model.info.get("general.architecture", model.details.family)),
        context=window or min(own or _UNKNOWN_WINDOW, trained or _UNKNOWN_WINDOW),
        context_train=trained,
        parallel=1,
        vocab_size=0,
        size_bytes=model.size,
        memory_bytes=running.size if running else 0,
        bos="",
        eos="",
        add_bos=False,
        chat_template=None,
        control_tokens=(),
        fim=None,
        can_shift=True,
        can_generate="completion" in model.capabilities,
        has_vision="vision" in model.capabilities,
        ignored_options=IGNORED_OPTIONS,
    )


def _of_architecture(info: dict[str, Any], name: str) -> int | None:
    value = info.get(f"{info.get('general.architecture')}.{name}")
    return value if isinstance(value, int) and value >= 0 else None


def expires_at(running: Running) -> datetime:
    """When it is unloaded; for ever if nobody says."""
    return _moment(running.expires_at) or datetime.now(UTC) + FOREVER


def _moment_ns(text: str) -> int:
    moment = _moment(text)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000 if moment else 0


def _moment(text: str) -> datetime | None:
    """RFC 3339; what is finer than a microsecond is left out."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 1970 <= moment.year < 9000:  # Go's zero, for one, which no time zone can hold
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
