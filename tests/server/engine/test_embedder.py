"""The queue and the batches of embeddings over the fake backend, without a process or a clock."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.engine.backend import EmbedError, EmbedShape, Part
from server.engine.config import EngineConfig
from server.engine.embedder import ROWS_BESIDE_STREAMS, Embedder, unit
from server.engine.fake import EMBED_SHAPE, EMBED_WIDTH, FakeBackend, vector_of
from server.engine.interrupts import Interrupts
from server.engine.messages import Abort, Embed, Embedded, Failure, NotEmbedded
from server.engine.types import Embeddings, EmbedRequest

Vector = NDArray[np.float32]


class Recording(FakeBackend):
    """The fake backend; it remembers the sizes of its batches, and may have another shape
    or trouble."""

    def __init__(self, shape: EmbedShape = EMBED_SHAPE) -> None:
        super().__init__(EngineConfig(backend="fake", context=1000))
        self.shape = shape
        self.batches: list[list[int]] = []
        self.interrupt_next = False
        self.refuse: set[str] = set()

    def embed_shape(self) -> EmbedShape:
        if "context" in self.refuse:
            raise EmbedError("no room for a context")
        return self.shape

    def embed(self, parts: Sequence[Part]) -> list[Vector] | None:
        self.batches.append([len(part.tokens) for part in parts])
        if "batch" in self.refuse:
            raise EmbedError("no such batch")
        if self.interrupt_next:
            self.interrupt_next = False
            self.interrupt()
        return super().embed(parts)


class Engine:
    """An embedder whose answers are collected, in their order."""

    def __init__(self, backend: Recording | None = None, *, queue: int = 100) -> None:
        self.backend = backend or Recording()
        ticks = itertools.count(1)
        self.embedder = Embedder(
            self.backend,
            self._publish,
            lambda: next(ticks),
            Interrupts(self.backend),
            queue=queue,
        )
        self.done: dict[int, Embeddings] = {}
        self.failed: dict[int, Failure] = {}

    def submit(self, number: int, *inputs: Sequence[int], dimensions: int | None = None) -> None:
        request = EmbedRequest(inputs=inputs, dimensions=dimensions)
        self.embedder.submit(Embed(number, request))

    def step(self, *, beside_streams: bool = False) -> None:
        self.embedder.step(beside_streams=beside_streams)

    def drain(self, *, beside_streams: bool = False) -> None:
        for _ in range(1000):
            if self.embedder.is_idle:
                return
            self.step(beside_streams=beside_streams)
        raise AssertionError("the embedder does not come to an end")

    def vectors(self, number: int) -> list[Vector]:
        return [np.frombuffer(raw, "<f4") for raw in self.done[number].vectors]

    def _publish(self, answer: Embedded | NotEmbedded) -> None:
        assert answer.id not in self.done and answer.id not in self.failed
        if isinstance(answer, Embedded):
            self.done[answer.id] = answer.embeddings
        else:
            self.failed[answer.id] = answer.failure


def tokens(length: int, seed: int = 0) -> list[int]:
    return [(seed + at * 7) % 256 for at in range(length)]


def right(*inputs: Sequence[int]) -> list[Vector]:
    """What each of the inputs gives when it is computed alone and whole."""
    return [unit(vector_of(one), None) for one in inputs]


def test_vectors_come_in_the_order_of_the_inputs_and_have_length_one() -> None:
    engine = Engine()
    inputs = [tokens(n, seed=n) for n in (5, 1, 30, 5)]
    engine.submit(1, *inputs)
    engine.drain()
    for got, wanted in zip(engine.vectors(1), right(*inputs), strict=True):
        assert np.array_equal(got, wanted)
        assert np.linalg.norm(got) == pytest.approx(1.0)
    assert engine.done[1].prompt_tokens == 41
    assert engine.backend.batches == [[5, 1, 30, 5]]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 256), min_size=1, max_size=12), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_whatever_shares_a_batch_every_input_gets_its_own_vector(
    requests: list[list[int]], can_split: bool, beside_streams: bool
) -> None:
    engine = Engine(Recording(EmbedShape(rows=100, lanes=3, can_split=can_split)))
    inputs = {n: [tokens(x, n * 100 + x) for x in r] for n, r in enumerate(requests)}
    for number, of_request in inputs.items():
        engine.submit(number, *of_request)
    engine.drain(beside_streams=beside_streams)
    for number, of_request in inputs.items():
        for got, wanted in zip(engine.vectors(number), right(*of_request), strict=True):
            assert np.array_equal(got, wanted)


def test_requests_take_turns() -> None:
    engine = Engine()
    engine.submit(1, *(tokens(100, seed) for seed in range(50)))
    engine.submit(2, tokens(20))
    engine.step()
    assert list(engine.done) == [2]
    engine.drain()
    assert list(engine.done) == [2, 1]


def test_a_batch_holds_inputs_of_several_requests() -> None:
    engine = Engine()
    for number in range(5):
        engine.submit(number, tokens(10, number))
    engine.drain()
    assert engine.backend.batches == [[10] * 5]


def test_a_long_input_is_read_in_pieces_and_others_beside_it() -> None:
    engine = Engine()
    engine.submit(1, tokens(600))
    engine.submit(2, tokens(10))
    engine.drain()
    assert engine.backend.batches == [[256], [256], [88, 10]]
    assert np.array_equal(engine.vectors(1)[0], right(tokens(600))[0])


def test_beside_streams_a_batch_is_small() -> None:
    engine = Engine()
    engine.submit(1, tokens(600), tokens(3))
    engine.drain(beside_streams=True)
    assert max(sum(batch) for batch in engine.backend.batches) == ROWS_BESIDE_STREAMS
    assert np.array_equal(engine.vectors(1)[0], right(tokens(600))[0])


def test_what_cannot_be_split_goes_whole_and_alone() -> None:
    engine = Engine(Recording(EmbedShape(rows=100, lanes=8, can_split=False)))
    engine.submit(1, tokens(60), tokens(250), tokens(30), tokens(20))
    engine.drain()
    assert engine.backend.batches == [[60], [250], [30, 20]]


def test_an_interrupted_batch_is_computed_again() -> None:
    engine = Engine()
    inputs = [tokens(n, seed=n) for n in (3, 250, 40)]
    engine.submit(1, *inputs)
    engine.submit(2, tokens(9))
    engine.backend.interrupt_next = True
    engine.step()
    assert not engine.done
    engine.step()
    engine.backend.interrupt_next = True
    engine.drain()
    for got, wanted in zip(engine.vectors(1), right(*inputs), strict=True):
        assert np.array_equal(got, wanted)
    assert np.array_equal(engine.vectors(2)[0], right(tokens(9))[0])


def test_an_abort_ends_a_request_that_waits_and_one_that_is_half_done() -> None:
    engine = Engine()
    engine.submit(1, tokens(900))
    engine.submit(2, tokens(5))
    engine.submit(3, tokens(6))
    engine.step()
    engine.embedder.abort(Abort(1))
    engine.embedder.abort(Abort(2))
    engine.embedder.abort(Abort(77))
    engine.drain()
    assert list(engine.done) == [3] and not engine.failed
    assert engine.backend.batches == [[256], [6]]


def test_one_input_that_is_no_number_fails_its_request_and_no_other() -> None:
    engine = Engine()
    nan = list("⟦NaN⟧".encode())
    engine.submit(1, tokens(5), nan, tokens(900))
    engine.submit(2, tokens(5))
    engine.drain()
    assert engine.failed == {1: Failure("invalid_request", "embedding contains NaN or Inf values")}
    assert list(engine.done) == [2]


def test_a_batch_that_fails_fails_who_is_in_it() -> None:
    engine = Engine()
    engine.submit(1, tokens(256))
    engine.submit(2, tokens(5))
    engine.backend.refuse.add("batch")
    engine.step()
    engine.backend.refuse.clear()
    engine.drain()
    assert engine.failed == {1: Failure("engine_crashed", "no such batch")}
    assert list(engine.done) == [2]


def test_without_a_context_everybody_is_told_and_the_next_try_may_work() -> None:
    engine = Engine()
    engine.backend.refuse.add("context")
    engine.submit(1, tokens(5))
    engine.submit(2, tokens(5))
    engine.drain()
    assert {failure.message for failure in engine.failed.values()} == {"no room for a context"}
    engine.backend.refuse.clear()
    engine.submit(3, tokens(5))
    engine.drain()
    assert list(engine.done) == [3]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([], "no input"),
        ([[]], "empty"),
        ([[1], [2] * 1001], "1001 tokens, the context 1000"),
        ([[1, 260]], "not in the vocabulary"),
        ([[-1]], "not in the vocabulary"),
    ],
)
def test_what_cannot_be_embedded_is_refused_at_once(inputs: list[list[int]], told: str) -> None:
    engine = Engine()
    engine.submit(1, *inputs)
    assert engine.failed[1].kind == "invalid_request" and told in engine.failed[1].message
    assert engine.embedder.is_idle


def test_the_queue_has_an_end() -> None:
    engine = Engine(queue=2)
    for number in (1, 2, 3):
        engine.submit(number, tokens(5))
    assert list(engine.failed) == [3] and engine.failed[3].kind == "overloaded"
    engine.drain()
    assert list(engine.done) == [1, 2]


def test_dimensions_cut_and_scale_again() -> None:
    engine = Engine()
    engine.submit(1, tokens(5))
    engine.submit(2, tokens(5), dimensions=4)
    engine.submit(3, tokens(5), dimensions=EMBED_WIDTH + 1)
    engine.drain()
    [whole], [cut], [uncut] = (engine.vectors(number) for number in (1, 2, 3))
    assert len(cut) == 4 and np.linalg.norm(cut) == pytest.approx(1.0)
    assert np.allclose(cut, whole[:4] / np.linalg.norm(whole[:4]))
    assert np.array_equal(uncut, whole)


def test_zeros_have_no_length_and_stay() -> None:
    assert not unit(np.zeros(3, dtype=np.float32), None).any()
