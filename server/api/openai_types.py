"""The bodies of the requests of OpenAI's API.

`None` is what null and an absent field mean. Fields that change nothing here (`user`,
`metadata`, `store`, `service_tier` …) are not named, so they are ignored. What OpenAI does
not have is marked with where it comes from.
"""

from typing import Annotated, Any

import msgspec

from server.api.custom_tools import InputFormat
from server.api.functions import Function

Token = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class ImageURL(msgspec.Struct, kw_only=True):
    """`image_url` of a part."""

    url: str


class Part(msgspec.Struct, kw_only=True):
    """One part of a message's content."""

    type: str
    text: str | None = None
    image_url: ImageURL | str | None = None
    refusal: str | None = None


class PastFunction(msgspec.Struct, kw_only=True):
    """`function` of a call in a message. `arguments` is JSON text, or the object itself."""

    name: str
    arguments: str | dict[str, Any] | None = None


class PastCustom(msgspec.Struct, kw_only=True):
    """`custom` of a call in a message."""

    name: str
    input: str = ""


class PastCall(msgspec.Struct, kw_only=True):
    """A call that an earlier reply made, of one of the two kinds."""

    function: PastFunction | None = None
    custom: PastCustom | None = None
    id: str = ""
    type: str = "function"


class ChatMessage(msgspec.Struct, kw_only=True):
    """A message of any role. `reasoning` is Ollama's and vLLM's, `reasoning_content`
    llama.cpp's."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[PastCall] | None = None
    function_call: PastFunction | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class StreamOptions(msgspec.Struct, kw_only=True):
    """`stream_options`."""

    include_usage: bool | None = None


class JSONSchema(msgspec.Struct, kw_only=True):
    """`json_schema` of a response format. Here it always holds, `strict` or not."""

    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, kw_only=True):
    """`response_format`. `schema` beside `json_object` is llama.cpp's."""

    type: str
    json_schema: JSONSchema | None = None
    schema: dict[str, Any] | None = None


class StructuredOutputs(msgspec.Struct, kw_only=True):
    """`structured_outputs` of vLLM: one of these holds for the output."""

    json: dict[str, Any] | str | None = None
    json_object: bool | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None


class Reasoning(msgspec.Struct, kw_only=True):
    """`reasoning`."""

    effort: str | None = None


class TemplateOptions(msgspec.Struct, kw_only=True):
    """`chat_template_kwargs` of vLLM and llama.cpp, as far as they are understood."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class CustomParam(msgspec.Struct, kw_only=True):
    """`custom` of a tool."""

    name: str = ""
    description: str | None = None
    format: InputFormat | None = None


class ChatTool(msgspec.Struct, kw_only=True):
    """An item of `tools`, of one of the two kinds."""

    type: str = "function"
    function: Function = msgspec.field(default_factory=Function)
    custom: CustomParam | None = None


class GenerationBody(msgspec.Struct, kw_only=True):
    """What chat and completions have in common."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, Any] | None = None
    # Ollama's
    options: dict[str, Any] | None = None
    keep_alive: Any = None
    num_ctx: int | None = None
    truncate: bool | None = None
    shift: bool | None = None
    # vLLM's and llama.cpp's
    ignore_eos: bool | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    repeat_penalty: float | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None


class ChatBody(GenerationBody, kw_only=True):
    """POST /v1/chat/completions"""

    messages: list[ChatMessage] | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: Any = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    chat_template_kwargs: TemplateOptions | None = None


class CompletionBody(GenerationBody, kw_only=True):
    """POST /v1/completions"""

    prompt: Any = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None


class EmbeddingBody(msgspec.Struct, kw_only=True):
    """POST /v1/embeddings"""

    model: str | None = None
    input: Any = None
    encoding_format: str | None = None
    dimensions: int | None = None
    # Ollama's
    options: dict[str, Any] | None = None
    keep_alive: Any = None
    truncate: bool | None = None


class TokenizeBody(msgspec.Struct, kw_only=True):
    """POST /tokenize: a text as llama.cpp (`content`) or vLLM (`prompt`) name it, or a
    conversation."""

    model: str | None = None
    content: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    with_pieces: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeBody(msgspec.Struct, kw_only=True):
    """POST /detokenize"""

    model: str | None = None
    tokens: list[Token]
