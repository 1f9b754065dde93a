"""HTTP to the Console: a key that goes nowhere else, and nothing that is sent twice.

The key travels in one header, over https or to this very machine, and only with calls
that need it (a bad key makes public calls fail too). No redirect is followed. Every phase
and the whole of a request have a time limit, and an answer has a largest size. What
changes nothing may be repeated; anything else is sent once (again only to who was too busy for
it), and if its answer is lost the error says how to find out what happened.

An error of the HTTP library holds the request, and so the key. None leaves this module, not
as the cause or context of another.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2
import msgspec
import stamina

from toolkit import pinning
from toolkit.deploy.console.decoding import Unreadable, decode
from toolkit.deploy.console.refusals import Answer, refusal, reply_lost
from toolkit.errors import ConfigError, CredentialsError, EndpointError, ToolkitError
from toolkit.transport import is_loopback

CONNECT_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 30.0
READ_TIMEOUT_S = 45.0
MAX_BODY_BYTES = 32 * 1024 * 1024

# So long a person who only looks is kept waiting; what is paid for has longer.
PATIENCE_S = 15.0

_BUSY = frozenset({429})
_PASSING = _BUSY | {500, 502, 503, 504}
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
_HOST = re.compile(r"[0-9A-Za-z.:-]+")
_KEY = re.compile(r"[!-~]{8,512}")

T = TypeVar("T")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request.

    `look` says how to find out what became of it when its answer is lost; None: it changes
    nothing and may be repeated. Who is too busy for it (429) has done nothing: then it is sent
    again, unless it `is_sent_once` and whoever sends it decides. `read_s` is the longest silence
    before the answer.
    """

    method: str
    path: str
    look: str | None = None
    is_keyed: bool = True
    is_sent_once: bool = False
    read_s: float = READ_TIMEOUT_S

    @property
    def total_s(self) -> float:
        """The longest that all of it may take, however steadily the answer drips."""
        return CONNECT_TIMEOUT_S + WRITE_TIMEOUT_S + 2 * self.read_s


class _Passing(Exception):
    """An answer after which the same request may do better."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer


class Wire:
    """Requests to one Console."""

    def __init__(self, url: str, key: str | None, *, patience_s: float = PATIENCE_S) -> None:
        """What may be repeated is, for `patience_s`. Raises `ConfigError` for a URL that cannot
        be a Console's and `CredentialsError` for a key that cannot be one."""
        self._url = _checked_url(url)
        if key is not None and not _KEY.fullmatch(key):
            raise CredentialsError(
                "The Console key holds characters that no key has, or too few.",
                hint="Give it as the Console showed it, without quotes or line ends.",
            )
        self._key = key
        self._patience_s = patience_s
        self._client: httpx2.AsyncClient | None = None
        self._told: tuple[datetime, float] | None = None

    @property
    def has_key(self) -> bool:
        return self._key is not None

    @property
    def now(self) -> datetime:
        """The time of day at the Console, by the date of its last answer; by our own clock where
        there was none. Money is reckoned by it, since our own clock may be wrong, and jump."""
        if self._told is None:
            return datetime.now(UTC)
        date, at = self._told
        return date + timedelta(seconds=time.monotonic() - at)

    def __repr__(self) -> str:
        return f"Wire({str(self._url)!r})"

    async def send(
        self,
        call: Call,
        into: type[T],
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> T:
        """The answer to one request. Raises a `ToolkitError`: `ReplyLost` where what became
        of it is not known, `CredentialsError`, `FundsMissing`, `RequestRefused` for what the
        Console refuses, `EndpointError` for the rest."""
        if call.is_keyed and self._key is None:
            raise CredentialsError(
                "This needs a key of the Akash Console, and there is none.",
                hint="Make one at console.akash.network, Settings, API Keys: AKASH_API_KEY.",
            )
        failure: ToolkitError
        try:
            answer = await self._heard(call, self._request(call, params, body))
        except httpx2.HTTPError as error:
            failure = self._failure(call, error)
        else:
            if answer.is_success:
                return _understood(call, answer, into)
            failure = refusal(answer, look=call.look)
        raise failure

    async def aclose(self) -> None:
        """Close every connection. May be repeated."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _heard(self, call: Call, request: httpx2.Request) -> Answer:
        if call.is_sent_once:
            return await self._exchange(call, request)
        passing, also = (_PASSING, httpx2.TransportError) if call.look is None else (_BUSY, ())

        def pause(error: Exception) -> bool | float:
            """Whether to repeat it, or in how many seconds."""
            if not isinstance(error, _Passing):
                return isinstance(error, also)
            wait_s = error.answer.retry_after_s
            return True if wait_s is None else wait_s <= self._patience_s and wait_s

        try:
            async for attempt in stamina.retry_context(
                on=pause, attempts=None, timeout=self._patience_s
            ):
                with attempt:
                    answer = await self._exchange(call, request)
                    if answer.status in passing:
                        raise _Passing(answer)
        except _Passing as error:
            return error.answer
        return answer

    async def _exchange(self, call: Call, request: httpx2.Request) -> Answer:
        try:
            async with asyncio.timeout(call.total_s):
                response = await self._opened().send(request, stream=True)
                try:
                    body = await _read_bounded(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout(f"not done within {call.total_s:.0f} s") from None
        if call.is_keyed:  # what anyone may ask may come out of a cache, with its date
            self._take_time(response.headers.get("date", ""))
        wait = response.headers.get("retry-after", "")
        return Answer(response.status_code, self._redacted(body), wait)

    def _take_time(self, date: str) -> None:
        with suppress(ValueError):
            told = parsedate_to_datetime(date)
            if told.tzinfo is not None:
                self._told = told, time.monotonic()

    def _request(
        self, call: Call, params: Mapping[str, str] | None, body: object
    ) -> httpx2.Request:
        # Compressed answers could be bombs.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if body is not None:
            headers["content-type"] = "application/json"
        if call.is_keyed and self._key is not None:
            headers["x-api-key"] = self._key
        return self._opened().build_request(
            call.method,
            call.path,
            params=params,
            content=None if body is None else msgspec.json.encode(body),
            headers=headers,
            timeout=httpx2.Timeout(
                connect=CONNECT_TIMEOUT_S,
                read=call.read_s,
                write=WRITE_TIMEOUT_S,
                pool=CONNECT_TIMEOUT_S,
            ),
        )

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                base_url=self._url,
                timeout=CONNECT_TIMEOUT_S,
                follow_redirects=False,
                # A proxy from the environment must not see what stays on this machine.
                trust_env=not is_loopback(self._url.host),
                verify=pinning.public(),
            )
        return self._client

    def _redacted(self, body: bytes) -> bytes:
        """The body without the key, should the Console have repeated it."""
        return body if self._key is None else body.replace(self._key.encode(), b"(the key)")

    def _failure(self, call: Call, error: httpx2.HTTPError) -> ToolkitError:
        reason = str(error) or type(error).__name__
        if isinstance(error, _NEVER_SENT):
            return EndpointError(
                f"The Console at {self._url} cannot be reached ({reason}); nothing was sent.",
                hint="Check the network and try again.",
            )
        if call.look is not None:
            return reply_lost(f"did not answer ({reason})", call.look)
        return EndpointError(
            f"The Console at {self._url} did not answer ({reason}).",
            hint="Try again in a few minutes.",
        )


def _understood(call: Call, answer: Answer, into: type[T]) -> T:
    try:
        return decode(answer.body, into)
    except Unreadable as error:
        reason = str(error)
    if call.look is not None:
        raise reply_lost(f"answered what cannot be read ({reason})", call.look)
    raise EndpointError(
        f"The Console's answer to {call.method} {call.path} cannot be read ({reason}).",
        hint="Check its address; a newer akash-llm may understand a newer Console.",
    )


async def _read_bounded(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for data in response.aiter_raw():
        body += data
        if len(body) > MAX_BODY_BYTES:
            raise httpx2.DecodingError(f"more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _checked_url(text: str) -> httpx2.URL:
    hint = "Give it as https://HOST, or http://127.0.0.1:PORT for one on this machine."
    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL:
        raise ConfigError("The Console's address is not a URL.", hint=hint) from None
    is_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))
    is_bare = not url.userinfo and not url.query and url.path in ("", "/")
    if not (is_safe and is_bare and _HOST.fullmatch(url.host)):
        raise ConfigError("This cannot be the Console's address.", hint=hint)
    return url
