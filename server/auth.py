"""Who may do what: a key per request, a scope per route.

Outside of everything but the log, so that without a key nothing answers except the
paths that are open; inside, a guard holds the key's scope against the route's.
"""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope as ASGIScope

from server.errors import Forbidden, Unauthorized
from server.keys import KeyDigest, KeyRing, Scope

OPEN_PATHS = frozenset({"/", "/health/live", "/health/ready"})
_KEY = "akash_llm_key"
_NOBODY = KeyDigest(name="", scope=Scope.ADMIN, sha256="")
_NEXT_STEP = "send it as Authorization: Bearer KEY or as x-api-key"


def authenticate(scope: ASGIScope, keys: KeyRing) -> None:
    """Remember whose request this is. Raises `Unauthorized` where a key is needed.

    Without any keys (possible on loopback only) everybody is an administrator.
    """
    if not keys:
        _remember(scope, _NOBODY)
        return
    offered = _offered(scope)
    found = keys.find(offered) if offered else None
    if found is not None:
        _remember(scope, found)
    elif scope["path"] not in OPEN_PATHS:
        raise Unauthorized(
            "the key is not known" if offered else "a key is needed", hint=_NEXT_STEP
        )


def owner_of(scope: ASGIScope) -> str:
    """The name of the key that a request came with; empty without one."""
    key = _key(scope)
    return key.name if key else ""


def require_scope(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Litestar guard: the scope that the route names, `admin` if it names none."""
    if connection.scope["path"] in OPEN_PATHS:
        return
    needed = handler.opt.get("scope", Scope.ADMIN)
    key = _key(connection.scope)
    if key is None or not key.scope.allows(needed):
        raise Forbidden(f"this key may not do that: it needs the scope {needed}")


def _remember(scope: ASGIScope, key: KeyDigest) -> None:
    scope.setdefault("state", {})[_KEY] = key


def _key(scope: ASGIScope) -> KeyDigest | None:
    found = scope.get("state", {}).get(_KEY)
    return found if isinstance(found, KeyDigest) else None


def _offered(scope: ASGIScope) -> str:
    """The key in `Authorization: Bearer`, else in `x-api-key`."""
    headers = dict(scope["headers"])
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()
