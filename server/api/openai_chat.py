"""/v1/chat/completions"""

import msgspec
from litestar.types import ASGIApp

from server.api import openai_fields
from server.api.abilities import capabilities, require
from server.api.body import off_loop
from server.api.choices import run_choices
from server.api.core import Core
from server.api.openai_chat_replies import ChatEncoder
from server.api.openai_errors import InvalidField
from server.api.openai_formats import output_format
from server.api.openai_messages import conversation, image_characters
from server.api.openai_replies import Head
from server.api.openai_tools import custom_names, is_legacy, tool_use
from server.api.openai_types import ChatBody
from server.api.requests import ChatRequest
from server.api.stream import reply_with_events
from server.caller import Caller
from server.models.model import Model


async def chat(core: Core, body: ChatBody, caller: Caller) -> ASGIApp:
    """Answer a conversation, `n` times."""
    name = openai_fields.model_name(body.model)
    count = openai_fields.num_choices(body)
    model = await core.find(name, caller)
    asked = ChatRequest(
        model=model,
        messages=await off_loop(
            image_characters(body.messages), lambda: conversation(body.messages)
        ),
        tool_use=tool_use(body),
        think=openai_fields.think(body),
        generation=openai_fields.generation(
            body,
            defaults=openai_fields.CHAT_DEFAULTS,
            max_tokens=_limit(body),
            form=output_format(body),
            top_logprobs=openai_fields.top_logprobs(body.logprobs, body.top_logprobs),
            caller=caller,
        ),
    )
    _check_capabilities(model, name, asked)
    encoder = ChatEncoder(
        Head.of("chatcmpl-", name, model),
        num_choices=count,
        with_usage=bool(body.stream_options and body.stream_options.include_usage),
        is_legacy=is_legacy(body),
        custom=custom_names(body),
    )
    events = run_choices(core, [_choice(asked, at) for at in range(count)])
    return reply_with_events(events, encoder, stream=bool(body.stream))


def _limit(body: ChatBody) -> tuple[str, int | None]:
    """The field that says how long a reply may be, and what it says; the newer name wins."""
    if body.max_completion_tokens is not None:
        return "max_completion_tokens", body.max_completion_tokens
    return "max_tokens", body.max_tokens


def _choice(asked: ChatRequest, at: int) -> ChatRequest:
    moved = openai_fields.with_seed_of(asked.generation, at)
    return msgspec.structs.replace(asked, generation=moved)


def _check_capabilities(model: Model, name: str, asked: ChatRequest) -> None:
    """Raise `Unsupported` for what the model cannot do."""
    needs = {
        "tools": bool(asked.tool_use.shown),
        "vision": any(message.images for message in asked.messages),
    }
    require(model, name, "chat", *(need for need, is_needed in needs.items() if is_needed))
    if asked.think and "thinking" not in capabilities(model):
        raise InvalidField("reasoning_effort", f'"{name}" does not support thinking')
