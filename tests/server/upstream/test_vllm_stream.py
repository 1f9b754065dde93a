"""The stream of a completion, chunk by chunk."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.types import Finish, FinishReason, PromptRead, PromptText, Request
from server.errors import UpstreamFailed
from server.upstream.vllm_stream import CompletionStream, data_of
from server.upstream.vllm_wire import CachedTokens, Choice, Chunk, Logprobs, Timing, Usage
from server.upstream.vocabulary import Vocabulary

VOCABULARY = Vocabulary({7: "<|im_end|>", 8: "<|call|>"})


def stream(**more: object) -> CompletionStream:
    request = msgspec.structs.replace(Request(tokens=[1, 2]), **more)
    return CompletionStream(request, VOCABULARY, clock_ns=iter(range(0, 10**9, 1000)).__next__)


def ended(reason: str = "stop", stop: str | int | None = None) -> Chunk:
    return Chunk([Choice(finish_reason=reason, stop_reason=stop)])


@pytest.mark.parametrize(
    ("line", "data"),
    [
        (b'data: {"a": 1}', b'{"a": 1}'),
        (b"data:{}", b"{}"),
        (b"data: [DONE]", None),
        (b": a comment", None),
        (b"event: x", None),
    ],
)
def test_lines(line: bytes, data: bytes | None) -> None:
    assert data_of(line) == data


@pytest.mark.parametrize(
    ("chunk", "reason", "text"),
    [
        (ended(), FinishReason.EOS, None),
        (ended("stop", 7), FinishReason.EOS, None),
        (ended("stop", "END"), FinishReason.STOP_STRING, "END"),
        (ended("length"), FinishReason.LENGTH, None),
    ],
)
def test_why_it_ended(chunk: Chunk, reason: FinishReason, text: str | None) -> None:
    reply = stream()
    assert reply.feed(chunk) is None
    finish = reply.finish()
    assert (finish.reason, finish.stop_string) == (reason, text)


@pytest.mark.parametrize("chunk", [ended("abort"), ended("error"), Chunk()])
def test_what_is_no_end(chunk: Chunk) -> None:
    reply = stream()
    reply.feed(chunk)
    with pytest.raises(UpstreamFailed, match="broke off"):
        reply.finish()


def test_what_it_came_to() -> None:
    reply = stream()
    reply.feed(Chunk([Choice("x", [5])]))
    reply.feed(ended())
    reply.feed(
        Chunk(
            usage=Usage(2, 1, CachedTokens(1)),
            metrics=Timing(time_to_first_token_ms=3.0, generation_time_ms=4.0, queue_time_ms=1.0),
        )
    )
    assert reply.finish() == Finish(
        reason=FinishReason.EOS,
        prompt_tokens=2,
        cached_tokens=1,
        output_tokens=1,
        queue_ns=1_000_000,
        prompt_ns=2_000_000,
        output_ns=4_000_000,
    )


def test_what_it_does_not_say_is_measured_and_counted() -> None:
    reply = stream()
    reply.feed(Chunk([Choice("x", [5, 6])]))
    reply.feed(ended())
    finish = reply.finish()
    assert (finish.prompt_tokens, finish.output_tokens, finish.cached_tokens) == (2, 2, 0)
    assert finish.prompt_ns > 0 and finish.output_ns > 0


def test_control_tokens_that_nobody_asked_for_are_left_out() -> None:
    reply = stream(markers=("<|call|>",))
    first = reply.feed(Chunk([Choice("a<|im_end|><|call|>", [5, 7, 8])]))
    assert first is not None and first.text == "a<|call|>"
    reply.feed(Chunk([Choice("", [7])]))  # its text is held back, and comes later
    later = reply.feed(Chunk([Choice("<|im_end|>b", [5])]))
    assert later is not None and later.text == "b"


def test_a_text_is_told_once_with_the_beginning() -> None:
    reply = stream(tokens=[], text=PromptText("hi", begins=True))
    assert not reply.begins(Chunk())
    first = Chunk([Choice("x", [5])])
    assert reply.begins(first)
    assert reply.told([1, 2, 3]) == PromptRead([1, 2, 3])
    assert not reply.begins(first)
    reply.feed(first)
    reply.feed(ended())
    assert reply.finish().prompt_tokens == 3


def test_tokens_that_were_sent_are_not_told_again() -> None:
    assert not stream().begins(Chunk([Choice("x", [5])]))


def test_logprobs_are_the_best_ones_in_order() -> None:
    reply = stream(top_logprobs=2)
    found = Logprobs(["a"], [-1.0], [{"b": -0.5, "a": -1.0, "c": -3.0}])
    piece = reply.feed(Chunk([Choice("a", [5], logprobs=found)]))
    assert piece is not None
    (logprob,) = piece.logprobs
    assert logprob.chosen.logprob == -1.0
    assert [top.text for top in logprob.top] == ["b", "a"]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_junk_is_an_upstream_that_fails(error: object) -> None:
    reply = stream()
    if error is None:
        return
    with pytest.raises(UpstreamFailed):
        reply.feed(Chunk(error=error))
