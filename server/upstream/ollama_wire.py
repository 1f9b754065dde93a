"""What Ollama says and hears, as far as it is used here. Go leaves out what is zero, and writes
null for lists that have nothing in them."""

from typing import Annotated, Any

import msgspec

from server.models.manifest import Message
from server.models.model import Details

# Nothing that is counted is negative, or more than Go's int.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
Token = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """An item of `/api/tags`. Old versions say `name` only, and no capabilities."""

    name: str
    digest: str = ""
    size: Count = 0
    modified_at: str = ""
    details: Details = Details()
    capabilities: list[str] | None = None


class Tags(msgspec.Struct, frozen=True, kw_only=True):
    """`/api/tags`"""

    models: list[Tag] | None = None


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """An item of `/api/ps`."""

    name: str
    size: Count = 0
    size_vram: Count = 0
    expires_at: str = ""
    context_length: Count = 0


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """`/api/ps`"""

    models: list[Running] | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """`/api/show`"""

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    details: Details = Details()
    messages: list[Message] | None = None
    model_info: dict[str, Any] | None = None
    projector_info: dict[str, Any] | None = None
    tensors: list[dict[str, Any]] | None = None
    capabilities: list[str] | None = None


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """One token that was considered."""

    token: str
    logprob: float
    bytes: list[Byte] | None = None


class Logprob(TokenLogprob, frozen=True, kw_only=True):
    """The chosen token, and the best ones if they were asked for."""

    top_logprobs: list[TokenLogprob] | None = None


class CalledFunction(msgspec.Struct, frozen=True, kw_only=True):
    """`function` of a call."""

    name: str
    arguments: dict[str, Any] | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call in a reply. Its id and index are not read: old versions have none."""

    function: CalledFunction


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """`message` of a chunk."""

    content: str = ""
    thinking: str = ""
    tool_calls: list[Call] | None = None


class DebugInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What `_debug_render_only` shows."""

    rendered_template: str


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `/api/chat` or `/api/generate`. The durations are nanoseconds; the numbers are
    in the last one. `error` is text, or anything else that is not null."""

    message: Said = Said()
    response: str = ""
    thinking: str = ""
    tool_calls: list[Call] | None = None
    logprobs: list[Logprob] | None = None
    done: bool = False
    done_reason: str = ""
    context: list[Token] | None = None
    load_duration: Count = 0
    prompt_eval_count: Count = 0
    prompt_eval_duration: Count = 0
    eval_count: Count = 0
    eval_duration: Count = 0
    debug_info: DebugInfo | None = msgspec.field(default=None, name="_debug_info")
    error: Any = None


class Vectors(msgspec.Struct, frozen=True, kw_only=True):
    """`/api/embed`"""

    embeddings: list[list[float]] | None = None
    load_duration: Count = 0
    prompt_eval_count: Count = 0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `/api/pull` or `/api/create`. Beside an `error`, `status` may be that of HTTP."""

    status: str | int = ""
    digest: str = ""
    total: Count = 0
    completed: Count = 0
    error: Any = None
