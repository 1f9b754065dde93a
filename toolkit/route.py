"""The way to an endpoint that may move: where it is now is asked when it is not found there.

An endpoint that was replaced is somewhere else, and answers there with the same key, perhaps with
another model; one that was updated has that at the same place. A
request that failed before the first byte of an answer, in a way that a move explains, is
sent to the new address, once. One whose answer has begun is never sent again. While all is
well nobody is asked.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from toolkit.errors import CredentialsError, EndpointError, RequestRefused, ToolkitError
from toolkit.transport import Answer, Trace, Transport, read_key_file

# What stands at an address that an endpoint has left: nothing, a stranger, or the proxy of
# its provider, which has nobody to pass a request on to.
_MOVED_STATUSES: Final = frozenset({404, 502, 503})


class Address(msgspec.Struct, frozen=True):
    """Where an endpoint is, and the `model` that it serves, empty where that is not known. `pin`
    is the SHA-256 of its certificate in hex, None where an authority vouches for it; without a
    `key_file` the key is the one that it had."""

    url: str
    key_file: Path | None = None
    pin: str | None = None
    model: str = ""


Locate = Callable[[], Awaitable[Address | None] | Address | None]
"""Says where the endpoint is now; None where it is nowhere."""


class Route:
    """Requests to one endpoint, wherever it is. `model` is the one that it serves. A body that
    names it is a function, so that it names the right one wherever it is sent."""

    def __init__(
        self, transport: Transport, locate: Locate | None = None, *, model: str = ""
    ) -> None:
        self.model = model
        self._transport = transport
        self._locate = locate
        # Answers that have begun there may still be under way.
        self._left: list[Transport] = []

    @property
    def url(self) -> httpx2.URL:
        """Where it is, as far as is known."""
        return self._transport.url

    @property
    def has_key(self) -> bool:
        """Whether requests carry a key."""
        return self._transport.has_key

    @property
    def is_pinned(self) -> bool:
        """Whether its certificate is known by its digest and not by an authority."""
        return self._transport.is_pinned

    def redacted(self, text: str) -> str:
        """`text` without any key that was sent."""
        for transport in (self._transport, *self._left):
            text = transport.redacted(text)
        return text

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, body: object = None, *, trace: Trace | None = None
    ) -> AsyncIterator[Answer]:
        """The answer to one request; see `Transport.answer`."""
        async with AsyncExitStack() as stack:
            tried, model = self._transport, self.model
            try:
                sent = tried.answer(method, path, _made(body), trace=trace)
                answer = await stack.enter_async_context(sent)
            except (EndpointError, CredentialsError) as error:
                if not (_may_have_moved(error) and await self._moved_from(tried, model)):
                    raise
                sent = self._transport.answer(method, path, _made(body), trace=trace)
                answer = await stack.enter_async_context(sent)
            yield answer

    async def json(self, method: str, path: str, body: object = None) -> bytes:
        """The whole answer to one request."""
        async with self.answer(method, path, body) as answer:
            return await answer.whole()

    async def body(self, path: str) -> bytes:
        """What GET answers where the endpoint was last, also where its status is an error."""
        return await self._transport.body(path)

    async def aclose(self) -> None:
        """Close every connection. May be repeated."""
        for transport in (self._transport, *self._left):
            await transport.aclose()
        self._left.clear()

    async def _moved_from(self, tried: Transport, model: str) -> bool:
        """Whether the endpoint is somewhere else than where it was `tried`, or serves something
        else than that `model`; then go there."""
        address = await self._located()
        if self._transport is not tried:  # another request has found it meanwhile
            return True
        if address is None:
            return False
        self.model = address.model or self.model
        if tried.is_at(address.url, address.pin):
            return self.model != model
        key = None if address.key_file is None else read_key_file(address.key_file)
        self._transport = tried.moved(address.url, address.pin, key)
        self._left.append(tried)
        return True

    async def _located(self) -> Address | None:
        if self._locate is None:
            return None
        try:
            found = self._locate()
            return await found if inspect.isawaitable(found) else found
        except ToolkitError:  # what failed before says more
            return None


def _made(body: object) -> object:
    return body() if callable(body) else body


def _may_have_moved(error: EndpointError | CredentialsError) -> bool:
    """Whether being somewhere else could be why. A refused key could: strangers have others."""
    return not isinstance(error, RequestRefused) or error.status in _MOVED_STATUSES
