"""What of a request takes long before it can run, done beside the steps of those that do.

A large format takes tens of milliseconds to read, a hostile one seconds.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import NoReturn

from server.engine.backend import Backend
from server.engine.messages import Submit


class Preparer:
    """Hands requests on to `give` (when they arrived, and the request), those with a format when
    that is read. One thread submits and aborts, another one runs."""

    def __init__(self, backend: Backend, give: Callable[[int, Submit], None]) -> None:
        self._backend = backend
        self._give = give
        self._queue: SimpleQueue[tuple[int, Submit]] = SimpleQueue()
        self._lock = threading.Lock()
        self._wanted: set[int] = set()

    def submit(self, arrived_ns: int, message: Submit) -> None:
        """Take a request. Those without a format overtake others."""
        if message.request.grammar is None:
            self._give(arrived_ns, message)
            return
        with self._lock:
            self._wanted.add(message.id)
        self._queue.put((arrived_ns, message))

    def abort(self, request_id: int) -> None:
        """Hand this request on no more, if that is not done yet."""
        with self._lock:
            self._wanted.discard(request_id)

    def run(self) -> NoReturn:
        """Prepare what comes, one after the other."""
        while True:
            arrived_ns, message = self._queue.get()
            with self._lock:
                is_wanted = message.id in self._wanted
            if is_wanted:
                self._backend.prepare(message.request)
            with self._lock:
                if message.id in self._wanted:
                    self._wanted.remove(message.id)
                    self._give(arrived_ns, message)
