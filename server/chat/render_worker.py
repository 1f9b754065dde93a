"""The child process that runs chat templates: `python -m server.chat.render_worker FD SECONDS`.

Templates are hostile: they may loop for ever or fill the memory. So this process has
nothing worth keeping, imports little, may take only so much memory, and ends itself when
one answer takes longer than SECONDS, in case that nobody is left to end it.
"""

import resource
import signal
import socket
import sys
from contextlib import suppress

import msgspec

from server.chat.render_messages import (
    Define,
    Described,
    Failed,
    Forget,
    FromWorker,
    Ready,
    Render,
    Rendered,
    ToWorker,
    decode_to_worker,
    encode,
)
from server.chat.template import OTHERWISE, ChatTemplate, render
from server.chat.template_facts import describe
from server.engine.frames import Frames
from server.errors import InvalidRequest, ServerError

# The whole address space. A prompt of four million characters takes about 100 MB.
MEMORY_BYTES = 512 * 1024 * 1024
_MAX_CHARACTERS = 32 * 1024 * 1024
_RECEIVE_BYTES = 1 << 16

_TOO_MUCH = "the model's chat template needs too much memory with this conversation"


class Worker:
    """Answers messages. Keeps the templates that it was told."""

    def __init__(self) -> None:
        self._templates: dict[int, ChatTemplate] = {}

    def answer(self, body: bytes) -> FromWorker | None:
        """The answer to a message; None for what has none."""
        try:
            message = decode_to_worker(body)
        except (msgspec.DecodeError, RecursionError) as error:
            return Failed(f"the messages or tools cannot be written down: {error}")
        return self._answer(message)

    def _answer(self, message: ToWorker) -> FromWorker | None:
        if isinstance(message, Define):
            self._templates[message.key] = message.template
            return None
        if isinstance(message, Forget):
            self._templates.pop(message.key, None)
            return None
        template = self._templates[message.key]
        try:
            if not isinstance(message, Render):
                return Described(describe(template))
            segments = render(template, message.conversation)
        except ServerError as error:
            is_broken = not isinstance(error, InvalidRequest)
            return Failed(error.message, error.hint, is_broken=is_broken)
        except MemoryError:
            return Failed(_TOO_MUCH, OTHERWISE, is_worn_out=True)
        except Exception as error:  # noqa: BLE001 - a template can make Python raise anything
            return Failed(f"the model's chat template failed: {error!r}", OTHERWISE)
        if sum(len(segment.text) for segment in segments) > _MAX_CHARACTERS:
            return Failed("the model's chat template makes too long a prompt", OTHERWISE)
        return Rendered(segments)


def serve(sock: socket.socket, limit_s: float) -> None:
    """Answer until the other side closes."""
    worker, frames = Worker(), Frames()
    sock.sendall(encode(Ready()))
    while data := sock.recv(_RECEIVE_BYTES):
        for body in frames.feed(data):
            # By default the signal ends the process, wherever it is.
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            answer = worker.answer(body)
            frame = encode(answer) if answer is not None else b""
            signal.setitimer(signal.ITIMER_REAL, 0)
            if frame:
                sock.sendall(frame)


def main(fd: int, limit_s: float) -> int:
    """Serve the socket `fd`."""
    # What stops a service, or Ctrl+C in a terminal, reaches the whole group; the HTTP
    # process decides what it means.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(ValueError, OSError):  # some systems cannot; there the time is the bound
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with socket.socket(fileno=fd) as sock, suppress(ConnectionError):
        serve(sock, limit_s)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
