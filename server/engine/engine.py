"""One runner process as seen from the HTTP process: an async `LoadedModel`.

Nothing here imports llama.cpp. A runner that dies ends every request that it had with
`EngineCrashed`, and whoever started it is told.
"""

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import cast

from server.engine.config import EngineConfig
from server.engine.messages import (
    Abort,
    Detokenize,
    Embed,
    Embedded,
    Failure,
    Frames,
    FromRunner,
    Load,
    Loaded,
    LoadRefused,
    NotEmbedded,
    Refused,
    Step,
    Submit,
    Text,
    Tokenize,
    Tokens,
    ToRunner,
    decode_from_runner,
    encode,
)
from server.engine.types import (
    Embeddings,
    EmbedRequest,
    EngineStats,
    Finish,
    ModelInfo,
    Piece,
    Request,
    Segment,
)
from server.errors import (
    ContextExceeded,
    EngineCrashed,
    InvalidRequest,
    LoadFailed,
    Overloaded,
    ServerError,
)
from server.models.model_files import ModelFiles

# A runner that is told to go ends at once; one that hangs in C is killed after this.
_GOODBYE_S = 2.0

_RUNNER_ENVIRONMENT = {
    # gdb would be started for a back trace on abort and take a second.
    "GGML_NO_BACKTRACE": "1",
    # How often a thread looks before it sleeps at one of the thousand barriers of a step.
    # By default it looks for so long that two runners on the same cores take each other's
    # time slices: a step of 8 streams took 1,200 ms instead of 64 (2 cores, 135M model).
    # Alone it costs nothing that could be measured; 0 costs a factor of four.
    "GOMP_SPINCOUNT": "500",
}


_Answer = Tokens | Text | Embedded


class _Stream:
    """Events of one request on their way to one consumer."""

    def __init__(self) -> None:
        self._events: list[Piece | Finish | ServerError] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: Piece | Finish | ServerError) -> None:
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[Piece | Finish | ServerError]:
        """All events since the last call; waits for at least one."""
        if not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        events, self._events = self._events, []
        return events


def _error(failure: Failure) -> ServerError:
    match failure.kind:
        case "context_exceeded":
            return ContextExceeded(failure.message)
        case "invalid_request":
            return InvalidRequest(failure.message)
        case "overloaded":
            return Overloaded(failure.message, retry_after_s=1)
        case "engine_crashed":
            return EngineCrashed(failure.message)


class Runner(asyncio.Protocol):
    """A started runner. Made by `start`; usable until it dies or is stopped."""

    def __init__(self, on_exit: Callable[[], None]) -> None:
        self._on_exit = on_exit
        self._frames = Frames()
        self._ids = itertools.count(1)
        self._streams: dict[int, _Stream] = {}
        self._answers: dict[int, asyncio.Future[_Answer]] = {}
        self._loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._info: ModelInfo | None = None
        self._is_stopping = False
        self.load_ns = 0
        self.stats = EngineStats()

    @classmethod
    async def start(
        cls, files: ModelFiles, config: EngineConfig, on_exit: Callable[[], None]
    ) -> "Runner":
        """Start a process and load `files` in it.

        `on_exit` is called once if the process ends after it was ready and without
        `stop`. Raises `LoadFailed`; then nothing is left running.
        """
        runner = cls(on_exit)
        try:
            await runner._open(files, config)
            async with asyncio.timeout(config.load_timeout_s):
                loaded = await runner._loaded
        except TimeoutError:
            await runner.stop()
            raise LoadFailed(
                f"the model was not loaded within {config.load_timeout_s:g} s"
            ) from None
        except BaseException:
            await runner.stop()
            raise
        runner._info, runner.load_ns = loaded.info, loaded.load_ns
        return runner

    @property
    def info(self) -> ModelInfo:
        if self._info is None:
            raise LoadFailed("the model is not loaded")
        return self._info

    @property
    def pid(self) -> int | None:
        """The process id, for tests and diagnosis."""
        return self._process.pid if self._process else None

    @property
    def is_alive(self) -> bool:
        """Whether requests can be sent."""
        return self._info is not None and not self._closed.is_set() and not self._is_stopping

    async def tokenize(self, segments: Sequence[Segment], *, add_bos: bool) -> list[int]:
        answer = await self._ask(Tokenize(next(self._ids), tuple(segments), add_bos))
        return answer.tokens if isinstance(answer, Tokens) else []

    async def detokenize(self, tokens: Sequence[int]) -> str:
        answer = await self._ask(Detokenize(next(self._ids), tuple(tokens)))
        return answer.text if isinstance(answer, Text) else ""

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish]:
        """See `server.engine.types.LoadedModel.generate`."""
        request_id = next(self._ids)
        stream = _Stream()
        self._send(Submit(request_id, request))
        self._streams[request_id] = stream
        try:
            while True:
                for event in await stream.take():
                    if isinstance(event, ServerError):
                        raise event
                    yield event
                    if isinstance(event, Finish):
                        return
        finally:
            # Still registered: the runner works on it and nobody reads it any more.
            if self._streams.pop(request_id, None) is not None and self.is_alive:
                self._send(Abort(request_id))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See `server.engine.types.LoadedModel.embed`."""
        message = Embed(next(self._ids), request)
        try:
            answer = await self._ask(message)
        except asyncio.CancelledError:
            if self.is_alive:
                self._send(Abort(message.id))
            raise
        if not isinstance(answer, Embedded):
            raise EngineCrashed("the model runner answered another question")
        return answer.embeddings

    async def stop(self) -> None:
        """End the process and everything in it. May be called twice."""
        self._is_stopping = True
        if self._transport is not None:
            self._transport.abort()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        for body in self._frames.feed(data):
            self._handle(decode_from_runner(body))

    def connection_lost(self, exc: Exception | None) -> None:
        was_ready = self.is_alive
        self._closed.set()
        if self._is_stopping:
            error = EngineCrashed("the server is shutting down")
        else:
            error = EngineCrashed(
                "the model runner ended unexpectedly",
                hint="it is started again; send the request once more",
            )
        if not self._loaded.done():
            self._loaded.set_exception(
                LoadFailed(
                    "the model runner ended while loading, as it does when memory runs out",
                    hint="ask for less with --context or --parallel, or see the server's log",
                )
            )
            # Nobody may be waiting any more, after a timeout.
            self._loaded.exception()
        for stream in self._streams.values():
            stream.put(error)
        self._streams.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
        self._answers.clear()
        if was_ready:
            self._on_exit()

    # private

    async def _open(self, files: ModelFiles, config: EngineConfig) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                ours.setblocking(False)
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "server.engine.runner",
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    env={**_RUNNER_ENVIRONMENT, **os.environ},
                )
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            raise
        adapters = tuple((str(one.path), one.scale) for one in files.adapters)
        self._send(Load(str(files.weights), config, adapters))

    def _send(self, message: ToRunner) -> None:
        if self._transport is None or self._closed.is_set() or self._is_stopping:
            raise EngineCrashed("the model runner is gone", hint="send the request once more")
        self._transport.write(encode(message))

    async def _ask(self, message: Tokenize | Detokenize | Embed) -> _Answer:
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._send(message)
        self._answers[message.id] = answer
        try:
            return await answer
        finally:
            self._answers.pop(message.id, None)

    def _handle(self, message: FromRunner) -> None:
        match message:
            case Step():
                self._handle_step(message)
            case Tokens() | Text() | Embedded():
                if (answer := self._answers.get(message.id)) and not answer.done():
                    answer.set_result(message)
            case Refused():
                if (answer := self._answers.get(message.id)) and not answer.done():
                    answer.set_exception(InvalidRequest(message.message))
            case NotEmbedded():
                if (answer := self._answers.get(message.id)) and not answer.done():
                    answer.set_exception(_error(message.failure))
            case Loaded():
                if not self._loaded.done():
                    self._loaded.set_result(message)
            case LoadRefused():
                if not self._loaded.done():
                    self._loaded.set_exception(LoadFailed(message.message))

    def _handle_step(self, step: Step) -> None:
        self.stats = step.stats
        for request_id, piece in step.pieces:
            if stream := self._streams.get(request_id):
                stream.put(piece)
        for request_id, finish in step.finished:
            if stream := self._streams.pop(request_id, None):
                stream.put(finish)
        for request_id, failure in step.failed:
            if stream := self._streams.pop(request_id, None):
                stream.put(_error(failure))
