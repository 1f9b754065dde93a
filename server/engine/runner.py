"""The child process that owns one model: `python -m server.engine.runner FD`.

llama.cpp can abort the process, and it takes the interpreter lock's attention; both
belong here and not in the HTTP process. The main thread makes every call that computes
(a second thread would leave a second OpenMP pool behind); the receiving thread
interrupts a prompt that nobody waits for any more, and ends the process when the other
side is gone; a third one tokenizes, so that a long text delays no other message, and a
fourth one reads formats.
Unloading a model is ending this process.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NoReturn

import psutil

from server import logs
from server.engine.backend import Backend, LoadError, RequestError
from server.engine.embedder import Embedder
from server.engine.frames import Frames
from server.engine.interrupts import Interrupts
from server.engine.loop import Loop, make_loop
from server.engine.messages import (
    Abort,
    Detokenize,
    Embed,
    FromRunner,
    Load,
    Loaded,
    LoadProgress,
    LoadRefused,
    Ping,
    Pong,
    Refused,
    Submit,
    Text,
    Tokenize,
    Tokens,
    ToRunner,
    decode_to_runner,
    encode,
)
from server.engine.preparing import Preparer
from server.engine.progress import Progress, Reporter

_RECEIVE_BYTES = 1 << 16
_IDLE_S = 1.0

_log = logging.getLogger("akash_llm.runner")


# When a message came, and the message. A step may run meanwhile: who waits for its end waits.
_Arrived = tuple[int, Submit | Embed | Abort]


class _Channel:
    """The socket to the HTTP process. All threads send, so sending is locked."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = Frames()
        self._sending = threading.Lock()

    def send(self, message: FromRunner) -> None:
        frame = encode(message)
        with self._sending:
            self._sock.sendall(frame)

    def receive(self) -> list[ToRunner]:
        """The next messages; blocks. Empty when the other side has closed."""
        while data := self._sock.recv(_RECEIVE_BYTES):
            if bodies := self._frames.feed(data):
                return [decode_to_runner(body) for body in bodies]
        return []


class _Stopwatch:
    """How long the running step takes already; read by the thread that receives."""

    def __init__(self) -> None:
        self._begun_ns = 0

    def begin(self) -> None:
        """A step begins, and the one before is over."""
        self._begun_ns = time.monotonic_ns()

    def end(self) -> None:
        self._begun_ns = 0

    def age_ns(self) -> int:
        """0 if no step runs."""
        begun_ns = self._begun_ns
        return time.monotonic_ns() - begun_ns if begun_ns else 0


class _Receiver:
    """Reads messages for the engine; `run` never returns."""

    def __init__(
        self,
        channel: _Channel,
        interrupts: Interrupts,
        inbox: "SimpleQueue[_Arrived]",
        preparer: Preparer,
        questions: "SimpleQueue[Tokenize | Detokenize]",
        stopwatch: _Stopwatch,
    ) -> None:
        self._channel = channel
        self._interrupts = interrupts
        self._inbox = inbox
        self._preparer = preparer
        self._questions = questions
        self._stopwatch = stopwatch
        self._process = psutil.Process()

    def run(self) -> NoReturn:
        while messages := self._channel.receive():
            for message in messages:
                self._handle(message)
        # Nobody is left to work for; a decode may still run, so there is no tidy way out.
        os._exit(0)

    def _handle(self, message: ToRunner) -> None:
        match message:
            case Submit():
                self._preparer.submit(time.monotonic_ns(), message)
            case Embed():
                self._inbox.put((time.monotonic_ns(), message))
            case Abort():
                self._preparer.abort(message.id)
                self._interrupts.abort(message.id)
                self._inbox.put((time.monotonic_ns(), message))
            case Tokenize() | Detokenize():
                self._questions.put(message)
            case Ping():
                memory_bytes = self._process.memory_info().rss
                self._channel.send(Pong(self._stopwatch.age_ns(), memory_bytes))
            case Load():
                pass  # only the first message; a second one has nothing to say


class _Answerer:
    """Answers, in their order, the questions that need no step; `run` never returns."""

    def __init__(
        self,
        channel: _Channel,
        backend: Backend,
        questions: "SimpleQueue[Tokenize | Detokenize]",
    ) -> None:
        self._channel = channel
        self._backend = backend
        self._questions = questions

    def run(self) -> NoReturn:
        while True:
            self._channel.send(self._answer(self._questions.get()))

    def _answer(self, message: Tokenize | Detokenize) -> FromRunner:
        try:
            if isinstance(message, Detokenize):
                return Text(message.id, self._backend.detokenize(message.tokens))
            tokens = self._backend.tokenize(message.segments, add_bos=message.add_bos)
            return Tokens(message.id, tokens)
        except RequestError as error:
            return Refused(message.id, str(error))


def _start(name: str, run: Callable[[], NoReturn]) -> None:
    """Run in a thread of its own. Without it the process would be deaf, so it ends too."""

    def guarded() -> None:
        try:
            run()
        except Exception:  # noqa: BLE001 - the edge of the thread
            _log.exception("the %s failed", name)
            os._exit(1)

    threading.Thread(target=guarded, name=name, daemon=True).start()


def _open_backend(load: Load, report: Progress) -> Backend:
    if load.config.backend == "fake":
        from server.engine.fake import FakeBackend

        return FakeBackend(load.config, report, has_vision=bool(load.projector))
    # Imported here so that the fake needs no llama.cpp.
    from server.engine.llama import LlamaBackend

    return LlamaBackend(load.path, load.config, load.adapters, report, projector=load.projector)


def _wait(inbox: "SimpleQueue[_Arrived]", loop: Loop) -> _Arrived:
    """The next message. When none comes for a while the books are checked: what contradicts
    itself ends the process before a wrong answer does harm."""
    try:
        return inbox.get(timeout=_IDLE_S)
    except Empty:
        loop.check_integrity()
        return inbox.get()


def _serve(
    loop: Loop,
    embedder: Embedder,
    interrupts: Interrupts,
    inbox: "SimpleQueue[_Arrived]",
    stopwatch: _Stopwatch,
) -> None:
    """Step until the process ends, in turns where there is both to generate and to embed."""
    while True:
        pending = []
        if loop.is_idle and embedder.is_idle:
            pending.append(_wait(inbox, loop))
        while not inbox.empty():
            pending.append(inbox.get_nowait())
        for arrived_ns, message in pending:
            match message:
                case Submit():
                    loop.submit(message, arrived_ns)
                case Embed():
                    embedder.submit(message, arrived_ns)
                case Abort():
                    loop.abort(message)
                    embedder.abort(message)
                    interrupts.settle(message.id)
        stopwatch.begin()
        loop.step()
        stopwatch.begin()
        embedder.step(beside_streams=not loop.is_idle)
        stopwatch.end()


def main(fd: int) -> int:
    """Load what the first message says and serve it until the socket closes."""
    # What stops a service, or Ctrl+C in a terminal, reaches the whole group; the HTTP
    # process decides what it means.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # What llama.cpp says of a file may hold anything, so it is logged as the rest is.
    logs.configure()
    channel = _Channel(socket.socket(fileno=fd))
    # Nothing else is sent before the answer to it.
    first = channel.receive()
    if not first or not isinstance(first[0], Load):
        return 1
    load = first[0]
    started_ns = time.monotonic_ns()
    report = Reporter(lambda part: channel.send(LoadProgress(part)), time.monotonic)
    try:
        backend = _open_backend(load, report)
    except LoadError as error:
        with suppress(OSError):  # it may be the reason: nobody waits for this load any more
            channel.send(LoadRefused(str(error)))
        return 0
    interrupts = Interrupts(backend)
    loop = make_loop(backend, load.config, channel.send, time.monotonic_ns, interrupts)
    embedder = Embedder(
        backend, channel.send, time.monotonic_ns, interrupts, queue=load.config.queue
    )
    channel.send(Loaded(backend.info, time.monotonic_ns() - started_ns))
    inbox: SimpleQueue[_Arrived] = SimpleQueue()
    questions: SimpleQueue[Tokenize | Detokenize] = SimpleQueue()
    _start("answerer", _Answerer(channel, backend, questions).run)
    stopwatch = _Stopwatch()
    preparer = Preparer(backend, lambda arrived_ns, message: inbox.put((arrived_ns, message)))
    _start("preparer", preparer.run)
    receiver = _Receiver(channel, interrupts, inbox, preparer, questions, stopwatch)
    _start("receiver", receiver.run)
    _serve(loop, embedder, interrupts, inbox, stopwatch)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
