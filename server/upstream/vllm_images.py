"""Conversations with images over vLLM: they go there whole.

Only vLLM knows how its model's template and processor place an image, so it makes the prompt of
these itself. What the model says comes back as text, and is read here as always.
"""

from base64 import b64encode
from typing import Any

import msgspec

from server.api.conversation import conversation_of
from server.api.requests import ChatRequest
from server.chat.messages import Message
from server.image_header import read_image_header
from server.upstream.vllm_wire import Choice, Chunk, Logprobs, Timing, Usage

# Templates of models that see say where an image stands.
_IMAGE = "image"


def sees_images(template: str | None) -> bool:
    """Whether a model with this chat template reads images; vLLM does not say."""
    return template is not None and _IMAGE in template


class Delta(msgspec.Struct, frozen=True):
    """New text; `reasoning` comes instead from a vLLM that has a parser for it."""

    content: str | None = None
    reasoning: str | None = None


class TopLogprob(msgspec.Struct, frozen=True):
    """One of the best tokens."""

    token: str
    logprob: float


class ContentLogprob(msgspec.Struct, frozen=True):
    """The chosen token."""

    token: str
    logprob: float
    top_logprobs: list[TopLogprob] = []


class ChatLogprobs(msgspec.Struct, frozen=True):
    """Of the tokens of a chunk."""

    content: list[ContentLogprob] = []


class ChatChoice(msgspec.Struct, frozen=True):
    """As in a completion, but with a delta."""

    delta: Delta = Delta()
    token_ids: list[int] | None = None
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """A line of the stream of `/v1/chat/completions`."""

    choices: list[ChatChoice] = []
    usage: Usage | None = None
    metrics: Timing | None = None
    error: Any = None

    def as_completion(self) -> Chunk:
        """The same as a completion says it."""
        choices = [
            Choice(
                text=(choice.delta.reasoning or "") + (choice.delta.content or ""),
                token_ids=choice.token_ids,
                logprobs=_logprobs(choice.logprobs) if choice.logprobs else None,
                finish_reason=choice.finish_reason,
                stop_reason=choice.stop_reason,
            )
            for choice in self.choices
        ]
        return Chunk(choices, self.usage, self.metrics, self.error)


def chat_fields(request: ChatRequest) -> dict[str, Any]:
    """The conversation in OpenAI's words, and how vLLM is to make a prompt of it.

    It is told of tools but does not read calls (`tool_choice` none): that is done here.
    """
    conversation = conversation_of(request)
    goes_on = conversation.beginning is not None
    fields: dict[str, Any] = {
        "messages": [_message(message) for message in conversation.messages],
        "add_generation_prompt": not goes_on,
        "continue_final_message": goes_on,
    }
    if conversation.tools:
        fields |= {"tools": list(conversation.tools), "tool_choice": "none"}
    kwargs: dict[str, Any] = {}
    if conversation.thinking is not None:
        kwargs["enable_thinking"] = conversation.thinking
    if conversation.effort is not None:
        kwargs["reasoning_effort"] = conversation.effort
    return fields | ({"chat_template_kwargs": kwargs} if kwargs else {})


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.thinking:
        said["reasoning"] = message.thinking
    if message.tool_calls:
        said["tool_calls"] = [_call(call, at) for at, call in enumerate(message.tool_calls)]
    if message.tool_call_id:
        said["tool_call_id"] = message.tool_call_id
    return said


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.images:
        return message.content
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": _data_url(image)}} for image in message.images
    ]
    return [*parts, {"type": "text", "text": message.content}]


def _data_url(image: bytes) -> str:
    kind = read_image_header(image).format.lower()
    return f"data:image/{kind};base64,{b64encode(image).decode()}"


def _call(call: dict[str, Any], at: int) -> dict[str, Any]:
    function = call.get("function", {})
    arguments = msgspec.json.encode(function.get("arguments", {})).decode()
    return {
        "id": call.get("id") or f"call_{at}",
        "type": "function",
        "function": {"name": function.get("name", ""), "arguments": arguments},
    }


def _logprobs(found: ChatLogprobs) -> Logprobs:
    return Logprobs(
        tokens=[each.token for each in found.content],
        token_logprobs=[each.logprob for each in found.content],
        top_logprobs=[
            {top.token: top.logprob for top in each.top_logprobs} for each in found.content
        ],
    )
