"""The keys of a server: in a state folder of this machine, or over its admin routes.

Both give the same objects, so who shows them need not know which it was. The server sees
within a second what is changed in its folder. Expected failures are toolkit errors.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from server.errors import InvalidRequest, NotFound, ServerError
from server.grants import KeyInfo, Terms
from server.keys import Scope
from server.keystore import Change, KeyStore
from server.state import State
from server.usage import Query, UsageFile, UsageRow, rows
from toolkit import jsontext
from toolkit.errors import ConfigError, EndpointError, RequestRefused, ToolkitError, UsageError
from toolkit.transport import Transport

T = TypeVar("T")
_SEE_KEYS = "See the keys there are: akash-llm keys list"


class Keybook(Protocol):
    """Where keys are kept. All methods raise `ToolkitError`s."""

    async def list(self) -> Sequence[KeyInfo]:
        """Every key there is or was."""

    async def create(self, name: str, scope: Scope, terms: Terms) -> str:
        """A new key: it is told here and nowhere else."""

    async def change(self, name: str, change: Change) -> KeyInfo:
        """Change what a key may do, and tell what that is then."""

    async def revoke(self, name: str) -> None:
        """End a key, for good."""

    async def usage(self, query: Query) -> Sequence[UsageRow]:
        """What was used, the newest day first."""

    async def aclose(self) -> None:
        """Let go. May be repeated."""


class FolderKeys:
    """The keys in a state folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._state = State(folder)
        self._store, self._usage = KeyStore(self._state), UsageFile(self._state)

    async def list(self) -> Sequence[KeyInfo]:
        with translated():
            return [KeyInfo.of(grant) for grant in self._store.list()] if self._state.exists else []

    async def create(self, name: str, scope: Scope, terms: Terms) -> str:
        with translated():
            return self._store.create(name, scope, terms)

    async def change(self, name: str, change: Change) -> KeyInfo:
        with translated():
            return KeyInfo.of(self._store.change(name, change))

    async def revoke(self, name: str) -> None:
        with translated():
            self._store.revoke(name)

    async def usage(self, query: Query) -> Sequence[UsageRow]:
        with translated():
            return rows(self._usage.read(query)) if self._state.exists else []

    async def aclose(self) -> None:
        """Nothing is held."""


class EndpointKeys:
    """The keys of a server, through its admin routes."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> Sequence[KeyInfo]:
        return (await self._ask("GET", "/admin/keys", dict[str, list[KeyInfo]]))["keys"]

    async def create(self, name: str, scope: Scope, terms: Terms) -> str:
        body = {"name": name, "scope": scope, **msgspec.to_builtins(terms)}
        made = await self._ask("POST", "/admin/keys", dict[str, str], body)
        return made["key"]

    async def change(self, name: str, change: Change) -> KeyInfo:
        return await self._ask("PATCH", _path(name), KeyInfo, msgspec.to_builtins(change))

    async def revoke(self, name: str) -> None:
        await self._ask("DELETE", _path(name), dict[str, Any])

    async def usage(self, query: Query) -> Sequence[UsageRow]:
        wanted = {"key": query.key, "model": query.model, "since": query.since}
        given = urlencode({name: value for name, value in wanted.items() if value is not None})
        path = f"/admin/usage?{given}"
        return (await self._ask("GET", path, dict[str, list[UsageRow]]))["usage"]

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _ask(self, method: str, path: str, kind: type[T], body: object = None) -> T:
        try:
            return jsontext.decoded(await self._transport.json(method, path, body), kind)
        except RequestRefused as refused:
            if refused.status in (400, 404):
                raise UsageError(refused.message, hint=_SEE_KEYS) from None
            raise
        except msgspec.DecodeError as error:
            raise EndpointError(f"The endpoint answered in another form: {error}") from None


def _path(name: str) -> str:
    return f"/admin/keys/{quote(name, safe='')}"


@contextmanager
def translated() -> Iterator[None]:
    """What the server's modules refuse, as the command line tells it."""
    try:
        yield
    except ServerError as error:
        is_theirs = isinstance(error, InvalidRequest | NotFound)
        kind: type[ToolkitError] = UsageError if is_theirs else ConfigError
        raise kind(error.message, hint=error.hint or (_SEE_KEYS if is_theirs else "")) from error
