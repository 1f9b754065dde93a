"""Keys and usage over HTTP: for admins all of it, for everybody their own usage.

The bodies are JSON in the shape of `server.grants`; an unknown field is refused, because a
limit that was misspelled would be none. The answer that makes a key has it, once.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import Meta

from server import usage
from server.accounts import Accounts
from server.api import gojson
from server.api.body import read_json
from server.api.described import Described, route_opt
from server.api.query import read_query
from server.api.stream import reply
from server.auth import caller_of
from server.caller import EVERYBODY
from server.errors import Forbidden, InvalidRequest, NotFound, Unsupported
from server.grants import KeyInfo, Terms, now
from server.keys import Scope
from server.keystore import Change, KeyStore
from server.usage import Query, UsageRow

T = TypeVar("T")
_log = logging.getLogger("akash_llm.keys")


class Keys(msgspec.Struct):
    """Every key there is or was."""

    keys: list[KeyInfo]


class Made(msgspec.Struct):
    """A key that was just made. `key` is told here and nowhere else."""

    name: str
    scope: Scope
    key: str


class Revoked(msgspec.Struct):
    """A key that was just ended."""

    name: str
    revoked: bool = True


class Used(msgspec.Struct):
    """What was used, per key, model and day."""

    usage: list[UsageRow]


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which counts are wanted; what is empty is any."""

    model: Annotated[str, Meta(description="Only of this model.")] = ""
    since: Annotated[
        str,
        Meta(
            description="From this day (UTC) on, such as 2026-01-31.",
            extra_json_schema={"format": "date"},
        ),
    ] = ""

    def of(self, key: str | None) -> Query:
        """The same for the counts. Raises `InvalidRequest`."""
        return Query.of(key=key, model=self.model or None, since=self.since or None)


class AllUsageQuery(UsageQuery, frozen=True, kw_only=True):
    """The same for who may see the counts of all keys."""

    key: Annotated[str, Meta(description="Only of this key.")] = ""


class NewKey(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body that asks for a key."""

    name: str
    scope: Scope = Scope.INFERENCE

    @property
    def terms(self) -> Terms:
        return Terms(models=self.models, limits=self.limits, expires_at=self.expires_at)


def handlers(accounts: Accounts) -> Sequence[HTTPRouteHandler]:
    """The routes."""
    return [*_key_handlers(accounts), *_usage_handlers(accounts)]


def _key_handlers(accounts: Accounts) -> Sequence[HTTPRouteHandler]:
    @get("/admin/keys", opt=_managed(Described("Every key, never what opens it", reply=Keys)))
    async def list_keys() -> ASGIApp:
        stored = await asyncio.to_thread(accounts.store.list) if accounts.store else ()
        keys = [KeyInfo.of(grant) for grant in (*accounts.keys.fixed, *stored)]
        return reply(gojson.encode(Keys(keys)))

    @post(
        "/admin/keys",
        opt=_managed(Described("Make a key", request=NewKey, reply=Made)),
        status_code=200,
    )
    async def new_key(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_json(request, partial(_decoded, kind=NewKey))
        store = _store(accounts)
        if caller_of(request.scope) is EVERYBODY:
            # Or any program of this machine could lock out all the others.
            raise Forbidden(
                "the first key cannot be made from outside",
                hint="make it where the server runs: akash-llm keys new NAME --scope admin",
            )
        if _is_fixed(accounts, body.name):
            raise InvalidRequest(f"the name {body.name!r} is taken: it comes from AKASH_LLM_KEYS")
        if body.expires_at is not None and body.expires_at <= now():
            raise InvalidRequest("expires_at lies in the past", hint="name a time to come")
        key = await asyncio.to_thread(store.create, body.name, body.scope, body.terms)
        accounts.keys.look_now()
        _log.info("the key %s was made by %s", body.name, caller_of(request.scope).name)
        return reply(gojson.encode(Made(body.name, body.scope, key)))

    @patch(
        "/admin/keys/{name:str}",
        opt=_managed(Described("Change what a key may do", request=Change, reply=KeyInfo)),
    )
    async def change_key(request: Request[Any, Any, Any], name: str) -> ASGIApp:
        change = await read_json(request, partial(_decoded, kind=Change))
        _check_stored(accounts, name)
        grant = await asyncio.to_thread(_store(accounts).change, name, change)
        accounts.keys.look_now()
        _log.info("the key %s was changed by %s", name, caller_of(request.scope).name)
        return reply(gojson.encode(KeyInfo.of(grant)))

    @delete(
        "/admin/keys/{name:str}",
        opt=_managed(Described("End a key", reply=Revoked)),
        status_code=200,
    )
    async def revoke_key(request: Request[Any, Any, Any], name: str) -> ASGIApp:
        _check_stored(accounts, name)
        await asyncio.to_thread(_store(accounts).revoke, name)
        accounts.keys.look_now()
        _log.info("the key %s was revoked by %s", name, caller_of(request.scope).name)
        return reply(gojson.encode(Revoked(name)))

    return [list_keys, new_key, change_key, revoke_key]


def _usage_handlers(accounts: Accounts) -> Sequence[HTTPRouteHandler]:
    async def answer(query: Query) -> ASGIApp:
        found = await accounts.usage.read(query)
        return reply(gojson.encode(Used(usage.rows(found))))

    @get(
        "/admin/usage",
        opt=_managed(Described("What all keys used", query=AllUsageQuery, reply=Used)),
    )
    async def all_usage(request: Request[Any, Any, Any]) -> ASGIApp:
        query = read_query(request, AllUsageQuery)
        return await answer(query.of(query.key or None))

    @get(
        "/usage",
        opt=route_opt(Scope.READ, Described("What this key used", query=UsageQuery, reply=Used)),
    )
    async def own_usage(request: Request[Any, Any, Any]) -> ASGIApp:
        query = read_query(request, UsageQuery)
        return await answer(query.of(caller_of(request.scope).name))

    return [all_usage, own_usage]


def _managed(what: Described) -> dict[str, Any]:
    return route_opt(Scope.ADMIN, what, management=True)


def _store(accounts: Accounts) -> KeyStore:
    if accounts.store is None:
        raise Unsupported(
            "this server has nowhere to keep keys",
            hint="give it a folder it can write with --state, or set AKASH_LLM_KEYS",
        )
    return accounts.store


def _is_fixed(accounts: Accounts, name: str) -> bool:
    return any(grant.key.name == name for grant in accounts.keys.fixed)


def _check_stored(accounts: Accounts, name: str) -> None:
    """Raise for a key of the environment, and for any where none can be stored."""
    if _is_fixed(accounts, name):
        raise InvalidRequest(
            f"the key {name!r} comes from AKASH_LLM_KEYS and cannot be changed here",
            hint="change the variable and start the server again",
        )
    if accounts.store is None:
        raise NotFound(f"no key is called {name!r}")


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidRequest(str(error)) from None
