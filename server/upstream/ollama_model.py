"""One model of an Ollama: it gets conversations and texts whole, since Ollama makes the prompts
and reads the replies itself."""

import asyncio
import math
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from server.api.abilities import check_images
from server.api.engines import Talker
from server.api.events import Said
from server.api.options import Resolved
from server.api.prompt import Window
from server.api.requests import ChatRequest, CompletionRequest, EmbedRequest
from server.api.resolving import options_of
from server.engine.types import (
    Embeddings,
    Finish,
    ImageSegment,
    ModelInfo,
    Piece,
    Request,
    Segment,
)
from server.engine.types import EmbedRequest as TokenEmbedRequest
from server.errors import ModelNotFound, NotFound, Unsupported, UpstreamFailed
from server.upstream import ollama_requests as asking
from server.upstream.base import Book
from server.upstream.listed import ListedModel
from server.upstream.ollama_forced import as_format
from server.upstream.ollama_requests import Asked
from server.upstream.ollama_shown import info_of
from server.upstream.ollama_stream import ReplyStream
from server.upstream.ollama_wire import Chunk, Running, Vectors
from server.upstream.wire import Wire

T = TypeVar("T")

_EMBED = "/api/embed"
_NO_TOKENS = "Ollama does not tell its tokens"


class OllamaModel(Talker):
    """See `server.api.engines.Talker`."""

    def __init__(
        self,
        wire: Wire,
        model: ListedModel,
        book: Book,
        *,
        running: Callable[[], Running | None],
        was_used: Callable[[], Awaitable[None]],
        keep_alive_s: float | None = None,
    ) -> None:
        """`running` says how it is loaded now; `was_used` is told after each request.
        `keep_alive_s` goes with each request, as in `server.engine.supervisor`."""
        self._wire = wire
        self._model = model
        self._name = model.upstream_name
        self._book = book
        self._running = running
        self._was_used = was_used
        self._keep_alive_s = keep_alive_s

    def kept(self, keep_alive_s: float | None) -> "OllamaModel":
        """The same for a request that says how long the model stays."""
        return OllamaModel(
            self._wire,
            self._model,
            self._book,
            running=self._running,
            was_used=self._was_used,
            keep_alive_s=keep_alive_s,
        )

    @property
    def info(self) -> ModelInfo:
        return info_of(self._model, self._running())

    async def load(self) -> None:
        """An empty request is what loads a model."""
        if self.info.can_generate:
            await self._post(asking.GENERATE, {"model": self._name, "stream": False}, Chunk)
        else:
            await self._post(_EMBED, {"model": self._name, "input": []}, Vectors)

    def takes(self, request: ChatRequest | CompletionRequest | EmbedRequest) -> bool:
        return True

    async def talk(
        self, request: ChatRequest | CompletionRequest, options: Resolved, window: Window
    ) -> AsyncGenerator[Said | Finish]:
        asked = self._asked(request, options)
        stream = _stream(request, is_mute=options.max_tokens == 0)
        body = asked.body | asking.kept(self._keep_alive_s)
        with self._errors():
            async with self._wire.lines(asked.path, body) as lines:
                async for line in lines:
                    for event in stream.feed(self._wire.decode(line, Chunk)):
                        yield event
                    if stream.is_over:
                        await self._wire.run_out(lines)
                        break
        finish = stream.finish()
        self._book.add(finish)
        await self._was_used()
        yield finish

    async def render(self, request: ChatRequest | CompletionRequest) -> str:
        """Ollama shows it without generating anything."""
        asked = self._asked(request, _one_token(request))
        body = asked.body | {"stream": False, "_debug_render_only": True}
        shown = (await self._post(asked.path, body, Chunk)).debug_info
        if shown is None:
            raise Unsupported("this version of Ollama does not show prompts")
        return shown.rendered_template

    async def count(self, request: ChatRequest | CompletionRequest) -> int:
        """Ollama counts only what it computes, so it computes the prompt and one token. A prompt
        that is too long raises `ContextExceeded`."""
        whole = {"stream": False, "truncate": False, "shift": False}
        asked = self._asked(request, _one_token(request))
        counted = await self._post(asked.path, asked.body | whole, Chunk)
        if not counted.prompt_eval_count:
            raise UpstreamFailed("Ollama did not count the prompt")
        return counted.prompt_eval_count

    async def embed_texts(self, request: EmbedRequest) -> Embeddings:
        body = asking.embedding(self._name, request)
        found = await self._post(_EMBED, body, Vectors)
        vectors = await asyncio.to_thread(_vectors, found, len(request.inputs), request.dimensions)
        self._book.counts.prompt_tokens += found.prompt_eval_count
        return Embeddings(
            vectors=vectors,
            prompt_tokens=found.prompt_eval_count,
            queue_ns=found.load_duration,
        )

    async def tokenize(
        self, segments: Sequence[Segment | ImageSegment], *, add_bos: bool
    ) -> list[int]:
        raise Unsupported(_NO_TOKENS)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        raise Unsupported(_NO_TOKENS)

    def as_text(
        self, segments: Sequence[Segment | ImageSegment], *, context: int, max_tokens: int | None
    ) -> None:
        """It takes every request whole."""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish]:
        raise Unsupported(_NO_TOKENS)
        yield

    async def embed(self, request: TokenEmbedRequest) -> Embeddings:
        raise Unsupported(_NO_TOKENS)

    def _asked(self, request: ChatRequest | CompletionRequest, options: Resolved) -> Asked:
        if isinstance(request, CompletionRequest):
            return asking.completion(self._name, request, options)
        check_images(request, self.info)
        if request.tool_use.choice == "required":
            request = as_format(request)
        return asking.chat(
            self._name, request, options, thinks="thinking" in self._model.capabilities
        )

    async def _post(self, path: str, body: dict[str, Any], reply: type[T]) -> T:
        with self._errors():
            found = await self._wire.post(path, body | asking.kept(self._keep_alive_s), reply)
        await self._was_used()
        return found

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What is not there is the model."""
        try:
            yield
        except NotFound as error:
            raise ModelNotFound(error.message) from None


def _one_token(request: ChatRequest | CompletionRequest) -> Resolved:
    return options_of(request.model, request.generation)._replace(max_tokens=1)


def _stream(request: ChatRequest | CompletionRequest, *, is_mute: bool) -> ReplyStream:
    if isinstance(request, CompletionRequest):
        return ReplyStream(is_mute=is_mute)
    tool_use = request.tool_use
    return ReplyStream(
        tool_use.shown,
        most_calls=None if tool_use.is_parallel else 1,
        is_call=tool_use.choice == "required",
        is_mute=is_mute,
    )


def _vectors(found: Vectors, count: int, dimensions: int | None) -> tuple[bytes, ...]:
    """Raises `UpstreamFailed` if they are not one for each text."""
    vectors = found.embeddings or []
    if len(vectors) != count:
        raise UpstreamFailed("Ollama did not answer with one vector for each text")
    return tuple(_vector(values, dimensions) for values in vectors)


def _vector(values: Sequence[float], dimensions: int | None) -> bytes:
    """As many leading components as are wanted, made as long as 1: old versions of Ollama
    cut none."""
    if dimensions is not None and len(values) > dimensions:
        values = values[:dimensions]
        length = math.hypot(*values) or 1.0
        values = [value / length for value in values]
    return array("f", values).tobytes()
