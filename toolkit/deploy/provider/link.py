"""Connections to one gateway: https for an answer, WebSocket for a stream.

Each is made with the certificate checked, a token that still has time, a time limit on
every phase and a bound on what comes back. No redirect is followed and no proxy of the
environment is used: the token goes to the gateway or nowhere.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from toolkit import pinning
from toolkit.deploy.provider import endings, trust
from toolkit.deploy.provider.address import Address
from toolkit.deploy.provider.messages import MAX_FRAME_BYTES
from toolkit.deploy.provider.token import Bearer, Tokens
from toolkit.deploy.provider.trust import Published

READ_TIMEOUT_S = 30.0
PING_S = 15.0
CLOSE_TIMEOUT_S = 2.0
MAX_QUEUE = 16
MAX_BODY_BYTES = 4 * 1024 * 1024

# Where debugging is on, the library writes every header that it sends: the token too.
_silent = logging.getLogger(f"{__name__}.websocket")
_silent.setLevel(logging.WARNING)


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
        except ConnectionClosed as end:
            raise endings.closed(end) from end


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
            raise endings.failed(error) from error
        self._check_token(response.status_code, body, bearer)
        return httpx2.Response(response.status_code, content=body)

    @asynccontextmanager
    async def socket(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Socket]:
        """An open stream. Raises as `get` does, and `RequestRefused` for another status."""
        context, bearer = await self._trusted(), await self._tokens.current()
        try:
            connection = await self._connected(f"{path}?{urlencode(query)}", context, bearer)
        except InvalidStatus as answer:
            status = answer.response.status_code
            self._check_token(status, bytes(answer.response.body or b""), bearer)
            raise endings.no_stream(status) from answer
        except (OSError, InvalidHandshake) as error:
            self._doubt(error)
            raise endings.failed(error) from error
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
                    raise endings.failed(error) from error
            return self._context

    def _doubt(self, error: BaseException) -> None:
        """After a certificate that is not the checked one, the next connection checks anew."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                self._context = None
            cause = cause.__cause__ or cause.__context__

    def _check_token(self, status: int, body: bytes, bearer: Bearer) -> None:
        """Raises for a status that speaks of the token, which is then not used again."""
        if status in endings.TOKEN_REFUSED:
            self._tokens.forget(bearer)
            raise endings.token_refused(status, body, bearer.text)

    def _client(self, context: ssl.SSLContext) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=f"https://{self._address}",
            verify=context,
            trust_env=False,
            headers={"accept-encoding": "identity"},
            timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=pinning.CONNECT_TIMEOUT_S),
        )

    def _connected(self, target: str, context: ssl.SSLContext, bearer: Bearer) -> "_Connect":
        return _Connect(
            f"wss://{self._address}{target}",
            ssl=context,
            additional_headers=bearer.header,
            user_agent_header="akash-llm",
            logger=_silent,
            proxy=None,
            compression=None,  # a small frame could become a large one
            open_timeout=pinning.CONNECT_TIMEOUT_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_FRAME_BYTES,
            max_queue=MAX_QUEUE,
        )


class _Connect(connect):
    """Follows no redirect."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def _bounded(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for data in response.aiter_raw():
        body += data
        if len(body) > MAX_BODY_BYTES:
            raise endings.too_long(MAX_BODY_BYTES)
    return bytes(body)
