"""HTTP with the server of an engine: each of its failures gets one name and one sentence.

What it sends is as hostile as what a client sends: every read has an end.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, Final, TypeVar

import httpx2
import msgspec

from server.address import UPSTREAM_KEY_VARIABLE
from server.errors import (
    ContextExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    ServerError,
    Unsupported,
    UpstreamFailed,
    UpstreamGone,
    UpstreamSilent,
)
from server.upstream.transport import base_of, transport_to

_log = logging.getLogger("akash_llm.upstream")

T = TypeVar("T")

CONNECT_S: Final = 5.0
# Answers that are read as a whole: lists of models, tokens of a prompt, vectors.
MOST_BYTES: Final = 256 << 20
# One line of a stream: a token, or all tokens of a prompt that are told back.
MOST_LINE_BYTES: Final = 32 << 20
_MOST_ERROR_BYTES: Final = 64 << 10
_MOST_ERROR_CHARACTERS: Final = 500
_RETRY_AFTER_S: Final = 5
_END_S: Final = 0.5
_HEADERS: Final = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "akash-llm"}
_JSON: Final = {"content-type": "application/json"}
_NO_VALUE: Final = 422
_LATER: Final = (429, 502, 503, 504)
# In the words of vLLM, of Ollama, and of the llama-server in it.
_TOO_LONG: Final = (
    "maximum context length",
    "exceeds the context",
    "longer than the context length",
    "exceed_context_size",
)


class Wire:
    """The way to one server, called `engine` in messages. Close it."""

    def __init__(self, engine: str, url: str, *, key: str = "", timeout_s: float) -> None:
        """`key` is shown to it as a bearer token; it may say nothing for `timeout_s`."""
        self._engine = engine
        self._url = url
        self._base = base_of(url)
        self._timeout_s = timeout_s
        self._timeout = httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        self._headers = _HEADERS | ({"authorization": f"Bearer {key}"} if key else {})
        # Without a client of httpx2 around it, whose cookies, redirects and hooks nobody wants
        # and each request would pay for.
        self._transport = transport_to(url)

    async def close(self) -> None:
        """End every connection."""
        await self._transport.aclose()

    async def get(self, path: str, reply: type[T], *, within_s: float | None = None) -> T:
        """What is answered to a GET, as a `reply`. Raises `UpstreamFailed`, `NotFound`."""
        return self.decode(await self.read("GET", path, within_s=within_s), reply)

    async def post(self, path: str, body: Any, reply: type[T]) -> T:
        """What is answered to a POST of JSON, as a `reply`. Raises `UpstreamFailed`,
        `InvalidRequest` for what it refuses, `NotFound`."""
        return self.decode(await self.read("POST", path, body=body), reply)

    async def read(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: AsyncIterable[bytes] | None = None,
        most_bytes: int = MOST_BYTES,
        within_s: float | None = None,
    ) -> bytes:
        """The whole answer. Raises like `post`."""
        sent = content if content is not None else _encode(body)
        async with self._open(method, path, sent, within_s) as response:
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > most_bytes:
                    raise UpstreamFailed(
                        f"{self._engine} answers with more than {most_bytes} bytes"
                    )
            return bytes(data)

    @asynccontextmanager
    async def lines(self, path: str, body: Any) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The lines of the answer to a POST of JSON, as they come, without those that are
        empty. Leaving the block ends the request there. Raises like `post`."""
        async with self._open("POST", path, _encode(body), None) as response:
            lines = split_lines(response.aiter_raw(), self._engine)
            try:
                yield lines
            finally:
                await lines.aclose()

    async def run_out(self, lines: AsyncGenerator[bytes, None]) -> None:
        """Read to the end what should end now: only then can the connection be used again."""
        with suppress(TimeoutError, httpx2.HTTPError):
            async with asyncio.timeout(_END_S):
                await anext(lines, None)

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, content: Any, within_s: float | None
    ) -> AsyncIterator[httpx2.Response]:
        """A successful answer whose body is not read yet."""
        timeout = self._timeout if within_s is None else httpx2.Timeout(within_s)
        try:
            request = httpx2.Request(
                method,
                _address(self._base + path),
                headers=self._headers | (_JSON if isinstance(content, bytes) else {}),
                content=content,
                extensions={"timeout": timeout.as_dict()},
            )
            response = await self._transport.handle_async_request(request)
            async with aclosing(response):
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise UpstreamFailed(f"{self._engine} packs its answer, unasked")
                if not response.is_success:
                    raise self._refused(response.status_code, await _beginning(response))
                yield response
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            _log.warning("%s at %s cannot be reached: %s", self._engine, self._url, error)
            raise UpstreamGone(
                f"{self._engine} cannot be reached", retry_after_s=_RETRY_AFTER_S
            ) from None
        except httpx2.TimeoutException:
            limit_s = self._timeout_s if within_s is None else within_s
            _log.warning("%s at %s said nothing for %g s", self._engine, self._url, limit_s)
            raise UpstreamSilent(f"{self._engine} said nothing for {limit_s:g} s") from None
        except (httpx2.TransportError, httpx2.DecodingError, httpx2.InvalidURL) as error:
            _log.warning("%s at %s broke off: %s", self._engine, self._url, error)
            raise UpstreamFailed(f"{self._engine} broke off its answer") from None

    def _refused(self, status: int, body: bytes) -> ServerError:
        """What a status that is no success means."""
        said = _message(body)
        reason = f": {said}" if said else ""
        if status == 403 and said:
            return Forbidden(said)
        if status in (401, 403):
            _log.error("%s at %s refuses the key of this server", self._engine, self._url)
            return UpstreamFailed(
                f"{self._engine} refuses the key of this server",
                hint=f"whoever runs this server sets {UPSTREAM_KEY_VARIABLE}",
            )
        if status == 404:
            return NotFound(said or f"{self._engine} has no such thing")
        if status in (400, _NO_VALUE):
            kind = ContextExceeded if _is_too_long(said) else InvalidRequest
            return kind(said or f"{self._engine} refuses the request")
        if status == 501:
            return Unsupported(said or f"{self._engine} cannot do that")
        if status in _LATER:
            return UpstreamGone(
                f"{self._engine} is not ready{reason}", retry_after_s=_RETRY_AFTER_S
            )
        _log.warning("%s at %s answered %d%s", self._engine, self._url, status, reason)
        return UpstreamFailed(f"{self._engine} failed with status {status}{reason}")

    def decode(self, data: bytes, reply: type[T]) -> T:
        """JSON of the other side. Raises `UpstreamFailed` for what is none, or another."""
        try:
            return msgspec.json.decode(data, type=reply)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            _log.warning("%s at %s answered no sense: %s", self._engine, self._url, error)
            raise UpstreamFailed(f"{self._engine} answered what cannot be read") from None


async def split_lines(chunks: AsyncIterable[bytes], engine: str) -> AsyncGenerator[bytes, None]:
    """The lines that are not empty, wherever the chunks were cut. Raises `UpstreamFailed` for
    one without end."""
    waiting = bytearray()
    async for chunk in chunks:
        head, newline, rest = chunk.rpartition(b"\n")
        if newline:
            for line in (bytes(waiting) + head).split(b"\n"):
                if line := line.strip():
                    yield line
            waiting.clear()
        waiting += rest
        if len(waiting) > MOST_LINE_BYTES:
            raise UpstreamFailed(f"{engine} sends a line without end")
    if last := waiting.strip():
        yield bytes(last)


@lru_cache(maxsize=256)
def _address(url: str) -> httpx2.URL:
    """Raises `httpx2.InvalidURL`."""
    return httpx2.URL(url)


def _encode(body: Any) -> bytes | None:
    return None if body is None else msgspec.json.encode(body)


async def _beginning(response: httpx2.Response) -> bytes:
    """Enough of an answer to show why it is none."""
    data = b""
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) >= _MOST_ERROR_BYTES:
            break
    return data[:_MOST_ERROR_BYTES]


def _message(body: bytes) -> str:
    """What an error says in the form of Ollama, OpenAI or FastAPI, in one line."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for name in ("error", "message", "detail"):
        if isinstance(found, dict):
            found = found.get(name, found)
    if isinstance(found, list):
        found = "; ".join(str(one.get("msg", "")) for one in found if isinstance(one, dict))
    text = " ".join(found.split()) if isinstance(found, str) else ""
    is_long = len(text) > _MOST_ERROR_CHARACTERS
    return text[:_MOST_ERROR_CHARACTERS] + ("…" if is_long else "")


def _is_too_long(said: str) -> bool:
    return any(sign in said.lower() for sign in _TOO_LONG)
