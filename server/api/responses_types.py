"""The bodies of OpenAI's Responses API.

Fields of requests that nothing here depends on (`store`, `text.verbosity`, other things to
`include` than logprobs) are accepted; what they would change is not done, and the reply says so.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from server.api.custom_tools import InputFormat
from server.api.named_events import NamedEvent
from server.api.openai_objects import ContentLogprob


class Part(msgspec.Struct, kw_only=True):
    """A part of a message, of a reasoning item or of a function's output."""

    type: str = ""
    text: str = ""
    refusal: str = ""
    image_url: str = ""
    file_id: str = ""


class Item(msgspec.Struct, kw_only=True):
    """An item of `input`: the fields of all kinds together. One without a type is a message
    if it has a role, and else a reference."""

    type: str = ""
    role: str = ""
    content: str | list[Part] = ""
    id: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    input: str = ""
    output: str | list[Part] = ""
    summary: list[Part] = []


class ToolParam(msgspec.Struct, kw_only=True):
    """An item of `tools` in a request: the fields of all kinds together."""

    type: str = ""
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: InputFormat | None = None


class ShownFunction(msgspec.Struct, kw_only=True, tag_field="type", tag="function"):
    """A function as a reply repeats it."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class ShownCustom(msgspec.Struct, kw_only=True, tag_field="type", tag="custom"):
    """A custom tool as a reply repeats it."""

    name: str
    description: str | None
    format: InputFormat


ShownTool = ShownFunction | ShownCustom


class Format(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`text.format`, in requests and in replies."""

    type: str
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Text(msgspec.Struct, kw_only=True):
    """`text`, in requests and in replies."""

    format: Format = msgspec.field(default_factory=lambda: Format(type="text"))
    verbosity: str = "medium"


class Reasoning(msgspec.Struct, kw_only=True):
    """`reasoning`, in requests and in replies. What the model thinks is told whole, whatever
    kind of summary is asked for."""

    effort: str | None = None
    summary: str | None = None


class ResponsesRequest(msgspec.Struct, kw_only=True):
    """POST /v1/responses. The last four are Ollama's options, as in OpenAI's other routes."""

    model: str = ""
    input: str | list[Item] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    include: list[str] = []
    top_logprobs: int = 0
    tools: list[ToolParam] = []
    tool_choice: Any = None
    parallel_tool_calls: bool = True
    max_tool_calls: int | None = None
    text: Text = msgspec.field(default_factory=Text)
    reasoning: Reasoning = msgspec.field(default_factory=Reasoning)
    truncation: str = "disabled"
    stream: bool = False
    background: bool = False
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    metadata: dict[str, str] = {}
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    keep_alive: Any = None
    options: dict[str, Any] = {}
    num_ctx: Any = None
    ignore_eos: Any = None


class EventTopLogprob(msgspec.Struct, kw_only=True):
    """One token that was considered, as streams tell it."""

    token: str
    logprob: float


class EventLogprob(EventTopLogprob, kw_only=True):
    """The chosen token and the best ones, as streams tell them: without their bytes."""

    top_logprobs: list[EventTopLogprob]

    @classmethod
    def of(cls, whole: ContentLogprob) -> "EventLogprob":
        top = [EventTopLogprob(token=t.token, logprob=t.logprob) for t in whole.top_logprobs]
        return cls(token=whole.token, logprob=whole.logprob, top_logprobs=top)


class OutputText(msgspec.Struct, kw_only=True, tag_field="type", tag="output_text"):
    """The text of a message."""

    text: str
    annotations: list[Any] = []
    logprobs: list[ContentLogprob] = []


class OutputMessage(msgspec.Struct, kw_only=True, tag_field="type", tag="message"):
    """An item of `output`: what the model says."""

    id: str
    status: str
    role: str = "assistant"
    content: list[OutputText]


class SummaryText(msgspec.Struct, kw_only=True, tag_field="type", tag="summary_text"):
    """The text of a thought."""

    text: str


class ReasoningItem(msgspec.Struct, kw_only=True, tag_field="type", tag="reasoning"):
    """An item of `output`: what the model thinks."""

    id: str
    status: str
    summary: list[SummaryText]
    encrypted_content: str | None = None


class FunctionCall(msgspec.Struct, kw_only=True, tag_field="type", tag="function_call"):
    """An item of `output`: a call; `arguments` is JSON text."""

    id: str
    status: str
    call_id: str
    name: str
    arguments: str


class CustomCall(msgspec.Struct, kw_only=True, tag_field="type", tag="custom_tool_call"):
    """An item of `output`: the call of a custom tool; `input` is the text it gets."""

    id: str
    call_id: str
    name: str
    input: str


OutputItem = OutputMessage | ReasoningItem | FunctionCall | CustomCall


class InputTokensDetails(msgspec.Struct, kw_only=True):
    """Tokens of the prompt that were read from a cache; none are paid for to be written."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct, kw_only=True):
    """Tokens of the thoughts, with their tags."""

    reasoning_tokens: int


class Usage(msgspec.Struct, kw_only=True):
    """Tokens of a reply; the cached ones are among those of the prompt."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Failure(msgspec.Struct, kw_only=True):
    """`error` of a reply that failed."""

    code: str
    message: str


class IncompleteDetails(msgspec.Struct, kw_only=True):
    """Why a reply is not whole."""

    reason: str


class Response(msgspec.Struct, kw_only=True):
    """A reply, at its beginning or at its end. `truncated` is ours: tokens of the prompt that
    were left out for want of room."""

    id: str
    object: str = "response"
    created_at: int
    status: str = "in_progress"
    background: bool = False
    completed_at: int | None = None
    error: Failure | None = None
    frequency_penalty: float = 0.0
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool
    presence_penalty: float = 0.0
    previous_response_id: None = None
    prompt_cache_key: str | None
    reasoning: Reasoning
    safety_identifier: str | None
    service_tier: str = "default"
    store: bool = False
    temperature: float
    text: Text
    tool_choice: Any
    tools: list[ShownTool]
    top_logprobs: int = 0
    top_p: float
    truncation: str
    usage: Usage | None = None
    user: str | None
    metadata: dict[str, str]
    truncated: int | UnsetType = UNSET


class Event(NamedEvent, kw_only=True):
    """An event of a stream. They are numbered when they are sent."""

    sequence_number: int = 0


class Created(Event, kw_only=True, tag="response.created"):
    """The first event."""

    response: Response


class InProgress(Event, kw_only=True, tag="response.in_progress"):
    """The second event."""

    response: Response


class Completed(Event, kw_only=True, tag="response.completed"):
    """The last event of a reply that is whole."""

    response: Response


class Incomplete(Event, kw_only=True, tag="response.incomplete"):
    """The last event of a reply that was cut off."""

    response: Response


class Failed(Event, kw_only=True, tag="response.failed"):
    """The last event of a reply that cannot go on."""

    response: Response


class ItemAdded(Event, kw_only=True, tag="response.output_item.added"):
    """An item begins."""

    output_index: int
    item: OutputItem


class ItemDone(Event, kw_only=True, tag="response.output_item.done"):
    """An item is whole, or as whole as it gets."""

    output_index: int
    item: OutputItem


class ItemEvent(Event, kw_only=True):
    """What happens inside of an item."""

    item_id: str
    output_index: int


class PartEvent(ItemEvent, kw_only=True):
    """What happens inside of a message's part; it has one."""

    content_index: int = 0


class PartAdded(PartEvent, kw_only=True, tag="response.content_part.added"):
    """The part begins."""

    part: OutputText


class PartDone(PartEvent, kw_only=True, tag="response.content_part.done"):
    """The part is whole."""

    part: OutputText


class TextDelta(PartEvent, kw_only=True, tag="response.output_text.delta"):
    """More text."""

    delta: str
    logprobs: list[EventLogprob] = msgspec.field(default_factory=list)


class TextDone(PartEvent, kw_only=True, tag="response.output_text.done"):
    """All of the text."""

    text: str
    logprobs: list[EventLogprob] = msgspec.field(default_factory=list)


class SummaryEvent(ItemEvent, kw_only=True):
    """What happens inside of a thought's part; it has one."""

    summary_index: int = 0


class SummaryPartAdded(SummaryEvent, kw_only=True, tag="response.reasoning_summary_part.added"):
    """The part begins."""

    part: SummaryText


class SummaryPartDone(SummaryEvent, kw_only=True, tag="response.reasoning_summary_part.done"):
    """The part is whole."""

    part: SummaryText


class SummaryDelta(SummaryEvent, kw_only=True, tag="response.reasoning_summary_text.delta"):
    """More of the thought."""

    delta: str


class SummaryDone(SummaryEvent, kw_only=True, tag="response.reasoning_summary_text.done"):
    """All of the thought."""

    text: str


class ArgumentsDelta(ItemEvent, kw_only=True, tag="response.function_call_arguments.delta"):
    """More of a call's arguments."""

    delta: str


class ArgumentsDone(ItemEvent, kw_only=True, tag="response.function_call_arguments.done"):
    """All of a call's arguments."""

    arguments: str


class CustomInputDelta(ItemEvent, kw_only=True, tag="response.custom_tool_call_input.delta"):
    """More of the text that a custom tool gets."""

    delta: str


class CustomInputDone(ItemEvent, kw_only=True, tag="response.custom_tool_call_input.done"):
    """All of that text."""

    input: str


StreamEvent = (
    Created
    | InProgress
    | Completed
    | Incomplete
    | Failed
    | ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | TextDelta
    | TextDone
    | SummaryPartAdded
    | SummaryPartDone
    | SummaryDelta
    | SummaryDone
    | ArgumentsDelta
    | ArgumentsDone
    | CustomInputDelta
    | CustomInputDone
)
