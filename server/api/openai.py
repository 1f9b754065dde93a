"""OpenAI's API: decode, ask the core, encode. What it all means is decided in the core."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server.api import (
    gojson,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_tokens,
    responses,
)
from server.api import openai_objects as wire
from server.api import openai_types as bodies
from server.api.body import read_json
from server.api.core import Core
from server.api.described import SSE_TYPE, Described, route_opt
from server.api.dialect import Dialect
from server.api.openai_body import decode
from server.api.openai_errors import encode_error
from server.api.stream import reply
from server.auth import caller_of
from server.errors import ModelNotFound
from server.keys import Scope
from server.models.model import Model


def handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    """The routes, over one core."""
    return [
        *_model_handlers(core),
        *_inference_handlers(core),
        *_token_handlers(core),
        *responses.handlers(core),
    ]


def _model_handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    @get(
        "/v1/models",
        opt=route_opt(Scope.READ, Described("The models that can be served", reply=wire.Models)),
    )
    async def models(request: Request[Any, Any, Any]) -> ASGIApp:
        stored = await core.list(caller_of(request.scope))
        data = [_shown(model) for model in stored if model.capabilities]
        return reply(gojson.encode(wire.Models(data=data)))

    @get(
        "/v1/models/{name:path}",
        opt=route_opt(Scope.READ, Described("One of them", reply=wire.Model)),
    )
    async def model(name: str, request: Request[Any, Any, Any]) -> ASGIApp:
        asked = name.lstrip("/")
        found = await core.find(asked, caller_of(request.scope))
        if not found.capabilities:
            raise ModelNotFound(f"model '{asked}' cannot be served")
        return reply(gojson.encode(_shown(found, asked)))

    return [models, model]


def _inference_handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    @post(
        "/v1/chat/completions",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "The reply to a conversation",
                request=bodies.ChatBody,
                reply=wire.ChatCompletion,
                stream=(wire.ChatChunk, wire.ErrorReply),
                stream_type=SSE_TYPE,
            ),
        ),
        status_code=200,
    )
    async def chat(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(decode, struct=bodies.ChatBody))
        return await openai_chat.chat(core, body, caller_of(request.scope))

    @post(
        "/v1/completions",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "The continuation of texts",
                request=bodies.CompletionBody,
                reply=wire.TextCompletion,
                stream=(wire.TextCompletion, wire.ErrorReply),
                stream_type=SSE_TYPE,
            ),
        ),
        status_code=200,
    )
    async def complete(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(decode, struct=bodies.CompletionBody))
        return await openai_completions.complete(core, body, caller_of(request.scope))

    @post(
        "/v1/embeddings",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "Vectors of texts",
                request=bodies.EmbeddingBody,
                reply=wire.Embeddings,
            ),
        ),
        status_code=200,
    )
    async def embed(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(decode, struct=bodies.EmbeddingBody))
        return await openai_embeddings.embed(core, body, caller_of(request.scope))

    return [chat, complete, embed]


def _token_handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    @post(
        "/tokenize",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "The tokens of a text or a conversation",
                request=bodies.TokenizeBody,
                reply=wire.Tokenized,
            ),
        ),
        status_code=200,
    )
    async def tokenize(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(decode, struct=bodies.TokenizeBody))
        return await openai_tokens.tokenize(core, body, caller_of(request.scope))

    @post(
        "/detokenize",
        opt=route_opt(
            Scope.INFERENCE,
            Described(
                "The text of tokens",
                request=bodies.DetokenizeBody,
                reply=wire.Detokenized,
            ),
        ),
        status_code=200,
    )
    async def detokenize(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(decode, struct=bodies.DetokenizeBody))
        return await openai_tokens.detokenize(core, body, caller_of(request.scope))

    return [tokenize, detokenize]


def _shown(model: Model, name: str = "") -> wire.Model:
    """A model as OpenAI lists it; its namespace owns it, as in Ollama."""
    return wire.Model(
        id=name or model.name.display(),
        created=model.modified_ns // 10**9,
        owned_by=model.name.namespace,
    )


DIALECT = Dialect(
    name="openai",
    prefixes=("/v1", "/tokenize", "/detokenize"),
    handlers=handlers,
    encode_error=encode_error,
    error=wire.ErrorReply,
    shapes_unknown_paths=True,
)
