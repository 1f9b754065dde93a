"""The one way out: HTTP to an endpoint, with limits, and a key that never leaks.

A key travels over https, or over plain http to this very machine; anything else is
refused before a connection is opened. Whom https reaches is settled by the authorities
of the web, or by a pin: then it is one certificate, and no other. Every phase of a
request has a timeout, no redirect is followed (it could carry the key elsewhere), and
what comes back is bounded, because an endpoint is a machine that someone else may run.
Whatever goes wrong leaves this module as a toolkit error with the next step.
"""

import asyncio
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from toolkit import jsontext, pinning
from toolkit.errors import (
    ConfigError,
    CredentialsError,
    EndpointError,
    RequestRefused,
    ToolkitError,
)

# The longest silence in a healthy stream is a model that is loaded for this request
# and a long prompt that a CPU works through before its first token.
READ_TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 0.5

# The bound that Ollama's own client puts on a line.
MAX_LINE_BYTES = 8 * 1024 * 1024
MAX_BODY_BYTES = 32 * 1024 * 1024

# Is told the steps of a request as httpcore names them, such as
# `connection.start_tls.complete`, each with what belongs to it.
Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]

_HOST = re.compile(r"[^\s/\\%<>]+")
_NOT_OURS = "Check that the URL is that of an endpoint with Ollama's API, without a path."


class Transport:
    """HTTP to one base URL. Requests are made by `answer`, `json` and `body`, nothing else."""

    def __init__(self, url: str, key: str | None = None, *, pin: str | None = None) -> None:
        """`pin` is the SHA-256 of the only certificate that is accepted, in hex.

        Raises `ConfigError` for a URL or pin that cannot be meant and `CredentialsError`
        for a key that must not travel to it."""
        self.url = _checked_url(url)
        self._pin = None if pin is None else _checked_pin(pin, self.url)
        is_local = is_loopback(self.url.host)
        if key is not None:
            _check_key(key, may_travel=self.url.scheme == "https" or is_local)
        self._key = key
        self._is_local = is_local
        # One for each request under way: a pool of connections looks at all of them for each
        # request, which for hundreds takes longer than what a benchmark wants to time.
        self._clients: list[httpx2.AsyncClient] = []
        self._idle: list[httpx2.AsyncClient] = []
        self._context: ssl.SSLContext | None = None

    async def json(self, method: str, path: str, body: object = None) -> bytes:
        """The whole answer to one request. Raises `EndpointError`s."""
        async with self.answer(method, path, body) as answer:
            return await answer.whole()

    async def body(self, path: str) -> bytes:
        """What GET answers, also where its status is an error."""
        async with self._response("GET", path, None) as response:
            return await _read_bounded(response, MAX_BODY_BYTES)

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, body: object = None, *, trace: Trace | None = None
    ) -> AsyncIterator["Answer"]:
        """The answer to one request, as soon as its head is there.

        Leaving the block, by cancellation too, closes the connection at once if the
        answer was not read to its end: the server sees it and frees the slot. `trace` is
        told what happens on the way.
        """
        async with self._response(method, path, body, trace) as response:
            await self._refuse_errors(response)
            yield Answer(response)

    @property
    def has_key(self) -> bool:
        """Whether requests carry a key."""
        return self._key is not None

    @property
    def is_pinned(self) -> bool:
        """Whether one certificate will do, and no other."""
        return self._pin is not None

    def is_at(self, url: str, pin: str | None) -> bool:
        """Whether this goes there, to that certificate. `ConfigError` for what cannot be meant."""
        there = _checked_url(url)
        return str(there).rstrip("/") == str(self.url).rstrip("/") and self._pin == (
            None if pin is None else _checked_pin(pin, there)
        )

    def moved(self, url: str, pin: str | None, key: str | None) -> "Transport":
        """Another one, to there; with the same key unless it is given one."""
        return Transport(url, key or self._key, pin=pin)

    async def aclose(self) -> None:
        """Close every connection. May be repeated."""
        clients, self._clients, self._idle = self._clients, [], []
        for client in clients:
            await client.aclose()

    @asynccontextmanager
    async def _response(
        self, method: str, path: str, body: object, trace: Trace | None = None
    ) -> AsyncIterator[httpx2.Response]:
        content = None if body is None else jsontext.encoded(body)
        headers = {} if body is None else {"content-type": "application/json"}
        client = self._idle.pop() if self._idle else self._opened()
        try:
            async with client.stream(
                method,
                path,
                content=content,
                headers=headers,
                extensions=None if trace is None else {"trace": trace},
            ) as response:
                yield response
        except httpx2.HTTPError as error:
            raise self._translated(error) from error
        finally:
            if client in self._clients:  # else it was closed meanwhile
                self._idle.append(client)

    def redacted(self, text: str) -> str:
        """`text` without the key, should the endpoint have repeated it."""
        return text.replace(self._key, "(the key)") if self._key else text

    async def _refuse_errors(self, response: httpx2.Response) -> None:
        if response.status_code != 200:
            body = await _read_bounded(response, MAX_BODY_BYTES)
            raise _refusal(response, self.redacted(_error_text(body)))

    def _opened(self) -> httpx2.AsyncClient:
        """Another client."""
        # Compressed answers would be held back and could be bombs.
        headers = {"accept-encoding": "identity"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        if self._context is None:
            self._context = pinning.public() if self._pin is None else pinning.pinned(self._pin)
        client = httpx2.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=httpx2.Timeout(
                connect=CONNECT_TIMEOUT_S,
                read=READ_TIMEOUT_S,
                write=WRITE_TIMEOUT_S,
                pool=CONNECT_TIMEOUT_S,
            ),
            # A proxy from the environment must not see what stays on this machine.
            trust_env=not self._is_local,
            verify=self._context,
        )
        self._clients.append(client)
        return client

    def _translated(self, error: httpx2.HTTPError) -> EndpointError:
        where = str(self.url)
        if (refusal := _certificate_refusal(error)) is not None:
            return _untrusted(where, refusal)
        match error:
            case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
                return EndpointError(
                    f"{where} did not accept a connection within {CONNECT_TIMEOUT_S:.0f} s.",
                    hint="Check the address and that the endpoint still runs: akash-llm status",
                )
            case httpx2.ReadTimeout():
                return EndpointError(
                    f"{where} sent nothing for {READ_TIMEOUT_S:.0f} s.",
                    hint="It may be overloaded; look at its log: akash-llm logs",
                )
            case httpx2.ConnectError():
                return EndpointError(
                    f"Nothing answers at {where} ({_reason(error)}).",
                    hint="See which endpoints run with akash-llm status; start one: akash-llm up",
                )
            case httpx2.NetworkError() | httpx2.RemoteProtocolError():
                return EndpointError(
                    f"The connection to {where} broke off ({_reason(error)}).",
                    hint="The endpoint may have stopped or restarted; its log: akash-llm logs",
                )
        return EndpointError(f"The request to {where} failed ({_reason(error)}).", hint=_NOT_OURS)


class Answer:
    """The answer to a request, whole or line by line; its headers are there at once."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._data = response.aiter_raw()

    def header(self, name: str) -> str | None:
        """The value of a response header, None without it."""
        value: str | None = self._response.headers.get(name)
        return value

    async def whole(self) -> bytes:
        """All of it, where a short answer belongs."""
        return await _read_bounded(self._response, MAX_BODY_BYTES)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Lines without their ends, empty ones left out; a line is bounded in size."""
        rest = bytearray()
        async for data in self._data:
            rest += data
            if b"\n" in data:
                *lines, last = rest.split(b"\n")
                rest = last
                for line in lines:
                    if stripped := line.strip():
                        yield bytes(stripped)
            elif len(rest) > MAX_LINE_BYTES:
                raise EndpointError(
                    f"The endpoint sent a line of more than {MAX_LINE_BYTES} bytes.",
                    hint=_NOT_OURS,
                )
        if stripped := rest.strip():
            yield bytes(stripped)

    async def drain(self) -> None:
        """Read to the end, so that the connection can serve the next request (a new
        one would put a TLS handshake before its first token). Gives up soon."""
        with suppress(TimeoutError, httpx2.HTTPError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                async for _ in self._data:
                    pass


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_key_file(path: Path) -> str:
    """The key in a key file. Raises `CredentialsError` when there is none to read."""
    try:
        key = path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(
            f"The key file {path} cannot be read.",
            hint="Give the file that the deployment wrote; akash-llm status names it.",
        ) from error
    if not key:
        raise CredentialsError(
            f"The key file {path} is empty.",
            hint="Give the file that the deployment wrote; akash-llm status names it.",
        )
    return key


def _checked_url(text: str) -> httpx2.URL:
    hint = "Give it as https://HOST, or http://127.0.0.1:PORT for one on this machine."
    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL as error:
        raise ConfigError(f"{text!r} is not a URL.", hint=hint) from error
    if url.userinfo:
        raise ConfigError("The URL carries a name or password.", hint="Give the key by key file.")
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.host) or url.query:
        raise ConfigError(f"{text!r} is not the URL of an endpoint.", hint=hint)
    return url


def _checked_pin(pin: str, url: httpx2.URL) -> bytes:
    if url.scheme != "https":
        raise ConfigError(
            "A certificate is pinned, and the URL is not https.",
            hint="Give the endpoint's https address.",
        )
    return pinning.fingerprint_of(pin)


def _certificate_refusal(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """What was wrong with the certificate, if that is behind the error."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _untrusted(where: str, refusal: ssl.SSLCertVerificationError) -> EndpointError:
    if isinstance(refusal, pinning.OtherCertificate):
        return EndpointError(
            f"{where} shows another certificate than when it was deployed; nothing was sent.",
            hint="Somebody may stand in between, or its provider has a new one: do not go on with"
            " it. Deploy anew, which notes the new one: akash-llm deploy --replace",
        )
    reason = refusal.verify_message or str(refusal)
    return EndpointError(
        f"No authority vouches for the certificate of {where} ({reason}); nothing was sent.",
        hint="Check the address. A deployment of ours with such a certificate is reached by its"
        " name: akash-llm status",
    )


def _check_key(key: str, *, may_travel: bool) -> None:
    if not may_travel:
        raise CredentialsError(
            "The key is not sent: this URL is plain http to another machine.",
            hint="Use the endpoint's https address; anyone on the way could read the key.",
        )
    if not key or not all("!" <= character <= "~" for character in key):
        raise CredentialsError(
            "The key is empty or has characters that no key has.",
            hint="Give the key as the deployment wrote it, without quotes or line ends.",
        )


def _refusal(response: httpx2.Response, text: str) -> ToolkitError:
    """What an answer other than 200 means."""
    status = response.status_code
    if status == 401:
        return CredentialsError(
            "The endpoint refused the key." if not text else f"The endpoint says: {text}",
            hint="Give the key of this endpoint; akash-llm status names its key file.",
        )
    if status == 403:
        return CredentialsError(
            f"The endpoint forbids this{': ' + text if text else '.'}",
            hint="Use a key with the scope for it, and the address that the deployment gave.",
        )
    message = text or f"The endpoint answered with status {status}."
    return RequestRefused(message, status=status, hint=_hint(status, response))


def _hint(status: int, response: httpx2.Response) -> str:
    if status == 404:
        return "See the names that it has: akash-llm models list (for a remote one: /api/tags)."
    if status in (429, 503):
        after = response.headers.get("retry-after", "")
        wait = f"in {after} s" if after.isdecimal() else "in a moment"
        return f"It is busy or still loading the model: try again {wait}."
    if 300 <= status < 400:
        return "It redirects elsewhere, which is not followed: give the final address."
    if status >= 500:
        return "Its log says more: akash-llm logs"
    return "Change the request as it says."


async def _read_bounded(response: httpx2.Response, limit: int) -> bytes:
    body = bytearray()
    async for data in response.aiter_raw():
        body += data
        if len(body) > limit:
            raise EndpointError(
                f"The endpoint sent more than {limit} bytes where a short answer belongs.",
                hint=_NOT_OURS,
            )
    return bytes(body)


def _error_text(body: bytes) -> str:
    """The message in an error body: Ollama's `{"error": text}`, OpenAI's nested one."""
    try:
        decoded = jsontext.decoded(body)
    except msgspec.DecodeError:
        return ""
    error = decoded.get("error") if isinstance(decoded, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else ""


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
