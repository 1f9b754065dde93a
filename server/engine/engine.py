"""One runner process as seen from the HTTP process: an async `LoadedModel`.

Nothing here imports llama.cpp. A runner that dies ends every request that it had with
`EngineCrashed`, and whoever started it is told.
"""

import asyncio
import itertools
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from importlib.util import find_spec
from typing import cast

from server.engine.config import EngineConfig
from server.engine.frames import Frames
from server.engine.messages import (
    Abort,
    Detokenize,
    Embed,
    Embedded,
    Failure,
    FromRunner,
    Load,
    Loaded,
    LoadProgress,
    LoadRefused,
    NotEmbedded,
    Ping,
    Pong,
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
from server.engine.process import RunnerProcess
from server.engine.types import (
    Embeddings,
    EmbedRequest,
    EngineStats,
    Finish,
    ImageSegment,
    ModelInfo,
    Piece,
    Request,
    Segment,
)
from server.engine.watchdog import Watchdog
from server.errors import (
    ContextExceeded,
    EngineCrashed,
    InvalidRequest,
    LoadFailed,
    Overloaded,
    ServerError,
)
from server.models.model_files import ModelFiles

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

    def __init__(
        self,
        config: EngineConfig,
        on_exit: "Callable[[Runner], None]",
        on_progress: Callable[[float], None],
    ) -> None:
        self._on_exit = on_exit
        self._on_progress = on_progress
        self._watchdog = Watchdog(
            ping_s=config.ping_s,
            silence_s=config.silence_s,
            step_timeout_s=config.step_timeout_s,
        )
        self._watching: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._frames = Frames()
        self._ids = itertools.count(1)
        self._streams: dict[int, _Stream] = {}
        self._answers: dict[int, asyncio.Future[_Answer]] = {}
        self._loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._process: RunnerProcess | None = None
        self._info: ModelInfo | None = None
        self._is_stopping = False
        self._parking_bytes = config.parking_bytes
        self._resident_bytes = 0
        self._has_served = False
        # Texts were embedded: their batch may go on for nobody, and the first one takes memory
        # that stays. Neither is in the counters, so the runner is asked once more.
        self._is_unsettled = False
        self.load_ns = 0
        self._num_cut_off = 0
        self.stats = EngineStats()

    @classmethod
    async def start(
        cls,
        files: ModelFiles,
        config: EngineConfig,
        on_exit: "Callable[[Runner], None]",
        on_progress: Callable[[float], None],
    ) -> "Runner":
        """Start a process and load `files` in it.

        `on_exit` is called once if the process ends after it was ready and without
        `stop`; `on_progress` with the part of the weights that is loaded, 0 to 1.
        Raises `LoadFailed`; then nothing is left running.
        """
        if config.backend == "llama" and find_spec("llama_cpp") is None:
            raise LoadFailed(
                "this server comes without llama.cpp, so it loads no model",
                hint="it is a gateway: the image akash-llm-server, or akash-llm[server], has it",
            )
        runner = cls(config, on_exit, on_progress)
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
        runner._watching = asyncio.create_task(runner._watch())
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
    def num_cut_off(self) -> int:
        """How many requests its unexpected end has ended."""
        return self._num_cut_off

    @property
    def memory_bytes(self) -> int:
        """What the process takes: as measured after the load, or more if it has grown."""
        return max(self.info.memory_bytes, self.info.size_bytes, self._resident_bytes)

    @property
    def held_bytes(self) -> int:
        """What the process takes, and what it may still take to park conversations."""
        return self.memory_bytes + max(0, self._parking_bytes - self.stats.parked_bytes)

    @property
    def has_served(self) -> bool:
        """Whether it has brought a request to its end."""
        return self._has_served

    @property
    def has_hung(self) -> bool:
        """Whether it was ended because it hung."""
        return self._process is not None and self._process.was_condemned

    @property
    def is_alive(self) -> bool:
        """Whether requests can be sent."""
        return self._info is not None and not self._closed.is_set() and not self._is_stopping

    async def tokenize(
        self, segments: Sequence[Segment | ImageSegment], *, add_bos: bool
    ) -> list[int]:
        answer = await self._ask(Tokenize(next(self._ids), tuple(segments), add_bos))
        return answer.tokens if isinstance(answer, Tokens) else []

    async def detokenize(self, tokens: Sequence[int]) -> str:
        answer = await self._ask(Detokenize(next(self._ids), tuple(tokens)))
        return answer.text if isinstance(answer, Text) else ""

    def as_text(
        self, segments: Sequence[Segment | ImageSegment], *, context: int, max_tokens: int | None
    ) -> None:
        """The way to its tokenizer is short."""

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
        finally:
            self._is_unsettled = True
        if not isinstance(answer, Embedded):
            raise EngineCrashed("the model runner answered another question")
        return answer.embeddings

    async def reason(self) -> str:
        """Why the process ended, as what follows "the model runner"; waits for its end."""
        return await self._process.reason() if self._process else "was not started"

    async def stop(self) -> None:
        """End the process and everything in it. May be called twice."""
        self._is_stopping = True
        if self._transport is not None:
            self._transport.abort()
        if self._process is not None:
            await self._process.end()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._telling is not None:
            await self._telling

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
            self._cut_off(Overloaded("the server is shutting down", retry_after_s=1))
        else:
            self._num_cut_off = len(self._streams) + len(self._answers)
            self._telling = asyncio.create_task(self._tell_reason())
        if was_ready:
            self._on_exit(self)

    # private

    async def _tell_reason(self) -> None:
        """Fail everything that was under way with why the process ended."""
        reason = await self.reason()
        hint = "it is started again; send the request once more"
        if reason.endswith("SIGKILL"):
            hint += "; the kernel kills what takes too much memory: see --memory and --context"
        self._cut_off(EngineCrashed(f"the model runner {reason}", hint=hint))
        if not self._loaded.done():
            self._loaded.set_exception(
                LoadFailed(
                    f"the model runner {reason} while loading",
                    hint="memory may have run out: ask for less with --context or --parallel, "
                    "or see the server's log",
                )
            )
            # Nobody may be waiting any more, after a timeout.
            self._loaded.exception()

    def _cut_off(self, error: ServerError) -> None:
        for stream in self._streams.values():
            stream.put(error)
        self._streams.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
        self._answers.clear()

    async def _watch(self) -> None:
        """Kill the process once it hangs; what follows is what follows any other end."""
        why = await self._watchdog.until_hung(self._ask_for_life)
        if self._process is not None:
            self._process.condemn(why)

    def _ask_for_life(self) -> bool:
        # Also for a request that has been aborted: its step may be the one that hangs.
        is_awaited = self._streams or self._answers
        has_work = is_awaited or self.stats.num_running or self._is_unsettled
        if not (self.is_alive and has_work):
            return False
        self._send(Ping())
        return True

    async def _open(self, files: ModelFiles, config: EngineConfig) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                ours.setblocking(False)
                self._process = await RunnerProcess.start(theirs)
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            raise
        adapters = tuple((str(one.path), one.scale) for one in files.adapters)
        projector = str(files.projector) if files.projector else ""
        self._send(Load(str(files.weights), config, adapters, projector))

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
                self._answer(message.id, message)
            case Refused():
                self._answer(message.id, InvalidRequest(message.message))
            case NotEmbedded():
                self._answer(message.id, _error(message.failure))
            case LoadProgress():
                self._on_progress(message.fraction)
            case Pong():
                self._resident_bytes = message.memory_bytes
                self._is_unsettled &= message.step_ns > 0
                self._watchdog.heard(message)
            case Loaded():
                if not self._loaded.done():
                    self._loaded.set_result(message)
            case LoadRefused():
                if not self._loaded.done():
                    self._loaded.set_exception(LoadFailed(message.message))

    def _answer(self, question_id: int, outcome: _Answer | ServerError) -> None:
        answer = self._answers.get(question_id)
        if answer is None or answer.done():
            return
        if isinstance(outcome, ServerError):
            answer.set_exception(outcome)
            return
        self._has_served |= isinstance(outcome, Embedded)
        answer.set_result(outcome)

    def _handle_step(self, step: Step) -> None:
        self.stats = step.stats
        self._has_served |= bool(step.finished)
        for request_id, piece in step.pieces:
            if stream := self._streams.get(request_id):
                stream.put(piece)
        for request_id, finish in step.finished:
            if stream := self._streams.pop(request_id, None):
                stream.put(finish)
        for request_id, failure in step.failed:
            if stream := self._streams.pop(request_id, None):
                stream.put(_error(failure))
