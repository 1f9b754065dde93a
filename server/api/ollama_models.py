"""Ollama's routes that change the store: pull, create, copy, delete, blobs.

All need the scope admin. What is stored, and how, is decided in `server.models`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from litestar import Request, delete, post, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from server.api import gojson
from server.api import ollama_types as wire
from server.api.body import read_json, stream_body
from server.api.core import Core
from server.api.described import BYTES_TYPE, NDJSON_TYPE, Described, route_opt
from server.api.events import Event
from server.api.ollama_replies import encode_error
from server.api.stream import reply, reply_with_events
from server.auth import caller_of
from server.caller import Caller
from server.drain import Drain
from server.errors import (
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    ServerError,
)
from server.keys import Scope
from server.models.library import Library
from server.models.manifest import Message
from server.models.modelfile import go_quote
from server.models.name import InvalidModelName, ModelName
from server.models.recipe import Recipe

_EMPTY = b""
# What is left to do if the server ends before the work does.
_PULL_AGAIN = "pull again to go on from what is there"
_CREATE_AGAIN = "create it again"
_SEND_AGAIN = "send the blob again"


def handlers(core: Core, library: Library, drain: Drain) -> Sequence[HTTPRouteHandler]:
    """The routes. What they do ends with `drain`."""

    @post("/api/pull", opt=_opt("Gets a model", wire.PullRequest, wire.Progress), status_code=200)
    async def pull(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.PullRequest))
        _check_names(request, _name(body), name_of=library.name_of)
        steps = drain.limited(library.pull(_name(body), insecure=body.insecure), _PULL_AGAIN)
        return reply_with_events(steps, _ProgressEncoder(), stream=body.stream)

    @post(
        "/api/create",
        opt=_opt("Makes a model of others", wire.CreateRequest, wire.Progress),
        status_code=200,
    )
    async def create(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.CreateRequest))
        _check_names(request, _name(body), *([body.from_] if body.from_ else []))
        steps = drain.limited(library.create(_recipe(body)), _CREATE_AGAIN)
        return reply_with_events(steps, _ProgressEncoder(), stream=body.stream)

    @post("/api/copy", opt=_opt("Gives a model another name", wire.CopyRequest), status_code=200)
    async def copy(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.CopyRequest))
        _check_names(request, body.source, body.destination)
        await library.copy(body.source, body.destination)
        return reply(_EMPTY)

    @delete("/api/delete", opt=_opt("Removes a model", wire.DeleteRequest), status_code=200)
    async def remove(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(gojson.decode, struct=wire.DeleteRequest))
        await _remove(core, library, body.model or body.name, caller_of(request.scope))
        return reply(_EMPTY)

    @route(
        "/api/blobs/{digest:str}",
        http_method=[HttpMethod.HEAD],
        opt=route_opt(Scope.ADMIN, Described("Whether a blob is there"), management=True),
    )
    async def has_blob(digest: str) -> ASGIApp:
        if not await library.keep_blob(digest):
            raise NotFound(f"blob {digest} not found")
        return reply(_EMPTY)

    @post(
        "/api/blobs/{digest:str}",
        opt=route_opt(
            Scope.ADMIN,
            Described(
                "Takes a blob in for create",
                request=bytes,
                request_type=BYTES_TYPE,
                statuses={201: "taken in; 200 if it was there"},
            ),
            management=True,
        ),
        request_max_body_size=None,
    )
    async def take_blob(request: Request[Any, Any, Any], digest: str) -> ASGIApp:
        size = int(request.headers.get("content-length", 0))
        async with drain.limit(_SEND_AGAIN):
            is_new = await library.take_blob(digest, stream_body(request), size=size)
        return reply(_EMPTY, status=201 if is_new else 200)

    return [pull, create, copy, remove, has_blob, take_blob]


def _opt(summary: str, request: Any, progress: Any = None) -> dict[str, Any]:
    stream = (progress, wire.Error) if progress else ()
    described = Described(summary, request=request, reply=progress, stream=stream)
    return route_opt(Scope.ADMIN, described, management=True)


def _name(body: wire.PullRequest | wire.CreateRequest) -> str:
    name = body.model or body.name
    if not name:
        raise InvalidRequest("model is required")
    return name


def _check_names(
    request: Request[Any, Any, Any],
    *names: str,
    name_of: Callable[[str], ModelName] = ModelName.parse,
) -> None:
    """Raise `Forbidden` for a name that the key may not use. What is no name is refused by
    whoever reads it."""
    caller = caller_of(request.scope)
    for name in names:
        with suppress(InvalidModelName):
            if not caller.may_use(name_of(name)):
                raise Forbidden(f"this key may not use the name {go_quote(name)}")


def _recipe(body: wire.CreateRequest) -> Recipe:
    licenses = [body.license] if isinstance(body.license, str) else body.license
    return Recipe(
        name=_name(body),
        base=body.from_,
        files=body.files,
        adapters=body.adapters,
        parameters=body.parameters,
        template=body.template,
        system=body.system,
        messages=[Message(one.role, one.content) for one in body.messages],
        licenses=[text for text in licenses if text],
        quantize=body.quantize or body.quantization,
        may_set_template=True,
    )


async def _remove(core: Core, library: Library, name: str, caller: Caller) -> None:
    """Remove a model, and end it where it is loaded (Ollama leaves it there)."""
    try:
        model = await core.find(name, caller)
    except ServerError as error:
        if isinstance(error, ModelNotFound):
            raise
        raise InvalidRequest(f"name {go_quote(name)} is invalid") from None
    await library.remove(model.name)
    if model.problem is None:
        await core.unload(model, caller)


class _ProgressEncoder:
    """Steps of work as NDJSON; in one piece only the last one, as in Ollama."""

    stream_type = NDJSON_TYPE

    def __init__(self) -> None:
        self._last = b""

    def frame(self, event: Event) -> bytes:
        self._last = gojson.encode(event) + b"\n"
        return self._last

    def heartbeat(self) -> bytes:
        """The last step again: it is still being done."""
        return self._last

    def whole(self, events: list[Event]) -> bytes:
        return gojson.encode(events[-1])

    def failure(self, error: ServerError) -> bytes:
        return encode_error(error) + b"\n"

    def error(self, error: ServerError) -> bytes:
        return encode_error(error)
