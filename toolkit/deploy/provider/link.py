"""Connections to one gateway: https for an answer, WebSocket for a stream.

Each is made with the certificate checked, a token that still has time, a time limit on
every phase and a bound on what comes back. No redirect is followed and no proxy of the
environment is used: the token goes to the gateway or nowhere.

Failures leave here as one of two: a `ToolkitError` where trying again is vain, and
`Interrupted` where it is not.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlencode

import httpx2
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from toolkit import safetext
from toolkit.deploy.provider import trust
from toolkit.deploy.provider.messages import MAX_FRAME_BYTES
from toolkit.deploy.provider.token import Bearer, Tokens
from toolkit.deploy.provider.trust import Published
from toolkit.errors import ConfigError, CredentialsError, EndpointError, RequestRefused

READ_TIMEOUT_S = 30.0
PING_S = 15.0
CLOSE_TIMEOUT_S = 2.0
MAX_QUEUE = 16
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_REASON = 300

LEASE_NOT_FOUND = 4001
# What this side ends a connection with: a bad frame, bad text, a message beyond the bound.
_BROKEN_RULES = (1002, 1007, 1009)

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_DEFAULT_PORT = 443


# Where debugging is on, the library writes every header that it sends: the token too.
_silent = logging.getLogger(f"{__name__}.websocket")
_silent.setLevel(logging.WARNING)


class Interrupted(Exception):
    """A connection that failed or ended, and may be made again; the text says why."""


class Closed(Interrupted):
    """The gateway ended a connection that was open; `is_regular` without an error."""

    def __init__(self, why: str, *, is_regular: bool) -> None:
        super().__init__(why)
        self.is_regular = is_regular


class Address(NamedTuple):
    """Where a gateway listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """The address in a provider's `hostUri`. Raises `ConfigError` for anything but https."""
        try:
            url = httpx2.URL(uri.strip())
        except httpx2.InvalidURL as error:
            raise _no_address(uri) from error
        extra = url.userinfo or url.query or url.path not in ("", "/")
        if url.scheme != "https" or extra or not _HOST.fullmatch(url.host):
            raise _no_address(uri)
        return cls(url.host, url.port or _DEFAULT_PORT)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Socket:
    """An open stream, and the moment (`time.monotonic`) at which its token has to be renewed."""

    def __init__(self, connection: ClientConnection, renew_at: float) -> None:
        self._connection = connection
        self.renew_at = renew_at

    async def frame(self) -> bytes:
        """The next frame; may be cancelled without losing one. Raises `Interrupted`, and
        `EndpointError` when the stream is over for good."""
        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            raise _closed(closed) from closed


class Link:
    """The gateway at one address, for one provider, by the tokens given."""

    def __init__(
        self, address: Address, provider: str, tokens: Tokens, published: Published
    ) -> None:
        self._address = address
        self._provider = provider
        self._tokens = tokens
        self._published = published
        self._context: ssl.SSLContext | None = None
        self._lock = asyncio.Lock()

    async def get(self, path: str) -> httpx2.Response:
        """The answer to GET, read to its end, whatever its status but 400, 401 and 403.

        Raises `CredentialsError` for those, `Interrupted` and `EndpointError`.
        """
        context, bearer = await self._trusted(), await self._tokens.current()
        try:
            async with self._client(context) as client:
                request = client.build_request("GET", path, headers=bearer.header)
                response = await client.send(request, stream=True)
                body = await _bounded(response)
        except httpx2.HTTPError as error:
            self._doubt(error)
            raise Interrupted(_text(error)) from error
        self._refuse(response.status_code, body, bearer)
        return httpx2.Response(response.status_code, content=body)

    @asynccontextmanager
    async def socket(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Socket]:
        """An open stream. Raises as `get` does, and `RequestRefused` for another status."""
        context, bearer = await self._trusted(), await self._tokens.current()
        try:
            connection = await _Connect(
                f"wss://{self._address}{path}?{urlencode(query)}",
                ssl=context,
                additional_headers=bearer.header,
                user_agent_header="akash-llm",
                logger=_silent,
                proxy=None,
                compression=None,  # a small frame could become a large one
                open_timeout=trust.CONNECT_TIMEOUT_S,
                ping_interval=PING_S,
                ping_timeout=PING_S,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_FRAME_BYTES,
                max_queue=MAX_QUEUE,
            )
        except InvalidStatus as answer:
            status = answer.response.status_code
            self._refuse(status, bytes(answer.response.body or b""), bearer)
            raise self._unexpected(status, bytes(answer.response.body or b"")) from answer
        except (OSError, InvalidHandshake) as error:
            self._doubt(error)
            raise Interrupted(_text(error)) from error
        async with connection:
            yield Socket(connection, bearer.renew_at)

    async def _trusted(self) -> ssl.SSLContext:
        async with self._lock:
            if self._context is None:
                try:
                    self._context = await trust.establish(
                        *self._address, self._provider, self._published
                    )
                except OSError as error:
                    raise Interrupted(_text(error)) from error
            return self._context

    def _doubt(self, error: BaseException) -> None:
        """After a certificate that is not the checked one, the next connection checks anew."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                self._context = None
            cause = cause.__cause__ or cause.__context__

    def _client(self, context: ssl.SSLContext) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=f"https://{self._address}",
            verify=context,
            trust_env=False,
            headers={"accept-encoding": "identity"},
            timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=trust.CONNECT_TIMEOUT_S),
        )

    def _refuse(self, status: int, body: bytes, bearer: Bearer) -> None:
        """Raises for a status that speaks of the token, which is then not used again."""
        if status not in (400, 401, 403):
            return
        self._tokens.forget(bearer)
        raise CredentialsError(
            f"The provider refused the token: {_message(body, bearer) or f'status {status}'}.",
            hint="Check that it is for this lease and that this machine's clock is right.",
        )

    def _unexpected(self, status: int, body: bytes) -> Interrupted | EndpointError:
        if status == 404:
            return lease_not_found()
        text = f"the provider's gateway answered with status {status}"
        if status in (429, 500, 502, 503, 504):
            return Interrupted(text)
        return RequestRefused(
            text[0].upper() + text[1:] + ".",
            status=status,
            hint="The provider may run a version that this program does not know.",
        )


class _Connect(connect):
    """Follows no redirect."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def lease_not_found() -> EndpointError:
    """The provider does not know the lease, or no longer."""
    return EndpointError(
        "The provider has no such lease.",
        hint="It may have been closed; see what is there: akash-llm status",
    )


def _closed(closed: ConnectionClosed) -> Interrupted | EndpointError:
    """What the end of an open connection means (close codes of the provider's gateway)."""
    frame = closed.rcvd
    sent = closed.sent
    if sent is not None and sent.code in _BROKEN_RULES:
        return EndpointError(
            f"The provider's gateway broke the rules of its protocol ({sent.reason or sent.code}).",
            hint="Ask again later; if it stays so, move to another provider.",
        )
    if sent is not None and frame is None:
        return Closed(f"it was given up: {sent.reason}", is_regular=False)
    if frame is None:
        # The provider ends a log that it does not follow without a word.
        return Closed("the connection ended", is_regular=True)
    if frame.code == LEASE_NOT_FOUND:
        return lease_not_found()
    reason = safetext.cleaned(frame.reason)[:MAX_REASON] or "no reason given"
    return Closed(f"{reason} ({frame.code})", is_regular=frame.code in (1000, 1001, 1005))


async def _bounded(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for data in response.aiter_raw():
        body += data
        if len(body) > MAX_BODY_BYTES:
            raise EndpointError(
                f"The provider's gateway sent more than {MAX_BODY_BYTES} bytes as a status.",
                hint="Ask again later; if it stays so, move to another provider.",
            )
    return bytes(body)


class _Refusal(msgspec.Struct):
    message: str = ""


def _message(body: bytes, bearer: Bearer) -> str:
    """The reason in an error body, without the token should it repeat it."""
    try:
        message = msgspec.json.decode(body, type=_Refusal).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return safetext.cleaned(message.replace(bearer.text, "(the token)"))[:MAX_REASON]


def _text(error: BaseException) -> str:
    return safetext.cleaned(str(error))[:MAX_REASON] or type(error).__name__


def _no_address(uri: str) -> ConfigError:
    return ConfigError(
        f"{safetext.cleaned(uri)!r} is not the address of a provider's gateway.",
        hint="It is given as https://HOST:8443 by the provider's record.",
    )
