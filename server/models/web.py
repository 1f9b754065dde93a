"""Reading from servers of strangers: one place with every limit.

Each wait has an end, redirects are followed by hand and looked at first, a registry may
send to its token service once, and credentials stay with the host they are for. What may
pass if it is tried again is `Interrupted`, everything else is final.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from server.errors import NotFound, PullFailed
from server.models.addresses import Guard
from server.models.patience import Interrupted, Patience

MAX_REDIRECTS = 10
MAX_RETRY_AFTER_S = 60.0
MAX_TOKEN_BYTES = 1 << 16
MIN_TOKEN_AGE_S = 30.0
_REDIRECTS = (301, 302, 303, 307, 308)
_LATER = (408, 425, 429, 500, 502, 503, 504)
_FIELD = re.compile(r'(\w+)="([^"]*)"')


class Web:
    """Reads from one server (`origin`, a URL without path) and from where it sends.

    `headers` go to that server only. `is_trusted` says of other hosts whether a token may
    be fetched from them. Use as a context manager.
    """

    def __init__(
        self,
        origin: str,
        *,
        patience: Patience,
        guard: Guard | None = None,
        headers: Mapping[str, str] | None = None,
        is_trusted: Callable[[str], bool] = lambda host: False,
    ) -> None:
        self._origin = httpx2.URL(origin)
        self._guard = guard
        self._headers = dict(headers or {})
        self._is_trusted = is_trusted
        self._asking = asyncio.Lock()
        self._asked_s = -math.inf
        timeout = httpx2.Timeout(patience.stall_s, connect=patience.connect_s)
        self._client = httpx2.AsyncClient(
            timeout=timeout,
            limits=httpx2.Limits(max_connections=32),
            headers={"user-agent": "akash-llm", "accept-encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        if self._guard is None:
            guard = Guard()
            host, port = self._origin.host, _port(self._origin)
            is_private = await guard.looks_private(host, port)
            self._guard = Guard(allow_private=is_private)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def get(self, url: str, **headers: str) -> AsyncIterator[httpx2.Response]:
        """The successful answer to a GET; its body is not read yet.

        Raises `Interrupted`, `NotFound`, or `PullFailed`; also while the body is read.
        """
        try:
            response = await self._follow(httpx2.URL(url), headers)
            try:
                _check(response)
                yield response
            finally:
                await response.aclose()
        except httpx2.TimeoutException as error:
            raise Interrupted(f"{httpx2.URL(url).host} did not answer in time") from error
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Interrupted(f"{httpx2.URL(url).host} cannot be read from: {reason}") from error
        except httpx2.InvalidURL as error:
            raise PullFailed(f"the registry sends to no URL: {error}") from error

    async def read(self, url: str, limit: int, **headers: str) -> bytes:
        """The whole body of at most `limit` bytes. Raises like `get`."""
        async with self.get(url, **headers) as response:
            return await _body(response, limit)

    async def _follow(self, url: httpx2.URL, headers: Mapping[str, str]) -> httpx2.Response:
        for _ in range(MAX_REDIRECTS):
            before = self._headers.get("authorization")
            response = await self._send(url, headers)
            if response.status_code == 401 and await self._authorize(response, url, before):
                await response.aclose()
                continue
            if response.status_code not in _REDIRECTS:
                return response
            await response.aclose()
            url = self._next(url, response.headers.get("location", ""))
        raise PullFailed(f"{self._origin.host} redirects without end")

    def _next(self, url: httpx2.URL, location: str) -> httpx2.URL:
        found = url.join(location)
        schemes = ("https", "http") if self._origin.scheme == "http" else ("https",)
        if not location or found.scheme not in schemes or not found.host:
            raise PullFailed(f"{url.host} redirects to something that is not {schemes[0]}")
        return found

    async def _send(
        self, url: httpx2.URL, headers: Mapping[str, str], *, is_anonymous: bool = False
    ) -> httpx2.Response:
        """One request, to an address that was looked at."""
        own = self._headers if _same_server(url, self._origin) and not is_anonymous else {}
        extensions: dict[str, Any] = {}
        host: dict[str, str] = {}
        target = url
        address = await self._address(url)
        if address is not None and address != url.host:
            host = {"host": url.netloc.decode("ascii")}
            extensions["sni_hostname"] = url.raw_host.decode("ascii")
            target = url.copy_with(host=address)
        request = self._client.build_request(
            "GET", target, headers={**headers, **own, **host}, extensions=extensions
        )
        return await self._client.send(request, stream=True)

    async def _address(self, url: httpx2.URL) -> str | None:
        if self._guard is None:
            return None
        try:
            return await self._guard.address(url.scheme, url.host, _port(url))
        except OSError as error:
            raise Interrupted(f"{url.host} is not known: {error.strerror or error}") from error

    # -- anonymous tokens

    async def _authorize(
        self, response: httpx2.Response, url: httpx2.URL, before: str | None
    ) -> bool:
        """Have another token than `before`, fetched where the server says; whether there is one.

        One that was just fetched is not replaced: then it is no good.
        """
        scheme, _, rest = response.headers.get("www-authenticate", "").partition(" ")
        if scheme.lower() != "bearer" or not _same_server(url, self._origin):
            return False
        async with self._asking:
            if self._headers.get("authorization") != before:
                return True
            now_s = asyncio.get_running_loop().time()
            if now_s - self._asked_s < MIN_TOKEN_AGE_S:
                return False
            self._asked_s = now_s
            self._headers["authorization"] = await self._fetch_token(dict(_FIELD.findall(rest)))
        return True

    async def _fetch_token(self, fields: Mapping[str, str]) -> str:
        realm = self._realm(fields.get("realm", ""))
        query = {key: fields[key] for key in ("service", "scope") if key in fields}
        response = await self._send(realm.copy_merge_params(query), {}, is_anonymous=True)
        try:
            _check(response)
            return f"Bearer {_token(await _body(response, MAX_TOKEN_BYTES))}"
        finally:
            await response.aclose()

    def _realm(self, text: str) -> httpx2.URL:
        realm = httpx2.URL(text)
        is_known = realm.host == self._origin.host or self._is_trusted(realm.netloc.decode())
        if not is_known or realm.scheme not in ("https", self._origin.scheme):
            raise PullFailed(
                f"{self._origin.host} wants a token from {realm.host or 'nowhere'}, "
                "which is not one of the registries",
                hint="models that need an account cannot be pulled",
            )
        return realm


def _check(response: httpx2.Response) -> None:
    """Raise for an answer that is no success."""
    status, host = response.status_code, response.request.headers.get("host", "")
    if status in (200, 206):
        return
    if status in _LATER:
        raise Interrupted(f"{host} answered {status}", _retry_after_s(response))
    if status == 404:
        raise NotFound("file does not exist")
    hint = "models that need an account cannot be pulled" if status in (401, 403) else ""
    raise PullFailed(f"{host} answered {status}", hint=hint)


def _retry_after_s(response: httpx2.Response) -> float:
    try:
        return min(max(float(response.headers.get("retry-after", "0")), 0.0), MAX_RETRY_AFTER_S)
    except ValueError:  # a date: the pauses of our own are long enough
        return 0.0


def _token(data: bytes) -> str:
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PullFailed("the token service of the registry gives no token") from error
    token = fields.get("token") or fields.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise PullFailed("the token service of the registry gives no token")
    return token


async def _body(response: httpx2.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise PullFailed(f"an answer is longer than {limit} bytes")
    return bytes(body)


def _same_server(one: httpx2.URL, other: httpx2.URL) -> bool:
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx2.URL) -> int:
    return url.port or {"https": 443, "http": 80}.get(url.scheme, 0)
