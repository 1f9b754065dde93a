"""Requests with a format are handed on when it is read, unless they are aborted before."""

import threading
from queue import SimpleQueue

import pytest

from server.engine.config import EngineConfig
from server.engine.fake import FakeBackend
from server.engine.messages import Submit
from server.engine.preparing import Preparer
from server.engine.types import Grammar, Request

LIMIT_S = 60


class Holding(FakeBackend):
    """Reads a format when it is let."""

    def __init__(self) -> None:
        super().__init__(EngineConfig(backend="fake"))
        self.begun: SimpleQueue[Request] = SimpleQueue()
        self.may_go_on = threading.Semaphore(0)

    def prepare(self, request: Request) -> None:
        self.begun.put(request)
        self.may_go_on.acquire()


@pytest.fixture
def backend() -> Holding:
    return Holding()


@pytest.fixture
def given() -> "SimpleQueue[tuple[int, int]]":
    """When the requests arrived that were handed on, and their numbers."""
    return SimpleQueue()


@pytest.fixture
def preparer(backend: Holding, given: "SimpleQueue[tuple[int, int]]") -> Preparer:
    preparer = Preparer(backend, lambda arrived_ns, message: given.put((arrived_ns, message.id)))
    threading.Thread(target=preparer.run, daemon=True).start()
    return preparer


def request(number: int, grammar: Grammar | None = None) -> Submit:
    return Submit(number, Request(tokens=[1], grammar=grammar))


def test_who_has_no_format_overtakes(
    preparer: Preparer, backend: Holding, given: "SimpleQueue[tuple[int, int]]"
) -> None:
    preparer.submit(10, request(1, Grammar("json")))
    backend.begun.get(timeout=LIMIT_S)
    preparer.submit(20, request(2))
    backend.may_go_on.release()
    assert [given.get(timeout=LIMIT_S) for _ in range(2)] == [(20, 2), (10, 1)]


def test_who_is_aborted_is_not_handed_on(
    preparer: Preparer, backend: Holding, given: "SimpleQueue[tuple[int, int]]"
) -> None:
    for number in (1, 2, 3):
        preparer.submit(number, request(number, Grammar("json")))
    backend.begun.get(timeout=LIMIT_S)
    preparer.abort(1)
    preparer.abort(2)
    for _ in range(2):  # the second one is not even read
        backend.may_go_on.release()
    assert given.get(timeout=LIMIT_S) == (3, 3)
    assert given.empty() and backend.begun.qsize() == 1
