"""Anthropic's Messages API: decode, ask the core, encode.

Defaults are Anthropic's: temperature 1, no thinking unless it is asked for, and a prompt that
does not fit is an error instead of being cut.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server import limits
from server.api import anthropic_types as wire
from server.api import functions, gojson, ollama_fields
from server.api.abilities import capabilities, require
from server.api.anthropic_blocks import messages
from server.api.anthropic_replies import MessageEncoder, encode_error, reply_headers
from server.api.body import read_json
from server.api.core import Core
from server.api.described import SSE_TYPE, Described, route_opt
from server.api.dialect import Dialect
from server.api.functions import Function, ToolDefinition
from server.api.options import HOSTED_DEFAULTS, Options
from server.api.requests import ChatRequest, Generation, Think, ToolUse
from server.api.stream import reply, reply_with_events
from server.auth import caller_of
from server.caller import Caller
from server.chat.messages import Message
from server.engine.types import Grammar
from server.errors import InvalidRequest, Unsupported
from server.keys import Scope
from server.models.model import Model

B = TypeVar("B", bound=wire.CountRequest)
Said = tuple[Message, ...]

EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}
_CHOICES = {"": "auto", "auto": "auto", "any": "required", "none": "none"}


def handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    """The routes, over one core."""

    @post(
        "/v1/messages",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "The next message of a conversation",
                request=wire.MessagesRequest,
                reply=wire.AssistantMessage,
                stream=(wire.StreamEvent,),
                stream_type=SSE_TYPE,
            ),
        ),
        status_code=200,
    )
    async def create(request: Request[Any, Any, Any]) -> ASGIApp:
        body, said = await read_json(request, partial(_decode, struct=wire.MessagesRequest))
        return await _create(core, body, said, caller_of(request.scope))

    @post(
        "/v1/messages/count_tokens",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "How many tokens a conversation has",
                request=wire.CountRequest,
                reply=wire.TokensCount,
            ),
        ),
        status_code=200,
    )
    async def count_tokens(request: Request[Any, Any, Any]) -> ASGIApp:
        body, said = await read_json(request, partial(_decode, struct=wire.CountRequest))
        generation = _generation(body, Options(), caller_of(request.scope))
        count = await core.count_tokens(await _request(core, body, said, generation))
        return reply(msgspec.json.encode(wire.TokensCount(input_tokens=count)))

    return [create, count_tokens]


def _decode(raw: bytes, struct: type[B]) -> tuple[B, Said]:
    """A body and the conversation in it."""
    body = gojson.decode(raw, struct)
    _check(body)
    return body, messages(body)


async def _create(core: Core, body: wire.MessagesRequest, said: Said, caller: Caller) -> ASGIApp:
    request = await _request(core, body, said, _generation(body, _options(body), caller))
    most = caller.limits.clamp_output(body.max_tokens) or body.max_tokens
    encoder = MessageEncoder(body.model, stop_sequences=body.stop_sequences, max_tokens=most)
    return reply_with_events(core.run(request), encoder, stream=body.stream)


def _check(body: wire.CountRequest) -> None:
    """What must be there, in Ollama's order."""
    if not body.model.strip():
        raise InvalidRequest("model is required")
    if isinstance(body, wire.MessagesRequest) and body.max_tokens <= 0:
        raise InvalidRequest("max_tokens is required and must be positive")
    if not body.messages:
        raise InvalidRequest("messages is required")


async def _request(
    core: Core, body: wire.CountRequest, said: Said, generation: Generation
) -> ChatRequest:
    tool_use, think = _tool_use(body), _think(body)
    model = await core.find(body.model, generation.caller)
    _require(model, body.model, said, tool_use)
    can_think = "thinking" in capabilities(model)
    return ChatRequest(
        model=model,
        messages=said,
        tool_use=tool_use,
        think=think if can_think else None,
        generation=generation,
    )


def _require(model: Model, asked_name: str, said: Sequence[Message], tool_use: ToolUse) -> None:
    """Raise `Unsupported` for what the model cannot do. That it cannot think is no error."""
    needs = {"tools": tool_use.shown, "vision": any(message.images for message in said)}
    require(model, asked_name, "chat", *(name for name, value in needs.items() if value))


def _generation(body: wire.CountRequest, options: Options, caller: Caller) -> Generation:
    return Generation(
        options=options,
        defaults=HOSTED_DEFAULTS,
        format=_format(body),
        keep_alive_s=ollama_fields.keep_alive(body.keep_alive),
        truncate=False,
        shift=False,
        caller=caller,
    )


def _options(body: wire.MessagesRequest) -> Options:
    stop = tuple(text for text in body.stop_sequences if text)
    limits.check_stop(stop)
    own = {"temperature": body.temperature, "top_p": body.top_p, "top_k": body.top_k}
    return msgspec.structs.replace(
        ollama_fields.options(body.options),
        num_predict=body.max_tokens,
        **({"stop": stop} if stop else {}),
        **{name: value for name, value in own.items() if value is not None},
    )


def _format(body: wire.CountRequest) -> Grammar | None:
    form = body.output_config.format if body.output_config else None
    form = form or body.output_format
    if form is None:
        return None
    if form.type != "json_schema" or form.schema is None:
        raise InvalidRequest("output_config.format must be of type 'json_schema' with a schema")
    return ollama_fields.output_format(form.schema)


def _think(body: wire.CountRequest) -> Think:
    effort = body.output_config.effort if body.output_config else ""
    if effort and effort not in EFFORTS:
        raise InvalidRequest(f"output_config.effort must be one of {', '.join(EFFORTS)}")
    match body.thinking.type if body.thinking else "disabled":
        case "disabled":
            return False
        case "enabled":
            return EFFORTS.get(effort, True)
        case "adaptive" | "between_tools":
            return EFFORTS.get(effort)
    raise InvalidRequest("thinking.type must be 'enabled', 'disabled' or 'adaptive'")


def _tool_use(body: wire.CountRequest) -> ToolUse:
    definitions = [_definition(f"tools[{at}]", tool) for at, tool in enumerate(body.tools)]
    choice = body.tool_choice or wire.ToolChoice()
    return functions.tool_use(
        definitions, _choice(choice), is_parallel=not choice.disable_parallel_tool_use
    )


def _definition(where: str, tool: wire.CustomTool) -> ToolDefinition:
    if tool.type != "custom":
        raise Unsupported(
            f"{where}: this server has no tool of type '{tool.type}'",
            hint="leave it out, or describe a tool of your own with name and input_schema",
        )
    if not tool.name:
        raise InvalidRequest(f"{where}.name is required")
    return ToolDefinition(
        function=Function(
            name=tool.name, description=tool.description, parameters=tool.input_schema
        )
    )


def _choice(choice: wire.ToolChoice) -> Any:
    if choice.type == "tool" and choice.name:
        return {"type": "function", "name": choice.name}
    if choice.type in _CHOICES:
        return _CHOICES[choice.type]
    raise InvalidRequest(
        "tool_choice.type must be 'auto', 'any', 'none', or 'tool' with the name of a tool"
    )


DIALECT = Dialect(
    name="anthropic",
    prefixes=("/v1/messages",),
    handlers=handlers,
    encode_error=encode_error,
    error=wire.Error,
    shapes_unknown_paths=True,
    reply_headers=reply_headers,
)
