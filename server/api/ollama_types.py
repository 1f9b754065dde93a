"""The bodies of Ollama's API, field for field and in its order.

A field with a default is left out when it has that value (Go's `omitempty`). The
names of the request structs are Ollama's: they appear in its error texts.
"""

from typing import Annotated, Any

import msgspec

from server.api.functions import ToolDefinition
from server.models.model import Details
from server.models.pull import Progress as Progress


def _shown(*kinds: dict[str, Any]) -> msgspec.Meta:
    """What the document says of a field that is read by hand."""
    return msgspec.Meta(extra_json_schema={"anyOf": [*kinds, {"type": "null"}]})


# Go's int, where the machine has 64 bits.
Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TEXT, _NUMBER, _OBJECT = {"type": "string"}, {"type": "number"}, {"type": "object"}
KeepAlive = Annotated[Any, _shown(_NUMBER, _TEXT)]
Format = Annotated[Any, _shown({"enum": ["", "json"]}, _OBJECT)]
ThinkField = Annotated[Any, _shown({"type": "boolean"}, {"enum": ["high", "medium", "low", "max"]})]
Inputs = Annotated[Any, _shown(_TEXT, {"type": "array", "items": _TEXT})]
ToolChoice = Annotated[Any, _shown({"enum": ["auto", "none", "required"]}, _OBJECT)]


class Error(msgspec.Struct, kw_only=True):
    """What a failure says."""

    error: str


class Message(msgspec.Struct, kw_only=True):
    """A message in a request."""

    role: str = ""
    content: str = ""
    thinking: str = ""
    images: list[str] = []
    tool_calls: list[dict[str, Any]] = []
    tool_name: str = ""
    tool_call_id: str = ""


class GenerationRequest(msgspec.Struct, kw_only=True):
    """What generate and chat have in common."""

    model: str = ""
    stream: bool = True
    format: Format = None
    keep_alive: KeepAlive = None
    options: dict[str, Any] = {}
    think: ThinkField = None
    truncate: bool = True
    shift: bool = True
    logprobs: bool = False
    top_logprobs: Int = 0
    debug_render_only: bool = msgspec.field(default=False, name="_debug_render_only")


class GenerateRequest(GenerationRequest, kw_only=True):
    """POST /api/generate"""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[Int] | None = None
    raw: bool = False
    images: list[str] = []


class ChatRequest(GenerationRequest, kw_only=True):
    """POST /api/chat"""

    messages: list[Message] = []
    tools: list[ToolDefinition] = []
    tool_choice: ToolChoice = None


class EmbedRequest(msgspec.Struct, kw_only=True):
    """POST /api/embed"""

    model: str = ""
    input: Inputs = None
    keep_alive: KeepAlive = None
    truncate: bool = True
    dimensions: Int = 0
    options: dict[str, Any] = {}


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """POST /api/embeddings, the older route for one text"""

    model: str = ""
    prompt: str = ""
    keep_alive: KeepAlive = None
    options: dict[str, Any] = {}


class ShowRequest(msgspec.Struct, kw_only=True):
    """POST /api/show"""

    model: str = ""
    name: str = ""
    verbose: bool = False
    system: str = ""
    template: str = ""
    options: dict[str, Any] = {}


class PullRequest(msgspec.Struct, kw_only=True):
    """POST /api/pull"""

    model: str = ""
    name: str = ""
    insecure: bool = False
    stream: bool = True


class CreatedMessage(msgspec.Struct, kw_only=True):
    """An example message of a model."""

    role: str = ""
    content: str = ""


class CreateRequest(msgspec.Struct, kw_only=True):
    """POST /api/create. `template` is Jinja here."""

    model: str = ""
    name: str = ""
    from_: str = msgspec.field(default="", name="from")
    files: dict[str, str] = {}
    adapters: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    template: str = ""
    system: str = ""
    messages: list[CreatedMessage] = []
    license: str | list[str] = ""
    quantize: str = ""
    quantization: str = ""
    stream: bool = True


class CopyRequest(msgspec.Struct, kw_only=True):
    """POST /api/copy"""

    source: str = ""
    destination: str = ""


class DeleteRequest(msgspec.Struct, kw_only=True):
    """DELETE /api/delete"""

    model: str = ""
    name: str = ""


class TokenLogprob(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One token that was considered."""

    token: str
    logprob: float
    bytes: list[int] = []


class Logprob(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The chosen token, and the best ones if they were asked for."""

    token: str
    logprob: float
    bytes: list[int] = []
    top_logprobs: list[TokenLogprob] = []


class DebugInfo(msgspec.Struct):
    """What `_debug_render_only` shows."""

    rendered_template: str


class Generated(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A reply of /api/generate, or a piece of one. `truncated` and `shifted` are ours: tokens
    of the prompt, and of what had been read, that were left out for want of room."""

    model: str
    created_at: str
    response: str
    thinking: str = ""
    done: bool
    done_reason: str = ""
    context: list[int] = []
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    debug_info: DebugInfo | None = msgspec.field(default=None, name="_debug_info")
    logprobs: list[Logprob] = []
    truncated: int = 0
    shifted: int = 0


class CalledFunction(msgspec.Struct, kw_only=True):
    """`function` of a call."""

    index: int
    name: str
    arguments: dict[str, Any]


class ToolCall(msgspec.Struct, kw_only=True):
    """A call in a reply."""

    id: str
    function: CalledFunction


class Reply(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The message in a reply of /api/chat."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: list[ToolCall] = []


class Chatted(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A reply of /api/chat, or a piece of one; `truncated` and `shifted` as above."""

    model: str
    created_at: str
    message: Reply
    done: bool
    done_reason: str = ""
    debug_info: DebugInfo | None = msgspec.field(default=None, name="_debug_info")
    logprobs: list[Logprob] = []
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    truncated: int = 0
    shifted: int = 0


class Embedded(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The reply of /api/embed; `truncated` as above."""

    model: str
    embeddings: list[list[float]]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    truncated: int = 0


class Embedding(msgspec.Struct, kw_only=True):
    """The reply of /api/embeddings."""

    embedding: list[float]


class TagDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`details` of a model. The first six are always there."""

    parent_model: str
    format: str
    family: str
    families: list[str] | None
    parameter_size: str
    quantization_level: str
    context_length: int = 0
    embedding_length: int = 0

    @classmethod
    def of(cls, details: Details) -> "TagDetails":
        """The same facts in the form of the wire."""
        return cls(**msgspec.structs.asdict(details))


class Tag(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An item of /api/tags."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: TagDetails
    capabilities: list[str] = []
    problem: str = ""


class Tags(msgspec.Struct, kw_only=True):
    """The reply of /api/tags."""

    models: list[Tag]


class Version(msgspec.Struct, kw_only=True):
    """The reply of /api/version."""

    version: str


class Running(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An item of /api/ps. The last four are ours: requests that are being answered, that
    wait, and that can be answered at once; the type of the weights if it is not the file's."""

    name: str
    model: str
    size: int
    digest: str
    details: TagDetails
    expires_at: str
    size_vram: int
    context_length: int
    num_running: int
    num_waiting: int
    parallel: int
    requantized: str = ""


class Processes(msgspec.Struct, kw_only=True):
    """The reply of /api/ps."""

    models: list[Running]


class Shown(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The reply of /api/show. `requantized` is ours: the type that the weights are computed
    in, if it is not the file's."""

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    details: TagDetails
    messages: list[dict[str, str]] = []
    model_info: dict[str, Any]
    projector_info: dict[str, Any] = {}
    tensors: list[dict[str, Any]] = []
    capabilities: list[str] = []
    modified_at: str
    requantized: str = ""
