"""The bodies of Anthropic's Messages API.

Fields of requests that nothing here depends on (`cache_control`, `citations`, `metadata`,
`service_tier`, `signature`) are not named and so ignored.
"""

from typing import Any

import msgspec

from server.api.named_events import NamedEvent


class TextPart(msgspec.Struct, kw_only=True):
    """A block where only text can stand."""

    type: str = ""
    text: str = ""


class Source(msgspec.Struct, kw_only=True):
    """Where an image or a document is: in the body or elsewhere."""

    type: str = ""
    media_type: str = ""
    data: str = ""
    content: str | list[TextPart] = ""


class Part(TextPart, kw_only=True):
    """A block of a tool's result. `source` of a search result is a text."""

    source: str | Source = ""
    title: str = ""
    context: str = ""
    content: str | list[TextPart] = ""


class Block(TextPart, kw_only=True):
    """A block of a turn: the fields of all kinds together."""

    source: str | Source = ""
    title: str = ""
    context: str = ""
    content: str | list[Part] = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}
    tool_use_id: str = ""
    is_error: bool = False


class Turn(msgspec.Struct, kw_only=True):
    """An item of `messages`."""

    role: str = ""
    content: str | list[Block] = ""


class CustomTool(msgspec.Struct, kw_only=True):
    """An item of `tools`. One without a type is the client's own."""

    type: str = "custom"
    name: str = ""
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(msgspec.Struct, kw_only=True):
    """`tool_choice`"""

    type: str = ""
    name: str = ""
    disable_parallel_tool_use: bool = False


class ThinkingConfig(msgspec.Struct, kw_only=True):
    """`thinking`. A budget is the model's own affair here and not read."""

    type: str = ""


class OutputFormat(msgspec.Struct, kw_only=True):
    """`output_config.format`"""

    type: str = ""
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct, kw_only=True):
    """`output_config`"""

    effort: str = ""
    format: OutputFormat | None = None


class CountRequest(msgspec.Struct, kw_only=True):
    """POST /v1/messages/count_tokens. `output_format` is where `output_config.format` was
    before, `keep_alive` and `options` are Ollama's."""

    model: str = ""
    messages: list[Turn] = []
    system: str | list[TextPart] = ""
    tools: list[CustomTool] = []
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    keep_alive: Any = None
    options: dict[str, Any] = {}


class MessagesRequest(CountRequest, kw_only=True):
    """POST /v1/messages"""

    max_tokens: int = 0
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] = []


class TokensCount(msgspec.Struct, kw_only=True):
    """The reply of count_tokens."""

    input_tokens: int


class TextBlock(msgspec.Struct, tag_field="type", tag="text"):
    """Text of a reply."""

    text: str


class ThinkingBlock(msgspec.Struct, tag_field="type", tag="thinking"):
    """A thought of a reply. The signature is opaque; nobody checks it here."""

    thinking: str
    signature: str


class ToolUseBlock(msgspec.Struct, tag_field="type", tag="tool_use"):
    """A call in a reply."""

    id: str
    name: str
    input: dict[str, Any]


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock


class Usage(msgspec.Struct, kw_only=True):
    """Tokens. The prompt has `input_tokens` and, besides, those that were read from a cache."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int


class MessageUsage(Usage, kw_only=True):
    """`usage` of a message."""

    service_tier: str = "standard"


class AssistantMessage(msgspec.Struct, kw_only=True, tag_field="type", tag="message"):
    """A reply, or with an empty `content` the beginning of one."""

    id: str
    role: str = "assistant"
    model: str
    content: list[ContentBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage


class MessageStart(NamedEvent, kw_only=True, tag="message_start"):
    """The first event of a stream."""

    message: AssistantMessage


class Ping(NamedEvent, tag="ping"):
    """Says nothing."""


class ContentBlockStart(NamedEvent, kw_only=True, tag="content_block_start"):
    """A block begins; it is empty."""

    index: int
    content_block: ContentBlock


class TextDelta(msgspec.Struct, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(msgspec.Struct, tag_field="type", tag="thinking_delta"):
    """More of a thought."""

    thinking: str


class SignatureDelta(msgspec.Struct, tag_field="type", tag="signature_delta"):
    """The signature of a thought."""

    signature: str


class InputJSONDelta(msgspec.Struct, tag_field="type", tag="input_json_delta"):
    """More of a call's input, as JSON text."""

    partial_json: str


BlockDelta = TextDelta | ThinkingDelta | SignatureDelta | InputJSONDelta


class ContentBlockDelta(NamedEvent, kw_only=True, tag="content_block_delta"):
    """A block grows."""

    index: int
    delta: BlockDelta


class ContentBlockStop(NamedEvent, kw_only=True, tag="content_block_stop"):
    """A block ends."""

    index: int


class Stop(msgspec.Struct, kw_only=True):
    """Why a reply ended."""

    stop_reason: str
    stop_sequence: str | None


class MessageDelta(NamedEvent, kw_only=True, tag="message_delta"):
    """The reply is whole. The counts are totals."""

    delta: Stop
    usage: Usage


class MessageStop(NamedEvent, tag="message_stop"):
    """The last event of a stream."""


class ErrorObject(msgspec.Struct, kw_only=True):
    """`error` of an error."""

    type: str
    message: str


class Error(NamedEvent, kw_only=True, tag="error"):
    """An error, as the body of a reply or as the last event of a stream."""

    error: ErrorObject
    request_id: str


StreamEvent = (
    MessageStart
    | Ping
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
    | Error
)
