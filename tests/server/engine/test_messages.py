"""Frames and messages survive any cut of the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.frames import Frames
from server.engine.messages import (
    Abort,
    Step,
    Submit,
    decode_from_runner,
    decode_to_runner,
    encode,
)
from server.engine.types import (
    EngineStats,
    Finish,
    FinishReason,
    Grammar,
    Logprob,
    Piece,
    Request,
    TokenLogprob,
)


@given(st.lists(st.integers(0, 2**31), min_size=1), st.lists(st.integers(1, 40), min_size=1))
def test_messages_come_out_whole_whatever_the_cut(ids: list[int], cuts: list[int]) -> None:
    stream = b"".join(encode(Abort(i)) for i in ids)
    frames, got, at, turn = Frames(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        got += frames.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert [decode_to_runner(body) for body in got] == [Abort(i) for i in ids]


def test_a_request_arrives_as_it_was_sent() -> None:
    request = Request(
        tokens=[1, 2, 3], stop=("a", "b"), grammar=Grammar("schema", "{}"), top_logprobs=0
    )
    [body] = Frames().feed(encode(Submit(7, request)))
    assert decode_to_runner(body) == Submit(7, request)


def test_the_news_of_a_step_arrive_as_they_were_sent() -> None:
    best = TokenLogprob("é", b"\xc3", -0.5)
    finish = Finish(
        reason=FinishReason.LENGTH,
        prompt_tokens=1,
        cached_tokens=0,
        output_tokens=1,
        queue_ns=1,
        prompt_ns=2,
        output_ns=3,
    )
    piece = Piece("x", (5,), (Logprob(best, (best,)),))
    step = Step([(1, piece)], [(1, finish)], [], EngineStats(num_running=1))
    [body] = Frames().feed(encode(step))
    assert decode_from_runner(body) == step


def test_a_frame_beyond_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        Frames().feed(b"\xff\xff\xff\xff")
