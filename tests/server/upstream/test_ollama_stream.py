"""Replies of an Ollama, read chunk by chunk, however they are cut on the way."""

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.events import Called, Delta, Said, Thinking
from server.chat.tools import Tool
from server.engine.types import Finish, FinishReason
from server.errors import UpstreamFailed
from server.upstream.ollama_stream import ReplyStream
from server.upstream.ollama_wire import Chunk
from server.upstream.wire import split_lines
from tests.support.ollama_stand_in import END, in_form, spoken

WEATHER = Tool("weather", parameters={"type": "object", "properties": {"city": {}}})


def chunk(value: dict[str, Any]) -> Chunk:
    return msgspec.json.decode(json.dumps(value), type=Chunk)


def read(*chunks: dict[str, Any], is_chat: bool = True, **options: Any) -> list[Said]:
    stream = ReplyStream([WEATHER], **options)
    return [event for one in chunks for event in stream.feed(chunk(in_form(one, is_chat=is_chat)))]


def called(name: str, **arguments: Any) -> dict[str, Any]:
    """A call as versions without ids write it."""
    return {"function": {"index": 0, "name": name, "arguments": arguments}}


@pytest.mark.parametrize("is_chat", [True, False])
def test_thoughts_and_text_of_one_chunk(is_chat: bool) -> None:
    events = read(spoken("b", thinking="a"), spoken(""), spoken("c"), is_chat=is_chat)
    assert events == [Thinking("a"), Delta("b"), Delta("c")]


def test_calls_get_ids_and_are_counted() -> None:
    first, second = read(
        spoken("", tool_calls=[called("weather", city="Bonn")]),
        spoken("", tool_calls=[called("weather")]),
    )
    assert isinstance(first, Called) and isinstance(second, Called)
    assert (first.index, second.index) == (0, 1)
    assert first.call.arguments == {"city": "Bonn"} and second.call.arguments == {}
    assert first.call.id != second.call.id and first.call.id.startswith("call_")


def test_one_call_at_most() -> None:
    calls = [called("weather"), called("weather")]
    assert len(read(spoken("", tool_calls=calls), most_calls=1)) == 1


def test_a_function_that_was_not_offered_is_text() -> None:
    (said,) = read(spoken("", tool_calls=[called("rm", path="/")]))
    assert isinstance(said, Delta) and json.loads(said.text)["name"] == "rm"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "weather", "arguments": {"city": "Bonn"}}', {"city": "Bonn"}),
        ('{"name": "weather", "arguments": {"ci', None),
        ('{"name": "other", "arguments": {}}', None),
        ("[" * 10_000, None),
    ],
)
def test_a_reply_that_is_a_call(text: str, expected: dict[str, str] | None) -> None:
    *said, last = read(spoken(text[:9]), spoken(text[9:]), spoken("") | END, is_call=True)
    assert said == []
    if expected is None:
        assert isinstance(last, Delta) and last.text.replace(" ", "") == text.replace(" ", "")
    else:
        assert isinstance(last, Called) and last.call.arguments == expected


def test_logprobs_go_with_the_text_or_alone() -> None:
    told = [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "é", "logprob": -0.5}],
        }
    ]
    first, second = read(spoken("é", logprobs=told), spoken("", logprobs=told))
    assert isinstance(first, Delta) and isinstance(second, Delta)
    assert first.text == "é" and second.text == ""
    for event in (first, second):
        (logprob,) = event.logprobs
        assert logprob.chosen.raw == logprob.top[0].raw == "é".encode()


def finish(*chunks: dict[str, Any], is_mute: bool = False) -> Finish:
    ticks = iter(range(0, 10**12, 10**9))
    stream = ReplyStream(is_mute=is_mute, clock_ns=lambda: next(ticks))
    for one in chunks:
        stream.feed(chunk(in_form(one, is_chat=False)))
    return stream.finish()


def test_the_numbers_of_the_end() -> None:
    found = finish(spoken("a"), spoken("") | END | {"context": [1, 2]})
    assert (found.reason, found.tokens) == (FinishReason.EOS, (1, 2))
    assert (found.prompt_tokens, found.output_tokens) == (26, 3)
    assert (found.queue_ns, found.prompt_ns, found.output_ns) == (
        END["load_duration"], END["prompt_eval_duration"], END["eval_duration"],
    )  # fmt: skip


def test_what_is_left_out_is_measured() -> None:
    found = finish(spoken("a"), spoken("b"), spoken("", done=True, context=None))
    assert (found.prompt_tokens, found.output_tokens) == (0, 2)
    assert (found.queue_ns, found.prompt_ns, found.output_ns) == (0, 10**9, 10**9)


def test_a_token_that_nobody_asked_for_is_not_told() -> None:
    assert read(spoken("a"), spoken("") | END, is_mute=True) == []
    found = finish(spoken("a"), spoken("") | END, is_mute=True)
    assert (found.reason, found.output_tokens) == (FinishReason.LENGTH, 0)


@pytest.mark.parametrize(
    ("error", "said"),
    [("CUDA error: out of\nmemory", "CUDA error: out of memory"), ({"odd": 1}, "does not say why")],
)
def test_an_error_in_the_stream(error: Any, said: str) -> None:
    with pytest.raises(UpstreamFailed, match=said):
        read(spoken("a"), {"text": "", "error": error})


def test_a_stream_without_an_end() -> None:
    with pytest.raises(UpstreamFailed, match="before it was done"):
        finish(spoken("a"))


@pytest.mark.parametrize(
    "odd",
    [
        {"eval_count": -1},
        {"eval_duration": 2**63},
        {"context": [2**31]},
        {"message": 7},
        {"logprobs": [{"token": "a", "logprob": 0, "bytes": [256]}]},
        {"message": {"tool_calls": [{"function": {"name": 1}}]}},
    ],
)
def test_what_makes_no_sense_is_no_chunk(odd: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        chunk(odd)


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), max_size=12)


@given(texts=TEXTS, data=st.data())
async def test_lines_are_found_wherever_the_stream_is_cut(
    texts: list[str], data: st.DataObject
) -> None:
    values = [*(in_form(spoken(text), is_chat=True) for text in texts), spoken("") | END]
    sent = b"".join(json.dumps(v, ensure_ascii=False).encode() + b"\n" for v in values)
    if data.draw(st.booleans()):
        sent = sent.removesuffix(b"\n")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=20)))
    ends = [0, *cuts, len(sent)]

    async def parts() -> AsyncIterator[bytes]:
        for begin, end in itertools.pairwise(ends):
            yield sent[begin:end]

    stream = ReplyStream()
    said = ""
    async for line in split_lines(parts(), "Ollama"):
        for event in stream.feed(msgspec.json.decode(line, type=Chunk)):
            assert isinstance(event, Delta)
            said += event.text
    assert said == "".join(texts) and stream.is_over
