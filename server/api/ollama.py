"""Ollama's API: decode, ask the core, encode. What it all means is decided in the core."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from litestar import Request, get, post, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server import limits
from server.api import functions, gojson, ollama_embed, ollama_fields
from server.api import ollama_types as wire
from server.api.abilities import capabilities, require
from server.api.body import off_loop, read_json
from server.api.core import Core
from server.api.described import TEXT_TYPE, Described, route_opt
from server.api.dialect import Dialect
from server.api.ollama_inventory import running, shown, tag
from server.api.ollama_replies import ChatEncoder, GenerateEncoder, encode_error
from server.api.requests import ChatRequest, CompletionRequest, Generation, Think
from server.api.stream import reply, reply_with_events
from server.auth import caller_of
from server.caller import Caller
from server.chat.messages import SYSTEM, USER, Message
from server.errors import InvalidRequest, ModelNotFound, Unsupported
from server.keys import Scope
from server.models.model import Model
from server.models.modelfile import go_quote

# The Ollama release whose API this is: clients gate features on it.
VERSION = "0.32.15"


def handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    """The routes, over one core."""
    return [*_inventory_handlers(core), *_inference_handlers(core)]


def _inventory_handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    get_or_head = [HttpMethod.GET, HttpMethod.HEAD]

    @route(
        "/",
        http_method=get_or_head,
        opt=route_opt(None, Described("Says that it runs", reply=str, reply_type=TEXT_TYPE)),
    )
    async def index() -> ASGIApp:
        return reply(b"Ollama is running", media_type="text/plain; charset=utf-8")

    @route(
        "/api/version",
        http_method=get_or_head,
        opt=route_opt(
            Scope.READ, Described("The Ollama version whose API this is", reply=wire.Version)
        ),
    )
    async def version() -> ASGIApp:
        return reply(gojson.encode(wire.Version(version=VERSION)))

    @route(
        "/api/tags",
        http_method=get_or_head,
        opt=route_opt(Scope.READ, Described("The stored models", reply=wire.Tags)),
    )
    async def tags(request: Request[Any, Any, Any]) -> ASGIApp:
        models = [tag(model) for model in await core.list(caller_of(request.scope))]
        return reply(gojson.encode(wire.Tags(models=models)))

    @get(
        "/api/ps",
        opt=route_opt(Scope.READ, Described("The models in memory", reply=wire.Processes)),
    )
    async def ps(request: Request[Any, Any, Any]) -> ASGIApp:
        models = [running(one) for one in core.loaded(caller_of(request.scope))]
        return reply(gojson.encode(wire.Processes(models=models)))

    @post(
        "/api/show",
        opt=route_opt(
            Scope.READ,
            Described("Facts of a model", request=wire.ShowRequest, reply=wire.Shown),
        ),
        status_code=200,
    )
    async def show(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.ShowRequest))
        name = body.model or body.name
        if not name:
            raise InvalidRequest("model is required")
        model = await core.find(name, caller_of(request.scope))
        if body.verbose:
            model = await core.detailed(model)
        return reply(
            gojson.encode(await asyncio.to_thread(shown, model, body, core.requantized(model)))
        )

    return [index, version, tags, ps, show]


def _inference_handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    @post(
        "/api/generate",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "The continuation of a prompt",
                request=wire.GenerateRequest,
                reply=wire.Generated,
                stream=(wire.Generated, wire.Error),
            ),
        ),
        status_code=200,
    )
    async def generate(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.GenerateRequest))
        return await _generate(core, body, caller_of(request.scope))

    @post(
        "/api/chat",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "The reply to a conversation",
                request=wire.ChatRequest,
                reply=wire.Chatted,
                stream=(wire.Chatted, wire.Error),
            ),
        ),
        status_code=200,
    )
    async def chat(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.ChatRequest))
        return await _chat(core, body, caller_of(request.scope))

    @post(
        "/api/embed",
        opt=route_opt(
            Scope.INFERENCE,
            Described("Vectors of texts", request=wire.EmbedRequest, reply=wire.Embedded),
        ),
        status_code=200,
    )
    async def embed(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.EmbedRequest))
        return await ollama_embed.embed(core, body, caller_of(request.scope))

    @post(
        "/api/embeddings",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "The vector of one text", request=wire.EmbeddingRequest, reply=wire.Embedding
            ),
        ),
        status_code=200,
    )
    async def embeddings(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.EmbeddingRequest))
        return await ollama_embed.embed_prompt(core, body, caller_of(request.scope))

    return [generate, chat, embed, embeddings]


async def _generate(core: Core, body: wire.GenerateRequest, caller: Caller) -> ASGIApp:
    ask = _Ask(body)
    if not body.model.strip():
        raise ModelNotFound("model '' not found")
    model = await core.find(body.model, caller)
    encoder = GenerateEncoder(body.model, with_context=not body.raw)
    if not body.prompt and ask.keep_alive_s == 0:
        await core.unload(model, caller)
        return reply(encoder.status("unload"))
    _check_raw(body)
    _check_capabilities(
        model, body, "generate", suffix=body.suffix, images=body.images, thinks=ask.think
    )
    generation = ask.generation(body, caller)
    if not body.prompt:
        await core.load(model, generation)
        return reply(encoder.status("load"))
    think = _think(model, ask.think)
    request = await off_loop(
        sum(map(len, body.images)), lambda: _generate_request(model, body, think, generation)
    )
    if body.debug_render_only:
        return reply(encoder.rendered(await core.render(request)))
    return reply_with_events(core.run(request), encoder, stream=body.stream)


async def _chat(core: Core, body: wire.ChatRequest, caller: Caller) -> ASGIApp:
    ask = _Ask(body)
    limits.check_count("messages", body.messages, limits.MAX_MESSAGES)
    if not body.model.strip():
        raise InvalidRequest("model is required")
    images = [image for message in body.messages for image in message.images]
    messages = await off_loop(
        sum(map(len, images)), lambda: tuple(_message(message) for message in body.messages)
    )
    model = await core.find(body.model, caller)
    encoder = ChatEncoder(body.model)
    if not messages and ask.keep_alive_s == 0:
        await core.unload(model, caller)
        return reply(encoder.status("unload"))
    _check_capabilities(model, body, "chat", tools=body.tools, images=images, thinks=ask.think)
    generation = ask.generation(body, caller)
    if not messages:
        await core.load(model, generation)
        return reply(encoder.status("load"))
    request = ChatRequest(
        model=model,
        messages=messages,
        tool_use=functions.tool_use(body.tools, body.tool_choice),
        think=_think(model, ask.think),
        generation=generation,
    )
    if body.debug_render_only:
        return reply(encoder.rendered(await core.render(request)))
    return reply_with_events(core.run(request), encoder, stream=body.stream)


class _Ask:
    """The fields that both kinds of body share, checked in Ollama's order: those here are
    looked at before the model is, options and format after."""

    def __init__(self, body: wire.GenerationRequest) -> None:
        self.think = ollama_fields.think(body.think)
        self.keep_alive_s = ollama_fields.keep_alive(body.keep_alive)
        self.top_logprobs = ollama_fields.top_logprobs(body.logprobs, body.top_logprobs)

    def generation(self, body: wire.GenerationRequest, caller: Caller) -> Generation:
        """What the core wants to know. Raises `InvalidRequest`."""
        return Generation(
            options=ollama_fields.options(body.options),
            format=ollama_fields.output_format(body.format),
            keep_alive_s=self.keep_alive_s,
            truncate=body.truncate,
            shift=body.shift,
            top_logprobs=self.top_logprobs,
            caller=caller,
        )


def _check_raw(body: wire.GenerateRequest) -> None:
    if body.images and (body.raw or body.suffix):
        raise Unsupported(
            "images are not supported with raw or suffix: the chat template says where they stand"
        )
    if body.raw and (body.template or body.system or body.context):
        raise InvalidRequest("raw mode does not support template, system, or context")
    if body.template:
        raise Unsupported(
            "template in a request is not supported: the model's own chat template is used",
            hint="send the finished prompt with raw instead",
        )


def _check_capabilities(
    model: Model,
    body: wire.GenerationRequest,
    verb: str,
    *,
    tools: Sequence[Any] = (),
    images: Sequence[str] = (),
    suffix: str = "",
    thinks: Think = None,
) -> None:
    """Raise `Unsupported` for what the model cannot do."""
    needs = {"tools": tools, "insert": suffix, "vision": images}
    require(model, body.model, verb, *(name for name, value in needs.items() if value))
    if thinks and "thinking" not in capabilities(model):
        raise Unsupported(f"{go_quote(body.model)} does not support thinking")


def _think(model: Model, asked: Think) -> Think:
    """Ollama's default: a model that can think does, whatever its template would do by itself."""
    if asked is None and "thinking" in capabilities(model):
        return True
    return asked


def _message(message: wire.Message) -> Message:
    return Message(
        role=message.role.lower(),
        content=message.content,
        thinking=message.thinking,
        images=ollama_fields.images(message.images),
        tool_calls=tuple(message.tool_calls),
        tool_name=message.tool_name,
        tool_call_id=message.tool_call_id,
    )


def _generate_request(
    model: Model, body: wire.GenerateRequest, think: Think, generation: Generation
) -> ChatRequest | CompletionRequest:
    """A prompt is a conversation of one message, with its own system text if it has one,
    unless it is raw or a gap is to be filled."""
    if body.raw or body.suffix:
        suffix = "" if body.raw else body.suffix
        return CompletionRequest(
            model=model, prompt=body.prompt, suffix=suffix, generation=generation
        )
    system = (Message(role=SYSTEM, content=body.system),) if body.system else ()
    user = Message(role=USER, content=body.prompt, images=ollama_fields.images(body.images))
    return ChatRequest(
        model=model,
        messages=(*system, user),
        think=think,
        generation=generation,
        before=None if body.context is None else tuple(body.context),
        tells_tokens=True,
    )


DIALECT = Dialect(
    name="ollama", prefixes=("",), handlers=handlers, encode_error=encode_error, error=wire.Error
)
