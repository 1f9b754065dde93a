"""Ollama's two routes for embeddings: the one for many texts, and the older one for one."""

from array import array
from typing import Any

from litestar.types import ASGIApp

from server.api import gojson, ollama_fields
from server.api import ollama_types as wire
from server.api.core import Core
from server.api.events import Embedded, Event
from server.api.ollama_replies import encode_error
from server.api.requests import EmbedRequest, Generation
from server.api.stream import reply, reply_with_whole
from server.caller import Caller
from server.errors import InvalidRequest, ModelNotFound, ServerError
from server.models.model import Model
from server.models.modelfile import go_quote


async def embed(core: Core, body: wire.EmbedRequest, caller: Caller) -> ASGIApp:
    """/api/embed"""
    keep_alive_s = ollama_fields.keep_alive(body.keep_alive)
    texts = _texts(body.input)
    if not body.model.strip():
        raise ModelNotFound("model '' not found")
    model = await _find(core, body.model, caller)
    generation = Generation(
        options=ollama_fields.options(body.options),
        keep_alive_s=keep_alive_s,
        truncate=body.truncate,
        caller=caller,
    )
    if not texts:
        await core.load(model, generation)
        return reply(gojson.encode(wire.Embedded(model=body.model, embeddings=[])))
    request = EmbedRequest(
        model=model,
        inputs=texts,
        dimensions=body.dimensions if body.dimensions > 0 else None,
        generation=generation,
    )
    return reply_with_whole(core.run_embed(request), _EmbedEncoder(body.model))


async def embed_prompt(core: Core, body: wire.EmbeddingRequest, caller: Caller) -> ASGIApp:
    """/api/embeddings"""
    keep_alive_s = ollama_fields.keep_alive(body.keep_alive)
    if not body.model.strip():
        raise InvalidRequest("model is required")
    model = await _find(core, body.model, caller)
    generation = Generation(
        options=ollama_fields.options(body.options), keep_alive_s=keep_alive_s, caller=caller
    )
    if not body.prompt:
        await core.load(model, generation)
        return reply(gojson.encode(wire.Embedding(embedding=[])))
    request = EmbedRequest(model=model, inputs=(body.prompt,), generation=generation)
    return reply_with_whole(core.run_embed(request), _EmbeddingEncoder())


class _EmbeddingEncoder:
    """Replies of /api/embeddings."""

    def whole(self, events: list[Event]) -> bytes:
        (vector,) = _floats(_embedded(events))
        return gojson.encode(wire.Embedding(embedding=vector))

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)


class _EmbedEncoder(_EmbeddingEncoder):
    """Replies of /api/embed."""

    def __init__(self, model: str) -> None:
        self._model = model

    def whole(self, events: list[Event]) -> bytes:
        embedded = _embedded(events)
        return gojson.encode(
            wire.Embedded(
                model=self._model,
                embeddings=_floats(embedded),
                total_duration=embedded.total_ns,
                load_duration=embedded.load_ns,
                prompt_eval_count=embedded.prompt_tokens,
                truncated=embedded.truncated_tokens,
            )
        )


def _embedded(events: list[Event]) -> Embedded:
    (embedded,) = (event for event in events if isinstance(event, Embedded))
    return embedded


def _floats(embedded: Embedded) -> list[list[float]]:
    return [array("f", vector).tolist() for vector in embedded.vectors]


async def _find(core: Core, name: str, caller: Caller) -> Model:
    try:
        return await core.find(name, caller)
    except ModelNotFound as error:
        text = f"model {go_quote(name)} not found, try pulling it first"
        raise ModelNotFound(text, hint=error.hint) from None


def _texts(value: Any) -> tuple[str, ...]:
    """The input as a list; nothing and the empty text are none, but one in a list counts."""
    if value is None or value == "":
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("invalid input type")
    return tuple(texts)
