"""The step loop over the fake backend, without a process or a clock."""

import itertools
from typing import ClassVar, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from server.engine.backend import Decoded, Row
from server.engine.config import EngineConfig
from server.engine.fake import VOCAB_SIZE, FakeBackend
from server.engine.messages import Abort, Submit
from server.engine.types import EngineStats, FinishReason, Grammar, Request, Sampling
from tests.server.engine.stepping import Engine
from tests.support.tiny_vision import picture

ENDLESS = Sampling(ignore_eos=True)


def test_a_reply_comes_whole_and_ends_once() -> None:
    engine = Engine()
    engine.submit(1, "⟦héllo 🎉⟧")
    engine.drain()
    assert engine.text[1] == "héllo 🎉"
    finish = engine.finished[1]
    assert finish.reason is FinishReason.EOS
    assert finish.output_tokens == len("héllo 🎉".encode()) + 1
    assert engine.loop.is_idle


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
    engine.submit(1, "⟦abc⟧", sampling=ENDLESS)
    engine.drain()
    assert engine.finished[1].reason is FinishReason.LENGTH
    assert engine.finished[1].output_tokens == 640
    assert engine.finished[1].shifted_tokens > 0


def test_a_full_window_without_shift_ends_with_length() -> None:
    engine = Engine(context=64, parallel=1)
    engine.submit(1, "⟦abc⟧", sampling=ENDLESS, shift=False)
    engine.drain()
    prompt = engine.finished[1].prompt_tokens
    # The last token needs no cell: it is sampled and never computed.
    assert prompt + engine.finished[1].output_tokens == 64 + 1
    assert engine.finished[1].reason is FinishReason.LENGTH


def test_the_window_of_a_request_may_be_smaller_than_the_model_s() -> None:
    engine = Engine(context=2048, parallel=1)
    engine.submit(1, "⟦abc⟧", sampling=ENDLESS, shift=False, context=32)
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


def rows_of(engine: Engine) -> list[int]:
    """How many rows each step computes; filled while it runs."""
    counts: list[int] = []
    decode = engine.backend.decode

    def counted(rows: "list[Row]") -> Decoded:
        counts.append(len(rows))
        return decode(rows)

    engine.backend.decode = counted  # type: ignore[method-assign,assignment]
    return counts


@pytest.mark.parametrize("pool", [0, 1500])
def test_a_beginning_that_many_send_at_once_is_computed_once(pool: int) -> None:
    engine = Engine(parallel=4, context=512, pool=pool)
    rows = rows_of(engine)
    common = "the same long beginning of all of them " * 5
    for number in range(1, 5):
        engine.submit(number, f"{common}{number}⟦{number}⟧")
    engine.drain()
    assert [engine.text[n] for n in range(1, 5)] == ["1", "2", "3", "4"]
    tail = len("1⟦1⟧".encode())
    # The first reads all, then the others read their tails while it decodes.
    assert sum(rows) == len(common) + 4 * tail + 4
    assert [engine.finished[n].cached_tokens for n in range(1, 5)] == [0] + [len(common)] * 3
    assert engine.stats.cached_tokens == 3 * len(common)


def test_running_requests_stay_side_by_side_and_lose_nothing() -> None:
    engine = Engine(parallel=4, context=256)
    slots: list[set[int]] = []
    decode = engine.backend.decode

    def watched(rows: "list[Row]") -> Decoded:
        slots.append({row.slot for row in rows})
        return decode(rows)

    engine.backend.decode = watched  # type: ignore[method-assign,assignment]
    for number in range(1, 5):
        engine.submit(number, f"{number}" * 80 + "⟦" + chr(96 + number) * 15 * number + "⟧")
    for _ in range(20):
        engine.step()
    engine.loop.abort(Abort(2))
    engine.step()
    engine.submit(5, "5⟦e⟧")
    engine.drain()
    assert [engine.text[n] for n in (1, 3, 4, 5)] == ["a" * 15, "c" * 45, "d" * 60, "e"]
    assert all(max(step) - min(step) == len(step) - 1 for step in slots)
    engine.submit(6, "2" * 80 + "⟦f⟧")
    engine.drain()
    assert engine.finished[6].cached_tokens >= 80, "moving others has not lost it"


def test_a_conversation_comes_back_from_host_memory() -> None:
    engine = Engine(parallel=1, context=512, parking_bytes=10_000)
    talk = "a conversation that is worth keeping " * 4
    engine.submit(1, f"{talk}⟦x⟧")
    engine.drain()
    engine.submit(2, "something else altogether ⟦y⟧")
    engine.drain()
    assert (engine.stats.num_parked, engine.stats.num_restored) == (1, 0)
    assert engine.stats.parked_bytes > len(talk)
    engine.submit(3, f"{talk}⟦z⟧")
    engine.drain()
    assert engine.text[3] == "z"
    assert engine.finished[3].cached_tokens >= len(talk)
    assert (engine.stats.num_restored, engine.stats.parked_bytes) == (1, 0)


@pytest.mark.parametrize("parking_bytes", [0, 10_000])
def test_who_is_preempted_goes_on_with_its_text_unchanged(parking_bytes: int) -> None:
    engine = Engine(parallel=3, context=200, pool=300, parking_bytes=parking_bytes)
    for number in (1, 2, 3):
        engine.submit(number, f"{number}⟦{number}.⟧", sampling=ENDLESS, max_tokens=170)
        engine.step()
    engine.drain()
    assert [engine.text[n] for n in (1, 2, 3)] == ["1." * 85, "2." * 85, "3." * 85]
    assert engine.stats.num_preempted > 0
    assert (engine.stats.num_restored > 0) == (parking_bytes > 0)
    assert engine.stats.output_tokens == 3 * 170, "no token was chosen twice"
    assert engine.stats.num_cells_used <= 300


def test_a_shift_of_shared_cells_leaves_the_others_alone() -> None:
    engine = Engine(parallel=2, context=120, pool=230)
    common = "x" * 60
    engine.submit(1, f"{common}⟦ab⟧", sampling=ENDLESS, max_tokens=200)
    engine.step()
    engine.submit(2, f"{common}⟦" + "c" * 40 + "⟧")
    engine.drain()
    assert engine.text[1] == "ab" * 100
    assert engine.text[2] == "c" * 40
    assert engine.finished[1].shifted_tokens > 0
    assert engine.finished[2].cached_tokens == 60 + len("⟦".encode())


def test_two_conversations_take_turns_in_one_slot() -> None:
    engine = Engine(parallel=1, context=512, parking_bytes=500)
    talks = {"a": "the first conversation " * 10, "b": "quite another one " * 12}
    for number in range(1, 9):
        name = "ab"[number % 2]
        engine.submit(number, f"{talks[name]}⟦{number}⟧")
        engine.drain()
        assert engine.text[number] == str(number)
        talks[name] += f"⟦{number}⟧{number} "
    assert engine.stats.num_restored == 6
    assert engine.stats.parked_bytes <= 500


def test_who_shares_only_the_beginning_of_a_parked_conversation_leaves_it_parked() -> None:
    engine = Engine(parallel=1, context=1000, parking_bytes=2000)
    system = "you are helpful " * 10
    engine.submit(1, f"{system}{'a long talk of ann ' * 20}⟦x⟧")
    engine.drain()
    engine.submit(2, "z" * 300 + "⟦y⟧")
    engine.drain()
    engine.submit(3, f"{system}⟦bob⟧")
    engine.drain()
    assert engine.finished[3].cached_tokens >= len(system)
    engine.submit(4, f"{system}{'a long talk of ann ' * 20}⟦again⟧")
    engine.drain()
    assert engine.finished[4].cached_tokens > 500
    assert engine.text[4] == "again"


def test_nothing_is_restored_where_a_copy_is_still_to_be_made() -> None:
    engine = Engine(parallel=3, context=1000, parking_bytes=5000)
    talks = [chr(97 + number) * 200 for number in range(5)]
    for number, talk in enumerate(talks):
        engine.submit(number, f"{talk}⟦x⟧")
        engine.drain()
    assert engine.stats.num_parked >= 2
    # One that goes on in its slot, one that is new, and one that is parked, all at once.
    engine.submit(10, f"{talks[3]}⟦x⟧⟦go⟧")
    engine.submit(11, "new" * 70 + "⟦new⟧")
    engine.submit(12, f"{talks[0]}⟦back⟧")
    engine.drain()
    assert [engine.text[n] for n in (10, 11, 12)] == ["go", "new", "back"]
    assert engine.finished[12].cached_tokens >= 200


def test_aborts_one_after_another_do_not_stop_a_stream() -> None:
    class Impatient(FakeBackend):
        """Somebody aborts a prompt in the middle of every step."""

        def decode(self, rows: "list[Row]") -> Decoded:  # type: ignore[override]
            engine.interrupts.abort(number)
            return super().decode(rows)

    number = 100
    engine = Engine(Impatient(EngineConfig(backend="fake")), parallel=4)
    engine.submit(1, "⟦abcdefghij⟧")
    engine.step()
    for number in range(101, 141):
        engine.submit(number, f"{number}" * 10 + "⟦⟧")
        engine.step()
        engine.loop.abort(Abort(number))
        engine.interrupts.settle(number)
    assert engine.text[1] == "abcdefghij"


def test_guesses_never_cost_others_their_place() -> None:
    preempted = {}
    for mode in ("off", "on"):
        engine = Engine(parallel=2, context=160, pool=320, speculate=mode)
        for number in (1, 2):
            engine.submit(number, f"{number}⟦ab⟧", sampling=ENDLESS, max_tokens=140)
        engine.drain()
        preempted[mode] = engine.stats.num_preempted
        assert engine.text[1] == "ab" * 70
    assert engine.stats.accepted_tokens > 0
    assert preempted["on"] == preempted["off"]


def test_a_request_that_is_refused_costs_nobody_a_prefix() -> None:
    engine = Engine(parallel=1)
    engine.submit(1, "a conversation that is cached ⟦x⟧")
    engine.drain()
    before = engine.stats
    engine.submit(2, "something else", grammar=Grammar("json"))
    engine.drain()
    assert engine.failed[2].kind == "invalid_request"
    assert engine.stats.prompt_tokens == before.prompt_tokens
    engine.submit(3, "a conversation that is cached ⟦y⟧")
    engine.drain()
    assert engine.finished[3].cached_tokens > 20


def test_what_is_lacking_is_taken_from_the_end_of_an_old_prefix() -> None:
    engine = Engine(parallel=2, context=400, pool=500)
    engine.submit(1, "x" * 350 + "⟦y⟧")
    engine.drain()
    engine.submit(2, "⟦" + "z" * 140 + "⟧")
    engine.drain()
    engine.submit(3, "x" * 350 + "⟦w⟧")
    engine.drain()
    assert 100 < engine.finished[3].cached_tokens < 350


def test_a_newcomer_of_another_key_gets_a_place_in_a_full_queue() -> None:
    engine = Engine(parallel=1, queue=2)
    engine.submit(1, "⟦aaaa⟧", owner="much")
    engine.step()
    for number in (2, 3):
        engine.submit(number, "⟦b⟧", owner="much")
    engine.submit(4, "⟦c⟧", owner="little")
    engine.drain()
    assert engine.failed[3].kind == "overloaded"
    assert set(engine.finished) == {1, 2, 4}


WAYS_TO_REMEMBER: dict[str, dict[str, object]] = {
    "a slot each": {"parallel": 3},
    "one memory": {"parallel": 3, "pool": 1000},
    "parked": {"parallel": 1, "parking_bytes": 1 << 20},
    "parked, one memory": {"parallel": 3, "pool": 500, "parking_bytes": 1 << 20},
}


@pytest.mark.parametrize("config", WAYS_TO_REMEMBER.values(), ids=WAYS_TO_REMEMBER)
def test_a_key_finds_nothing_that_was_computed_for_another(config: dict[str, object]) -> None:
    secret, other = "s" * 300 + "⟦w⟧", "b" * 350
    engine = Engine(None, context=400, **config)
    asked = [("ann", secret), ("bob", other), ("bob", secret), ("ann", secret)]
    for number, (owner, prompt) in enumerate(asked):
        engine.submit(number, prompt, owner=owner, max_tokens=1)
        engine.drain()
    assert engine.finished[2].cached_tokens == 0
    assert engine.finished[3].cached_tokens > 200


def test_a_key_does_not_wait_for_what_is_being_computed_for_another() -> None:
    engine = Engine(context=400, parallel=2, batch=32)
    for number, owner in enumerate(("ann", "bob")):
        engine.submit(number, "s" * 300 + "⟦w⟧", owner=owner)
    engine.drain()
    assert [engine.finished[number].cached_tokens for number in (0, 1)] == [0, 0]


def test_keys_share_what_is_computed_if_that_is_wanted() -> None:
    engine = Engine(context=400, share_prefixes=True)
    for number, owner in enumerate(("ann", "bob")):
        engine.submit(number, "s" * 300 + "⟦w⟧", owner=owner)
        engine.drain()
    assert engine.finished[1].cached_tokens > 200


def test_a_memory_that_is_fuller_than_the_books_say_makes_room() -> None:
    engine = Engine(_BrokenOnce(4, Decoded.NO_SPACE), parallel=4)
    engine.submit(1, "⟦abc⟧")
    engine.submit(2, "⟦def⟧")
    engine.drain()
    assert (engine.text[1], engine.text[2]) == ("abc", "def")
    assert engine.stats.num_preempted == 1


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


class Seen(NamedTuple):
    has_shifted: bool
    is_aborted: bool
    is_interrupted: bool


def test_a_step_that_shifts_is_not_interrupted() -> None:
    class Watched(FakeBackend):
        """Notes what may be interrupted in each step, and whether one was shifted for it."""

        def __init__(self) -> None:
            super().__init__(EngineConfig(backend="fake", context=32, parallel=2, batch=8))
            self.shifted = False
            self.steps: list[Seen] = []

        def shift(self, slot: int, keep: int, discard: int) -> None:
            super().shift(slot, keep, discard)
            self.shifted = True

        def decode(self, rows: "list[Row]") -> Decoded:  # type: ignore[override]
            # An abort of everybody arrives in the middle of the step, unless the last one was
            # interrupted: it has to go on some time.
            is_aborted = not (self.steps and self.steps[-1].is_interrupted)
            for number in range(1, 12) if is_aborted else ():
                engine.interrupts.abort(number)
            result = super().decode(rows)
            self.steps.append(Seen(self.shifted, is_aborted, result is Decoded.INTERRUPTED))
            self.shifted = False
            for number in range(1, 12):
                engine.interrupts.settle(number)
            return result

    backend = Watched()
    engine = Engine(backend, context=32, parallel=2, batch=8)
    engine.submit(1, "⟦abc⟧", sampling=ENDLESS, max_tokens=40)
    for number in range(2, 12):
        engine.submit(number, chr(64 + number) * 20 + "⟦⟧")
    engine.drain()
    assert Seen(True, True, True) not in backend.steps, "an interrupt has met a shift"
    assert Seen(True, True, False) in backend.steps and Seen(False, True, True) in backend.steps


COMMON = "abcabbacca" * 30
PICTURES = [picture(number, size=(8, 8)) for number in range(3)]


class EngineMachine(RuleBasedStateMachine):
    """Any order of submit, abort, interrupt and step: no lost token, no leaked slot or cell,
    nobody who waits for ever."""

    config: ClassVar[dict[str, object]] = {}
    # With all that may stand around it, in bytes, it fits into the least of the windows.
    longest: ClassVar[int] = 50
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        options = {"context": 96, "parallel": 3, "batch": 32, "queue": 6} | self.config
        self.engine = Engine(None, **options)
        self.numbers = itertools.count(1)
        self.expected: dict[int, str] = {}

    @rule(
        target=requests,
        share=st.integers(0, 10),
        voice=st.sampled_from(["", "", "m", "n"]),
        lead=st.text(alphabet="ab", max_size=10),
        reply=st.text(alphabet="xyé", max_size=12),
        most=st.none() | st.integers(0, 15),
        owner=st.sampled_from(["ann", "bob"]),
    )
    def submit(
        self, share: int, voice: str, lead: str, reply: str, most: int | None, owner: str
    ) -> int:
        number = next(self.numbers)
        prompt = f"{voice}{COMMON[: self.longest * share // 10]}{lead}⟦{reply}⟧"
        self.engine.submit(number, prompt, max_tokens=most, owner=owner)
        self.expected[number] = (
            reply if most is None else reply.encode()[:most].decode(errors="replace")
        )
        return number

    @rule(target=requests, lead=st.integers(0, 60), most=st.integers(1, 300), shift=st.booleans())
    def submit_endless(self, lead: int, most: int, shift: bool) -> int:
        number = next(self.numbers)
        self.engine.submit(
            number,
            f"{COMMON[:lead]}⟦.x⟧",
            sampling=ENDLESS,
            max_tokens=most,
            shift=shift,
            num_keep=4,
        )
        window = self.engine.backend.info.context
        room = most if shift else min(most, window + 1 - lead - len("⟦.x⟧".encode()))
        self.expected[number] = (".x" * most)[:room]
        return number

    @rule(
        target=requests,
        lead=st.integers(0, 60),
        which=st.lists(st.integers(0, 2), min_size=1, max_size=3),
        reply=st.text(alphabet="xy", max_size=8),
    )
    def show(self, lead: int, which: list[int], reply: str) -> int:
        number = next(self.numbers)
        images: list[str | bytes] = []
        for at in which:
            images += [PICTURES[at], "ab"[: at % 2 + 1]]
        self.engine.show(number, [COMMON[:lead], *images, f"⟦{reply}⟧"])
        self.expected[number] = reply
        return number

    @rule(lead=st.integers(0, 30), which=st.integers(0, 2), most=st.integers(1, 300))
    def show_endless(self, lead: int, which: int, most: int) -> None:
        number = next(self.numbers)
        again = COMMON[:lead]
        parts: list[str | bytes] = [again, PICTURES[which], again, PICTURES[0], "⟦.x⟧"]
        self.engine.show(number, parts, sampling=ENDLESS, max_tokens=most, num_keep=lead + 2)
        self.expected[number] = (".x" * most)[:most]

    @rule(number=consumes(requests))
    def abort(self, number: int) -> None:
        self.engine.loop.abort(Abort(number))
        if number not in self.engine.finished:
            self.expected.pop(number, None)

    @rule(times=st.integers(1, 8))
    def step(self, times: int) -> None:
        for _ in range(times):
            self.engine.step()

    @rule()
    def interrupted_step(self) -> None:
        self.engine.backend.interrupt()
        self.engine.step()
        self.engine.backend.arm()

    @invariant()
    def books_agree(self) -> None:
        self.engine.check()

    def teardown(self) -> None:
        self.engine.drain()
        for number, text in self.expected.items():
            if number in self.engine.failed:
                assert self.engine.failed[number].kind == "overloaded"
            else:
                assert self.engine.text[number] == text
                assert number in self.engine.finished
        stats = self.engine.stats if self.engine.steps else EngineStats()
        assert (stats.num_running, stats.num_waiting) == (0, 0)


class ParkingMachine(EngineMachine):
    """Conversations that are long enough to be parked, and more than there is room for."""

    config: ClassVar[dict[str, object]] = {"context": 400, "parallel": 2, "parking_bytes": 500}
    longest: ClassVar[int] = 300


class SharedMemoryMachine(EngineMachine):
    """So little memory that requests have to be preempted."""

    config: ClassVar[dict[str, object]] = {"pool": 130, "parallel": 4}


class SharedMemoryParkingMachine(EngineMachine):
    config: ClassVar[dict[str, object]] = {
        "context": 300,
        "pool": 450,
        "parallel": 4,
        "parking_bytes": 500,
    }
    longest: ClassVar[int] = 250


class SpeculatingMachine(EngineMachine):
    config: ClassVar[dict[str, object]] = {"pool": 150, "speculate": "on"}


class CautiouslySpeculatingMachine(EngineMachine):
    config: ClassVar[dict[str, object]] = {"speculate": "auto"}


for _machine in (
    EngineMachine,
    ParkingMachine,
    SharedMemoryMachine,
    SharedMemoryParkingMachine,
    SpeculatingMachine,
    CautiouslySpeculatingMachine,
):
    _case = _machine.TestCase
    _case.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
    globals()[f"Test{_machine.__name__}"] = _case
del _case  # or the last one would be collected twice


def test_counters_are_those_of_what_was_done() -> None:
    engine = Engine(parallel=2, context=64)
    engine.submit(1, "⟦abc⟧", max_tokens=2)
    engine.submit(2, "⟦abc⟧", sampling=ENDLESS, max_tokens=80)
    engine.step()
    assert (engine.stats.num_running, engine.stats.num_waiting) == (2, 0)
    engine.drain()
    stats = engine.stats
    assert (stats.num_running, stats.num_cells) == (0, 128)
    assert stats.prompt_tokens == sum(f.prompt_tokens for f in engine.finished.values())
    assert stats.output_tokens == 82
    assert stats.shifted_tokens == engine.finished[2].shifted_tokens > 0
    assert (stats.num_preempted, stats.num_parked, stats.drafted_tokens) == (0, 0, 0)


def test_what_cannot_be_done_is_refused_before_it_waits() -> None:
    engine = Engine(parallel=1)
    engine.submit(1, "⟦long⟧", sampling=ENDLESS, max_tokens=500)
    engine.step()
    engine.submit(2, "x", grammar=Grammar("json"))
    engine.submit(3, "x")
    engine.step()
    assert engine.failed[2].kind == "invalid_request"
    assert 1 not in engine.finished and engine.stats.num_waiting == 1
