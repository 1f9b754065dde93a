"""The step loop over the fake backend, without a process or a clock."""

import itertools
from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from server.engine.backend import Decoded, Row
from server.engine.config import EngineConfig
from server.engine.fake import VOCAB_SIZE, FakeBackend
from server.engine.loop import Loop
from server.engine.messages import Abort, Failure, Step, Submit
from server.engine.scheduler import Scheduler
from server.engine.types import Finish, FinishReason, Grammar, Request, Sampling, Segment


class Engine:
    """A loop whose reports are collected per request."""

    def __init__(self, backend: FakeBackend | None = None, **config: int) -> None:
        options = EngineConfig(backend="fake", **config)  # type: ignore[arg-type]
        self.backend = backend or FakeBackend(options)
        self.scheduler = Scheduler(
            slots=options.parallel,
            batch=options.batch,
            prompt_budget=options.prompt_budget,
            queue=options.queue,
        )
        ticks = itertools.count(1)
        self.loop = Loop(self.backend, self.scheduler, self._publish, lambda: next(ticks))
        self.text: dict[int, str] = defaultdict(str)
        self.finished: dict[int, Finish] = {}
        self.failed: dict[int, Failure] = {}
        self.steps: list[Step] = []

    def submit(self, number: int, prompt: str, **request: object) -> None:
        tokens = self.backend.tokenize([Segment(prompt)], add_bos=True)
        self.loop.submit(Submit(number, Request(tokens=tokens, **request)))  # type: ignore[arg-type]

    def step(self) -> None:
        self.loop.step()
        self.scheduler.check_integrity()
        for sequence in self.scheduler.running:
            computed = sequence.tokens[: sequence.num_computed]
            assert self.backend.cells(sequence.slot) == computed

    def drain(self, most: int = 10_000) -> None:
        for _ in range(most):
            if self.loop.is_idle:
                self.step()
                return
            self.step()
        raise AssertionError("the engine does not come to an end")

    def _publish(self, step: Step) -> None:
        self.steps.append(step)
        for number, piece in step.pieces:
            self.text[number] += piece.text
        self.finished.update(step.finished)
        self.failed.update(step.failed)


def test_a_reply_comes_whole_and_ends_once() -> None:
    engine = Engine()
    engine.submit(1, "⟦héllo 🎉⟧")
    engine.drain()
    assert engine.text[1] == "héllo 🎉"
    finish = engine.finished[1]
    assert finish.reason is FinishReason.EOS
    assert finish.output_tokens == len("héllo 🎉".encode()) + 1
    assert engine.scheduler.is_idle


def test_two_requests_advance_in_the_same_steps() -> None:
    engine = Engine()
    engine.submit(1, "⟦aaaa⟧")
    engine.submit(2, "⟦bbbb⟧")
    engine.drain()
    both = [s for s in engine.steps if {n for n, _ in s.pieces} == {1, 2}]
    assert len(both) == 4


@pytest.mark.parametrize("most", [0, 1, 3])
def test_the_number_of_tokens_is_exact(most: int) -> None:
    engine = Engine()
    engine.submit(1, "⟦abcdef⟧", max_tokens=most)
    engine.drain()
    assert engine.text[1] == "abcdef"[:most]
    assert engine.finished[1].reason is FinishReason.LENGTH
    assert engine.finished[1].output_tokens == most


def test_a_stop_string_ends_the_text_before_it() -> None:
    engine = Engine()
    engine.submit(1, "⟦one two three⟧", stop=("two",))
    engine.drain()
    assert engine.text[1] == "one "
    assert engine.finished[1].reason is FinishReason.STOP_STRING
    assert engine.finished[1].stop_string == "two"


def test_a_request_without_a_limit_ends_after_ten_contexts() -> None:
    engine = Engine(context=64, parallel=1)
    engine.submit(1, "⟦abc⟧", sampling=Sampling(ignore_eos=True))
    engine.drain()
    assert engine.finished[1].reason is FinishReason.LENGTH
    assert engine.finished[1].output_tokens == 640
    assert engine.finished[1].shifted_tokens > 0


def test_a_full_window_without_shift_ends_with_length() -> None:
    engine = Engine(context=64, parallel=1)
    engine.submit(1, "⟦abc⟧", sampling=Sampling(ignore_eos=True), shift=False)
    engine.drain()
    prompt = engine.finished[1].prompt_tokens
    # The last token needs no cell: it is sampled and never computed.
    assert prompt + engine.finished[1].output_tokens == 64 + 1
    assert engine.finished[1].reason is FinishReason.LENGTH


def test_the_window_of_a_request_may_be_smaller_than_the_model_s() -> None:
    engine = Engine(context=2048, parallel=1)
    engine.submit(1, "⟦abc⟧", sampling=Sampling(ignore_eos=True), shift=False, context=32)
    engine.drain()
    finish = engine.finished[1]
    assert finish.prompt_tokens + finish.output_tokens == 33


def test_a_prompt_that_does_not_fit_fails_alone() -> None:
    engine = Engine(context=32)
    engine.submit(1, "x" * 100)
    engine.submit(2, "⟦fine⟧")
    engine.drain()
    assert engine.failed[1].kind == "context_exceeded"
    assert engine.text[2] == "fine"


def test_token_ids_out_of_range_fail_alone() -> None:
    engine = Engine()
    engine.loop.submit(Submit(1, Request(tokens=[VOCAB_SIZE])))
    engine.loop.submit(Submit(2, Request(tokens=[-1])))
    engine.loop.submit(Submit(3, Request(tokens=[])))
    engine.drain()
    assert {engine.failed[n].kind for n in (1, 2, 3)} == {"invalid_request"}


def test_a_grammar_that_cannot_be_used_fails_alone_and_frees_its_slot() -> None:
    engine = Engine(parallel=1)
    engine.submit(1, "a", grammar=Grammar("json"))
    engine.submit(2, "⟦fine⟧")
    engine.drain()
    assert engine.failed[1].kind == "invalid_request"
    assert engine.text[2] == "fine"


def test_a_full_queue_refuses_at_once() -> None:
    engine = Engine(parallel=1, queue=1)
    for number in (1, 2, 3):
        engine.submit(number, "⟦a⟧")
        if number == 1:
            engine.step()
    engine.drain()
    assert set(engine.finished) == {1, 2}
    assert engine.failed[3].kind == "overloaded"


def test_the_same_beginning_is_computed_once() -> None:
    engine = Engine(parallel=2)
    engine.submit(1, "a long common beginning ⟦x⟧")
    engine.drain()
    engine.submit(2, "a long common beginning ⟦y⟧")
    engine.drain()
    assert engine.finished[1].cached_tokens == 0
    assert engine.finished[2].cached_tokens == len("a long common beginning ⟦".encode())
    assert engine.text[2] == "y"


def test_an_abort_frees_the_slot_of_a_running_request() -> None:
    engine = Engine(parallel=1)
    engine.submit(1, "⟦" + "x" * 500 + "⟧")
    engine.submit(2, "⟦next⟧")
    engine.step()
    engine.loop.abort(Abort(1))
    engine.drain()
    assert engine.text[2] == "next"
    assert 1 not in engine.finished


class _BrokenOnce(FakeBackend):
    """Ends its n-th decode as told."""

    def __init__(self, at: int, how: Decoded) -> None:
        super().__init__(EngineConfig(backend="fake"))
        self._left = at
        self._how = how

    def decode(self, rows: "list[Row]") -> Decoded:  # type: ignore[override]
        self._left -= 1
        result = super().decode(rows)
        return self._how if self._left == 0 else result


def test_an_interrupted_step_is_done_again() -> None:
    engine = Engine(_BrokenOnce(3, Decoded.INTERRUPTED))
    engine.submit(1, "⟦abcdef⟧")
    engine.submit(2, "⟦ghijkl⟧")
    engine.drain()
    assert (engine.text[1], engine.text[2]) == ("abcdef", "ghijkl")


@pytest.mark.parametrize("how", [Decoded.NO_SPACE, Decoded.REFUSED])
def test_a_batch_that_cannot_be_computed_fails_its_requests_and_no_others(how: Decoded) -> None:
    engine = Engine(_BrokenOnce(2, how))
    engine.submit(1, "⟦abc⟧")
    engine.step()
    engine.step()
    engine.submit(2, "⟦def⟧")
    engine.drain()
    assert engine.failed[1].kind == "engine_crashed"
    assert engine.text[2] == "def"


def test_a_step_that_shifts_is_not_interrupted() -> None:
    class Watched(FakeBackend):
        """Notes what may be interrupted in each step, and whether one was shifted for it."""

        def __init__(self) -> None:
            super().__init__(EngineConfig(backend="fake", context=32, parallel=2, batch=8))
            self.shifted = False
            self.steps: list[tuple[bool, bool]] = []

        def shift(self, slot: int, keep: int, discard: int) -> None:
            super().shift(slot, keep, discard)
            self.shifted = True

        def decode(self, rows: "list[Row]") -> Decoded:  # type: ignore[override]
            self.steps.append((self.shifted, bool(engine.loop.prompting)))
            self.shifted = False
            return super().decode(rows)

    backend = Watched()
    engine = Engine(backend, context=32, parallel=2, batch=8, prompt_budget=2)
    engine.submit(1, "⟦abc⟧", sampling=Sampling(ignore_eos=True), max_tokens=40)
    for number in range(2, 12):
        engine.submit(number, chr(64 + number) * 20 + "⟦⟧")
    engine.drain()
    assert (True, True) not in backend.steps, "an interrupt could have met a shift"
    assert (True, False) in backend.steps and (False, True) in backend.steps


class EngineMachine(RuleBasedStateMachine):
    """Any order of submit, abort, interrupt and step: no lost token, no leaked slot."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine(context=96, parallel=3, batch=32, prompt_budget=8, queue=6)
        self.numbers = itertools.count(1)
        self.expected: dict[int, str] = {}

    @rule(
        target=requests,
        lead=st.text(alphabet="ab", max_size=30),
        reply=st.text(alphabet="xyé", max_size=12),
        most=st.none() | st.integers(0, 15),
    )
    def submit(self, lead: str, reply: str, most: int | None) -> int:
        number = next(self.numbers)
        self.engine.submit(number, f"{lead}⟦{reply}⟧", max_tokens=most)
        self.expected[number] = (
            reply if most is None else reply.encode()[:most].decode(errors="replace")
        )
        return number

    @rule(number=consumes(requests))
    def abort(self, number: int) -> None:
        self.engine.loop.abort(Abort(number))
        if number not in self.engine.finished:
            self.expected.pop(number, None)

    @rule()
    def step(self) -> None:
        self.engine.step()

    @rule()
    def interrupted_step(self) -> None:
        self.engine.backend.interrupt()
        self.engine.step()
        self.engine.backend.arm()

    @invariant()
    def books_agree(self) -> None:
        self.engine.scheduler.check_integrity()

    def teardown(self) -> None:
        self.engine.drain()
        for number, text in self.expected.items():
            if number in self.engine.failed:
                assert self.engine.failed[number].kind == "overloaded"
            else:
                assert self.engine.text[number] == text
                assert number in self.engine.finished
        assert self.engine.scheduler.slots.num_free == 3


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
