"""Who may do what: a key per request, a scope per route.

Outside of everything but the log, so that without a key nothing answers except the
paths that are open; inside, a guard holds the key's scope against the route's.
"""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope as ASGIScope

from server.caller import EVERYBODY, Caller
from server.errors import Forbidden, Unauthorized
from server.keychain import Keychain
from server.keys import Scope

OPEN_PATHS = frozenset({"/", "/health/live", "/health/ready"})
_CALLER = "akash_llm_caller"
_NEXT_STEP = "send it as Authorization: Bearer KEY or as x-api-key"


def authenticate(scope: ASGIScope, keys: Keychain) -> None:
    """Remember whose request this is. Raises `Unauthorized` where a key is needed.

    Without any keys (possible on loopback only) everybody is an administrator.
    """
    if keys.is_open:
        _remember(scope, EVERYBODY)
        return
    offered = _offered(scope)
    found = keys.caller(offered) if offered else None
    if found is not None:
        _remember(scope, found)
    elif scope["path"] not in OPEN_PATHS:
        raise Unauthorized(
            "the key is not known" if offered else "a key is needed", hint=_NEXT_STEP
        )


def caller_of(scope: ASGIScope) -> Caller:
    """Whose request it is. Behind `require_scope` there always is somebody."""
    found = _caller(scope)
    if found is None:
        raise Unauthorized("a key is needed", hint=_NEXT_STEP)
    return found


def name_of(scope: ASGIScope) -> str:
    """The name of the key that a request came with; empty without one."""
    found = _caller(scope)
    return found.name if found else ""


def sees_all_models(scope: ASGIScope) -> bool:
    """Whether who asks may know of every model; nobody may who has no key."""
    found = _caller(scope)
    return found is not None and found.models.is_whole


async def require_scope(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Litestar guard: the scope that the route names, `admin` if it names none.

    A route with `all_models` tells about every model there is, so it is not for a key that
    may use some of them only.
    """
    if connection.scope["path"] in OPEN_PATHS:
        return
    needed = handler.opt.get("scope", Scope.ADMIN)
    caller = _caller(connection.scope)
    if caller is None or not caller.scope.allows(needed):
        raise Forbidden(f"this key may not do that: it needs the scope {needed}")
    if handler.opt.get("all_models") and not caller.models.is_whole:
        raise Forbidden("this key may not do that: it is for some models only")


async def refuse_management(
    _: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Litestar guard of a server without management: routes with `management` are off."""
    if handler.opt.get("management"):
        raise Forbidden(
            "management is switched off on this server: keys and models cannot be changed "
            "from outside",
            hint="start it without --no-management (AKASH_LLM_MANAGEMENT=off)",
        )


def _remember(scope: ASGIScope, caller: Caller) -> None:
    scope.setdefault("state", {})[_CALLER] = caller


def _caller(scope: ASGIScope) -> Caller | None:
    found = scope.get("state", {}).get(_CALLER)
    return found if isinstance(found, Caller) else None


def _offered(scope: ASGIScope) -> str:
    """The key in `Authorization: Bearer`, else in `x-api-key`."""
    headers = dict(scope["headers"])
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()
