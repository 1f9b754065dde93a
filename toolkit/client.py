"""The async client of one endpoint: chat and completion as streams of text, with facts.

It speaks Ollama's API as it is on the wire, so it works against any server of that
API, ours or not. There is no synchronous twin. The key is read from its file and
lives in the transport only: it is in no representation, result or message.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from toolkit import jsontext
from toolkit.errors import (
    ConfigError,
    CredentialsError,
    DeadlineError,
    EndpointError,
    RequestRefused,
)
from toolkit.route import Locate, Route
from toolkit.safetext import cleaned
from toolkit.transport import Answer, Trace, Transport, read_key_file

READY_POLL_S = 0.25

Price = Callable[[], Decimal | None]
"""Says what the endpoint costs now, in US dollars an hour; None where it costs nothing known."""

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation; `images` are base64 strings."""

    role: str
    content: str
    images: tuple[str, ...] = ()


class ChatStats(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer cost. None: the endpoint did not say and it cannot be measured.

    `ttft_s` runs from the request being sent to the first chunk *with text*,
    `first_byte_s` to the head of the answer, `total_s` to its end, all on this side.
    `tokens_per_s` is the server's own count over its own time for generated tokens
    (`eval_count / eval_duration`). `context_used` is prompt and output together,
    `context` the window they live in.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    ttft_s: float | None = None
    first_byte_s: float
    tokens_per_s: float | None = None
    context_used: int | None = None
    context: int | None = None
    truncated_tokens: int = 0
    finish_reason: str = ""
    load_s: float | None = None
    total_s: float


class Chunk(msgspec.Struct, frozen=True):
    """A piece of an answer. The last one has `done` and `stats`."""

    text: str = ""
    thinking: str = ""
    done: bool = False
    stats: ChatStats | None = None


class Endpoint:
    """One endpoint: its facts, and requests to it.

    Made by `open`; used from one event loop; closed by `aclose` or `async with`.
    With `locate` it follows an endpoint that was replaced (see `toolkit.route`). All
    requests raise `EndpointError` (nothing answers, or not in its API), `RequestRefused`
    (it answered with an error) or `CredentialsError`.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        name: str = "",
        model: str = "",
        key_file: Path | None = None,
        target: str = "",
        locate: Locate | None = None,
        price: Price | None = None,
    ) -> None:
        self.name = name
        self.key_file = key_file
        self.target = target
        self._route = Route(transport, locate, model=model)
        self._chosen = ""
        self._price = price
        self._contexts: dict[str, int | None] = {}

    @classmethod
    def open(
        cls,
        *,
        url: str,
        key: str | None = None,
        key_file: str | Path | None = None,
        pin: str | None = None,
        model: str = "",
        name: str = "",
        target: str = "",
        locate: Locate | None = None,
        price: Price | None = None,
    ) -> Self:
        """An endpoint at `url`; nothing is sent yet.

        `key` wins over `key_file`; with neither no key is sent. `pin` is the SHA-256, in
        hex, of the only certificate that will do; without it an authority of the web has
        to vouch for it. `model` is the default of every request, `price` says what it costs.
        Raises `ConfigError` for a bad URL or pin and `CredentialsError` for a key that is
        unreadable or must not travel there.
        """
        path = Path(key_file) if key_file is not None else None
        if key is None and path is not None:
            key = read_key_file(path)
        transport = Transport(url, key, pin=pin)
        facts = {"name": name, "model": model, "target": target}
        return cls(transport, **facts, key_file=path, locate=locate, price=price)

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        return str(self._route.url).rstrip("/")

    @property
    def model(self) -> str:
        """The default of every request: the one that was chosen by setting it, else the one that
        the endpoint serves, also when it was replaced or updated to serve another."""
        return self._chosen or self._route.model

    @model.setter
    def model(self, name: str) -> None:
        self._chosen = "" if name == self._route.model else name

    async def usd_per_hour(self) -> Decimal | None:
        """What it costs now, by the books of who opened it; None where nothing is known."""
        return None if self._price is None else await asyncio.to_thread(self._price)

    @property
    def has_key(self) -> bool:
        """Whether requests carry a key."""
        return self._route.has_key

    @property
    def is_pinned(self) -> bool:
        """Whether its certificate is known by its digest: other clients would refuse it."""
        return self._route.is_pinned

    def __repr__(self) -> str:
        shown = {"name": self.name, "url": self.url, "model": self.model, "target": self.target}
        return f"Endpoint({', '.join(f'{k}={v!r}' for k, v in shown.items() if v)})"

    async def chat(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        model: str | None = None,
        system: str | None = None,
        options: Mapping[str, Any] | None = None,
        format: str | Mapping[str, Any] | None = None,
        think: bool | str | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        """The answer to a conversation (or to one user message), as it is generated.

        `system` goes before the messages. Closing the iterator closes the connection
        at once, and the server stops generating; who may stop early or be cancelled
        holds it in `contextlib.aclosing`.
        """
        conversation: list[Message | Mapping[str, Any]] = []
        if system:
            conversation.append(Message("system", system))
        if isinstance(messages, str):
            conversation.append(Message("user", messages))
        else:
            conversation.extend(messages)
        body = _body(options, format, think) | {"messages": conversation}
        async for chunk in self._stream("/api/chat", model, body):
            yield chunk

    async def generate(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        suffix: str | None = None,
        raw: bool = False,
        options: Mapping[str, Any] | None = None,
        format: str | Mapping[str, Any] | None = None,
        think: bool | str | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        """The completion of one prompt, as it is generated; like `chat` otherwise."""
        body = _body(options, format, think) | {"prompt": prompt}
        body |= {k: v for k, v in (("system", system), ("suffix", suffix)) if v is not None}
        if raw:
            body["raw"] = True
        async for chunk in self._stream("/api/generate", model, body):
            yield chunk

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, body: object = None, *, trace: Trace | None = None
    ) -> AsyncIterator[Answer]:
        """The answer to any request, line by line as on the wire: for who measures it, or
        speaks another of its APIs. `trace` is told what happens on the way."""
        async with self._route.answer(method, path, body, trace=trace) as answer:
            yield answer

    def redacted(self, text: str) -> str:
        """`text` without any key, should the endpoint have repeated it."""
        return self._route.redacted(text)

    async def is_ready(self) -> bool:
        """Whether it would answer now: one probe of its readiness.

        False when nothing listens or a model is still loading. A server without our
        readiness route counts as ready when it tells its version.
        """
        try:
            try:
                await self._route.json("GET", "/health/ready")
            except RequestRefused as refused:
                if refused.status != 404:
                    return False
                await self.version()
        except EndpointError:
            return False
        return True

    async def ready(self, timeout_s: float = 120.0) -> None:
        """Wait until `is_ready`. Raises `DeadlineError` after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.is_ready():
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            raise DeadlineError(
                f"{self.url} was not ready within {timeout_s:.0f} s.",
                hint="Its log says what it is doing: akash-llm logs",
            ) from None

    async def why_not_ready(self) -> str:
        """The reason in its own words; empty where it gives none, or does not answer."""
        try:
            body = await self._route.body("/health/ready")
            reason = jsontext.decoded(body, _Readiness).reason
        except (EndpointError, msgspec.MsgspecError):
            return ""
        return self._route.redacted(cleaned(reason))

    async def version(self) -> str:
        """The version that the server names."""
        return (await self._fetch("GET", "/api/version", _Version)).version

    async def tags(self) -> list[dict[str, Any]]:
        """The models that it has, newest first, as on the wire."""
        return (await self._fetch("GET", "/api/tags", _Models)).models

    async def ps(self) -> list[dict[str, Any]]:
        """The models that it holds in memory, as on the wire."""
        return (await self._fetch("GET", "/api/ps", _Models)).models

    async def metrics(self) -> str:
        """What it counts, in Prometheus' text form. Of our server only."""
        return (await self._route.json("GET", "/metrics")).decode("utf-8", "replace")

    async def show(self, model: str | None = None) -> dict[str, Any]:
        """All about one model, as on the wire."""
        return await self._fetch(
            "POST", "/api/show", dict[str, Any], lambda: {"model": self._named(model)}
        )

    async def pull(self, model: str) -> AsyncGenerator[dict[str, Any], None]:
        """Have it get a model: steps as on the wire. Closing the iterator stops it.

        Needs a key of scope `admin`. `RequestRefused` where it fails half way, too.
        """
        async with self._route.answer("POST", "/api/pull", {"model": model}) as lines:
            async for raw in lines:
                step = _decoded(raw, dict[str, Any])
                if (error := step.get("error")) is not None:
                    raise RequestRefused(
                        self._route.redacted(_text_of(error)),
                        status=200,
                        hint="What it has of the model is kept: pull it again.",
                    )
                yield step

    async def delete(self, model: str) -> None:
        """Have it remove a model. Needs a key of scope `admin`."""
        await self._route.json("DELETE", "/api/delete", {"model": model})

    async def context(self, model: str | None = None) -> int | None:
        """The window of a loaded model in tokens; None when it is not told."""
        try:
            return _context_of(self._named(model), await self.ps())
        except (EndpointError, CredentialsError):
            return None

    async def aclose(self) -> None:
        """Close every connection. May be repeated."""
        await self._route.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _fetch(self, method: str, path: str, kind: type[T], body: object = None) -> T:
        return _decoded(await self._route.json(method, path, body), kind)

    async def _stream(
        self, path: str, model: str | None, body: dict[str, Any]
    ) -> AsyncGenerator[Chunk, None]:
        clock = _Clock()
        last: _Line | None = None

        def whole() -> dict[str, Any]:
            return {"model": self._named(model), **body}

        async with self._route.answer("POST", path, whole) as lines:
            clock.first_byte()
            name = self._named(model)
            truncated = _count(lines.header("x-truncated-tokens"))
            async for raw in lines:
                line = _decoded(raw, _Line)
                if line.error is not None:
                    raise RequestRefused(
                        self._route.redacted(_text_of(line.error)),
                        status=200,
                        hint="The answer broke off; try again, or look at its log: akash-llm logs",
                    )
                text, thinking = line.texts()
                if text or thinking:
                    clock.token()
                if line.done:
                    clock.end()
                    last = line
                if text or thinking or not line.done:
                    yield Chunk(text, thinking)
                if line.done:
                    await lines.drain()
                    break
        if last is None:
            raise EndpointError(
                "The answer ended before it was complete.",
                hint="The endpoint or a proxy on the way gave up; try again, or see akash-llm logs",
            )
        if name not in self._contexts:
            self._contexts[name] = await self.context(name)
        context = self._contexts[name]
        yield Chunk(done=True, stats=clock.stats(last, truncated=truncated, context=context))

    def _named(self, model: str | None) -> str:
        name = model or self.model
        if not name:
            raise ConfigError("No model is named.", hint="Give model=…; tags() lists the names.")
        return name


class _Clock:
    """The moments of one answer."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._first_byte = self._first_token = self._end = 0.0

    def first_byte(self) -> None:
        self._first_byte = time.perf_counter()

    def token(self) -> None:
        self._first_token = self._first_token or time.perf_counter()

    def end(self) -> None:
        self._end = time.perf_counter()

    def stats(self, last: "_Line", *, truncated: int, context: int | None) -> ChatStats:
        prompt, output = last.prompt_eval_count, last.eval_count
        both = None if prompt is None and output is None else (prompt or 0) + (output or 0)
        return ChatStats(
            prompt_tokens=prompt,
            output_tokens=output,
            ttft_s=self._first_token - self._start if self._first_token else None,
            first_byte_s=self._first_byte - self._start,
            tokens_per_s=_rate(output, last.eval_duration),
            context_used=both,
            context=context,
            truncated_tokens=truncated or _count(last.truncated),
            finish_reason=last.done_reason,
            load_s=last.load_duration / 1e9 if last.load_duration is not None else None,
            total_s=self._end - self._start,
        )


class _Readiness(msgspec.Struct):
    reason: str = ""


class _Version(msgspec.Struct):
    version: str


class _Models(msgspec.Struct):
    models: list[dict[str, Any]]


class _Content(msgspec.Struct):
    content: str = ""
    thinking: str = ""


class _Line(msgspec.Struct):
    """One line of a stream, of chat and generate alike."""

    message: _Content | None = None
    response: str = ""
    thinking: str = ""
    done: bool = False
    done_reason: str = ""
    error: Any = None
    truncated: Any = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    load_duration: int | None = None

    def texts(self) -> tuple[str, str]:
        """Answer and thinking."""
        if self.message is not None:
            return self.message.content, self.message.thinking
        return self.response, self.thinking


def _body(
    options: Mapping[str, Any] | None,
    format: str | Mapping[str, Any] | None,
    think: bool | str | None,
) -> dict[str, Any]:
    given = {"options": options or None, "format": format, "think": think}
    return {"stream": True} | {k: v for k, v in given.items() if v is not None}


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return jsontext.decoded(body, kind)
    except msgspec.DecodeError as error:
        raise EndpointError(
            "The endpoint's answer is not Ollama's API.",
            hint="Check that the URL is that of the endpoint itself, not of a web page or proxy.",
        ) from error


def _context_of(name: str, loaded: list[dict[str, Any]]) -> int | None:
    wanted = {name.lower(), f"{name.lower()}:latest"}
    for model in loaded:
        if str(model.get("name", "")).lower() in wanted:
            length = model.get("context_length")
            return length if isinstance(length, int) and length > 0 else None
    return None


def _rate(count: int | None, duration_ns: int | None) -> float | None:
    return count / (duration_ns / 1e9) if count and duration_ns else None


def _count(value: object) -> int:
    """A count of tokens however it was written, 0 if it was not."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _text_of(error: object) -> str:
    if isinstance(error, dict):
        error = error.get("message", "")
    return str(error) or "The endpoint reported an error without a text."
