"""OpenAI's Responses API: decode, ask the core, encode. Nothing is kept between requests."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server.api import gojson, ollama_fields, openai_efforts, openai_fields, responses_tools
from server.api import responses_types as wire
from server.api.abilities import capabilities, require
from server.api.body import read_json
from server.api.core import Core
from server.api.described import SSE_TYPE, Described, route_opt
from server.api.options import HOSTED_DEFAULTS, Options
from server.api.requests import ChatRequest, Generation
from server.api.resolving import sampling
from server.api.responses_input import NO_STORE, messages
from server.api.responses_replies import ResponseEncoder, new_id
from server.api.stream import reply_with_events
from server.auth import caller_of
from server.caller import Caller
from server.chat.messages import Message
from server.engine.types import Grammar
from server.errors import InvalidRequest, Unsupported
from server.keys import Scope
from server.models.model import Model

_LOGPROBS = "message.output_text.logprobs"
_SEND_ALL = "send the whole conversation as input"


def handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    """The routes, over one core."""

    @post(
        "/v1/responses",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "A response to text or items",
                request=wire.ResponsesRequest,
                reply=wire.Response,
                stream=(wire.StreamEvent,),
                stream_type=SSE_TYPE,
            ),
        ),
        status_code=200,
    )
    async def create(request: Request[Any, Any, Any]) -> ASGIApp:
        body, said = await read_json(request, _decode)
        return await _create(core, body, said, caller_of(request.scope))

    return [create]


def _decode(raw: bytes) -> tuple[wire.ResponsesRequest, tuple[Message, ...]]:
    """A body and the conversation in it."""
    body = gojson.decode(raw, wire.ResponsesRequest)
    _check(body)
    return body, messages(body)


async def _create(
    core: Core, body: wire.ResponsesRequest, said: Sequence[Message], caller: Caller
) -> ASGIApp:
    tool_use = responses_tools.tool_use(body)
    think = openai_efforts.think("reasoning.effort", body.reasoning.effort)
    model = await core.find(body.model, caller)
    needs = {"tools": tool_use.shown, "vision": any(message.images for message in said)}
    require(model, body.model, "chat", *(name for name, value in needs.items() if value))
    generation = _generation(body, caller)
    request = ChatRequest(
        model=model,
        messages=tuple(said),
        tool_use=tool_use,
        think=think if "thinking" in capabilities(model) else None,
        generation=generation,
    )
    encoder = ResponseEncoder(_begun(body, model, generation))
    return reply_with_events(core.run(request), encoder, stream=body.stream)


def _check(body: wire.ResponsesRequest) -> None:
    """Raise for what is missing, and for what would need a memory between requests."""
    if not body.model.strip():
        raise InvalidRequest("model is required")
    if not body.input:
        raise InvalidRequest("input is required")
    if body.background:
        raise Unsupported(f"background is not supported: {NO_STORE}", hint="use stream instead")
    for name in ("previous_response_id", "conversation"):
        if getattr(body, name):
            raise Unsupported(f"{name} is not supported: {NO_STORE}", hint=_SEND_ALL)
    if body.prompt:
        raise Unsupported(f"prompt is not supported: {NO_STORE}", hint="send its text")
    if body.max_output_tokens is not None and body.max_output_tokens <= 0:
        raise InvalidRequest("max_output_tokens must be positive")
    openai_fields.check_range("top_logprobs", body.top_logprobs, 0, openai_fields.MAX_TOP_LOGPROBS)
    if body.truncation not in ("auto", "disabled"):
        raise InvalidRequest("truncation must be 'auto' or 'disabled'")


def _generation(body: wire.ResponsesRequest, caller: Caller) -> Generation:
    may_cut = body.truncation == "auto"
    return Generation(
        options=_options(body),
        defaults=HOSTED_DEFAULTS,
        format=_format(body.text.format),
        keep_alive_s=ollama_fields.keep_alive(body.keep_alive),
        truncate=may_cut,
        shift=may_cut,
        top_logprobs=body.top_logprobs if _LOGPROBS in body.include else None,
        caller=caller,
    )


def _options(body: wire.ResponsesRequest) -> Options:
    extra = {"num_ctx": body.num_ctx, "ignore_eos": body.ignore_eos}
    own = {
        "num_predict": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
    }
    return msgspec.structs.replace(
        ollama_fields.options(body.options | _given(extra)), **_given(own)
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _format(form: wire.Format) -> Grammar | None:
    match form.type:
        case "text":
            return None
        case "json_object":
            return Grammar("json")
        case "json_schema":
            if form.schema is None:
                raise InvalidRequest("text.format.schema is required")
            return ollama_fields.output_format(form.schema)
    raise InvalidRequest("text.format.type must be 'text', 'json_object' or 'json_schema'")


def _begun(body: wire.ResponsesRequest, model: Model, generation: Generation) -> wire.Response:
    """The response before anything is said: what was asked for, and what is in force."""
    chosen = sampling(model, generation)
    # OpenAI has no effort beyond "max".
    effort = "max" if body.reasoning.effort == "ultra" else body.reasoning.effort
    return wire.Response(
        id=new_id("resp"),
        created_at=int(time.time()),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        model=body.model,
        parallel_tool_calls=body.parallel_tool_calls,
        presence_penalty=chosen.presence_penalty,
        frequency_penalty=chosen.frequency_penalty,
        prompt_cache_key=body.prompt_cache_key,
        reasoning=wire.Reasoning(effort=effort, summary=body.reasoning.summary),
        safety_identifier=body.safety_identifier,
        temperature=chosen.temperature,
        text=body.text,
        tool_choice=body.tool_choice or "auto",
        tools=responses_tools.shown(body.tools),
        top_logprobs=body.top_logprobs,
        top_p=chosen.top_p,
        truncation=body.truncation,
        user=body.user,
        metadata=body.metadata,
    )
