"""An abort ends the computation that it is about, and no other."""

import threading

from server.engine.config import EngineConfig
from server.engine.fake import FakeBackend
from server.engine.interrupts import Interrupts


class Watched(FakeBackend):
    """Knows whether it is interrupted just now."""

    def __init__(self) -> None:
        super().__init__(EngineConfig(backend="fake"))

    @property
    def is_interrupted(self) -> bool:
        return self._interrupted.is_set()


def test_an_abort_while_it_computes_ends_it_and_nothing_after_it() -> None:
    backend = Watched()
    interrupts = Interrupts(backend)
    with interrupts.may_end([1, 2]):
        interrupts.abort(3)
        assert not backend.is_interrupted
        interrupts.abort(2)
        assert backend.is_interrupted
    interrupts.settle(2)
    with interrupts.may_end([1]):
        assert not backend.is_interrupted


def test_an_abort_that_was_not_carried_out_yet_ends_it_at_once() -> None:
    backend = Watched()
    interrupts = Interrupts(backend)
    interrupts.abort(1)
    assert not backend.is_interrupted
    with interrupts.may_end([]):
        assert not backend.is_interrupted, "this one must not be interrupted"
    with interrupts.may_end([1]):
        assert backend.is_interrupted
    assert not backend.is_interrupted


def test_whatever_the_moment_no_interrupt_is_left_behind() -> None:
    backend = Watched()
    interrupts = Interrupts(backend)
    stop = threading.Event()

    def abort() -> None:
        while not stop.is_set():
            interrupts.abort(1)
            interrupts.settle(1)

    thread = threading.Thread(target=abort)
    thread.start()
    try:
        for _ in range(2000):
            with interrupts.may_end([1]):
                pass
            with interrupts.may_end([2]):
                assert not backend.is_interrupted
    finally:
        stop.set()
        thread.join()
