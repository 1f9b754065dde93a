"""What OpenAI's API answers, field for field. A field that is UNSET is left out; null is said.

`truncated` and `shifted` are ours: tokens of the prompt, and of what had been read, that were
left out for want of room.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

FinishReason = Literal["stop", "length", "tool_calls", "function_call"]


class TokenLogprob(msgspec.Struct, kw_only=True):
    """One token that was considered."""

    token: str
    logprob: float
    bytes: list[int]


class ContentLogprob(TokenLogprob, kw_only=True):
    """The chosen token, and the best ones."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(msgspec.Struct, kw_only=True):
    """`logprobs` of a chat choice: of all tokens of the reply, thoughts too."""

    content: list[ContentLogprob]
    refusal: None = None


class CalledFunction(msgspec.Struct, kw_only=True):
    """A function's name and its arguments as JSON text."""

    name: str
    arguments: str


class CalledCustom(msgspec.Struct, kw_only=True):
    """A custom tool's name and the text it gets."""

    name: str
    input: str


class ToolCall(msgspec.Struct, kw_only=True):
    """A call. `index` is there in chunks only."""

    index: int | UnsetType = UNSET
    id: str


class FunctionToolCall(ToolCall, kw_only=True, tag_field="type", tag="function"):
    """The call of a function."""

    function: CalledFunction


class CustomToolCall(ToolCall, kw_only=True, tag_field="type", tag="custom"):
    """The call of a custom tool."""

    custom: CalledCustom


AnyToolCall = FunctionToolCall | CustomToolCall


class ReplyMessage(msgspec.Struct, kw_only=True):
    """The message of a whole reply. `content` is null where there are only calls."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning: str | UnsetType = UNSET
    tool_calls: list[AnyToolCall] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET


class ChatChoice(msgspec.Struct, kw_only=True):
    """One of the replies."""

    index: int
    message: ReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class PromptTokensDetails(msgspec.Struct, kw_only=True):
    """Of the tokens of the prompt, those that had been computed before."""

    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, kw_only=True):
    """Of the tokens of the replies, those of thoughts, with their tags."""

    reasoning_tokens: int


class Usage(msgspec.Struct, kw_only=True):
    """The tokens of a reply. A prompt counts once, however many replies it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class ChatCompletion(msgspec.Struct, kw_only=True):
    """The reply of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    truncated: int | UnsetType = UNSET
    shifted: int | UnsetType = UNSET


class Delta(msgspec.Struct, kw_only=True):
    """What a chunk adds to a message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[AnyToolCall] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, kw_only=True):
    """What a chunk adds to one of the replies."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(msgspec.Struct, kw_only=True):
    """A piece of the stream. `usage` is there, null or not, only if it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET
    truncated: int | UnsetType = UNSET
    shifted: int | UnsetType = UNSET


class TextLogprobs(msgspec.Struct, kw_only=True):
    """`logprobs` of a text choice. `text_offset` counts characters from the beginning of the
    choice's text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(msgspec.Struct, kw_only=True):
    """One of the texts, or what a chunk adds to it."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None = None


class TextCompletion(msgspec.Struct, kw_only=True):
    """The reply of /v1/completions, and a piece of its stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | UnsetType | None = UNSET
    truncated: int | UnsetType = UNSET
    shifted: int | UnsetType = UNSET


class Embedding(msgspec.Struct, kw_only=True):
    """One vector: numbers, or their little-endian 32-bit floats in base64."""

    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str
    index: int


class EmbeddingUsage(msgspec.Struct, kw_only=True):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct, kw_only=True):
    """The reply of /v1/embeddings."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    truncated: int | UnsetType = UNSET


class Model(msgspec.Struct, kw_only=True):
    """A model that can be served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(msgspec.Struct, kw_only=True):
    """The reply of /v1/models."""

    object: Literal["list"] = "list"
    data: list[Model]


class Piece(msgspec.Struct, kw_only=True):
    """A token and its text, as llama.cpp writes them."""

    id: int
    piece: str


class Tokenized(msgspec.Struct, kw_only=True):
    """The reply of /tokenize: vLLM's, in which llama.cpp's `tokens` is, too. With
    `with_pieces` they are `Piece`s."""

    tokens: list[int | Piece]
    count: int
    max_model_len: int
    token_strs: list[str] | UnsetType = UNSET


class Detokenized(msgspec.Struct, kw_only=True):
    """The reply of /detokenize: the text under llama.cpp's name and under vLLM's."""

    content: str
    prompt: str


class ErrorDetail(msgspec.Struct, kw_only=True):
    """What went wrong. `param` is the field that it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(msgspec.Struct, kw_only=True):
    """An error instead of a reply, or in the middle of a stream."""

    error: ErrorDetail
