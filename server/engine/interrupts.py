"""Ending a computation that nobody waits for any more, without hitting the next one."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from server.engine.backend import Backend


class Interrupts:
    """Between the thread that receives aborts and the one that computes.

    An abort that arrives at any moment is either seen before the computation begins, or
    interrupts it while it runs, or comes too late; it never interrupts another one.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._computing: frozenset[int] = frozenset()
        self._aborted: set[int] = set()

    @contextmanager
    def may_end(self, request_ids: Iterable[int]) -> Iterator[None]:
        """While this is open, an abort of one of these requests ends the computation."""
        with self._lock:
            self._computing = frozenset(request_ids)
            if self._computing & self._aborted:
                self._backend.interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._computing = frozenset()
                self._backend.arm()

    def abort(self, request_id: int) -> None:
        """Nobody waits for this request any more. For the receiving thread."""
        with self._lock:
            self._aborted.add(request_id)
            if request_id in self._computing:
                self._backend.interrupt()

    def settle(self, request_id: int) -> None:
        """The abort of this request has been carried out."""
        with self._lock:
            self._aborted.discard(request_id)
