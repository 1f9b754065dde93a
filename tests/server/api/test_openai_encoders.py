"""Events of the core as OpenAI's replies, whole and as a stream."""

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState

from server.api.events import Called, Delta, Done, Event, OfChoice, Started, Thinking
from server.api.openai_chat_replies import ChatEncoder
from server.api.openai_completions import TextEncoder
from server.api.openai_errors import InvalidField, encode_error
from server.api.openai_replies import Head
from server.chat.tools import ToolCall
from server.engine.types import FinishReason, Logprob, TokenLogprob
from server.errors import (
    ContextExceeded,
    EngineCrashed,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    ServerError,
    Unauthorized,
)
from tests.support import openai_shapes as shapes

HEAD = Head(id="chatcmpl-1", created=7, model="m", system_fingerprint="fp_1")
STARTED = Started(prompt_tokens=9, truncated_tokens=0, context=64, asked_context=None)
CALL = ToolCall("call_abcdefgh", "f", {"a": "<b>"})
OTHER = ToolCall("call_ijklmnop", "g", {})


def done(reason: FinishReason = FinishReason.EOS, **fields: Any) -> Done:
    numbers: dict[str, Any] = {
        "prompt_tokens": 9, "cached_tokens": 4, "output_tokens": 3, "truncated_tokens": 0,
        "shifted_tokens": 0, "total_ns": 1, "load_ns": 1, "prompt_ns": 1, "output_ns": 1,
        "tokens": [], "stop_string": None,
    }  # fmt: skip
    return Done(reason=reason, **{**numbers, **fields})


def logprob(text: str, value: float = -0.5, *, raw: bytes | None = None) -> Logprob:
    chosen = TokenLogprob(text, text.encode() if raw is None else raw, value)
    return Logprob(chosen, (TokenLogprob("z", b"z", -0.25),))


def chat(
    *said: Event, count: int = 1, usage: bool = False, is_legacy: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same events both ways: as one object and as those of a stream."""
    events: list[Event] = [
        STARTED,
        *(one if isinstance(one, OfChoice) else OfChoice(0, one) for one in said),
    ]

    def encoder() -> ChatEncoder:
        return ChatEncoder(HEAD, num_choices=count, with_usage=usage, is_legacy=is_legacy)

    stream = encoder()
    frames = b"".join(stream.frame(event) for event in events)
    return json.loads(encoder().whole(events)), shapes.events_of(frames.decode())


def put_together(chunks: list[dict[str, Any]]) -> Any:
    """What the official client makes of a stream."""
    state: Any = ChatCompletionStreamState()
    for chunk in shapes.chunks(chunks):
        state.handle_chunk(chunk)
    return state.current_completion_snapshot


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def test_a_plain_reply() -> None:
    whole, stream = chat(Delta("a"), Delta("b"), done())
    assert list(whole) == [
        "id", "object", "created", "model", "system_fingerprint", "choices", "usage",
    ]  # fmt: skip
    assert whole["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "ab", "refusal": None},
         "logprobs": None, "finish_reason": "stop"},
    ]  # fmt: skip
    assert whole["usage"] == {
        "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    assert deltas(stream) == [{"role": "assistant", "content": "a"}, {"content": "b"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in stream] == [None, None, "stop"]
    assert all("usage" not in chunk for chunk in stream)
    assert put_together(stream).choices[0].message.content == "ab"
    shapes.completion(whole)


def test_an_empty_reply() -> None:
    whole, stream = chat(done())
    assert whole["choices"][0]["message"]["content"] == ""
    assert deltas(stream) == [{"role": "assistant", "content": ""}, {}]


def test_usage_comes_last_and_is_null_before() -> None:
    whole, stream = chat(Delta("a"), done(), usage=True)
    assert [chunk["usage"] for chunk in stream] == [None, None, whole["usage"]]
    assert stream[-1]["choices"] == []


def test_thoughts_are_apart() -> None:
    whole, stream = chat(Thinking("hm"), Thinking("m"), Delta("4"), done())
    message = whole["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("hmm", "4")
    assert deltas(stream) == [
        {"role": "assistant", "content": "", "reasoning": "hm"},
        {"content": "", "reasoning": "m"},
        {"content": "4"},
        {},
    ]
    shapes.completion(whole)


def test_calls() -> None:
    whole, stream = chat(Called(0, CALL), Called(1, OTHER), done())
    (choice,) = shapes.completion(whole).choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    calls = whole["choices"][0]["message"]["tool_calls"]
    assert calls == [
        {"id": "call_abcdefgh", "type": "function",
         "function": {"name": "f", "arguments": '{"a":"<b>"}'}},
        {"id": "call_ijklmnop", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]  # fmt: skip
    assert deltas(stream) == [
        {"role": "assistant", "tool_calls": [{"index": 0, **calls[0]}]},
        {"tool_calls": [{"index": 1, **calls[1]}]},
        {},
    ]
    assert stream[-1]["choices"][0]["finish_reason"] == "tool_calls"
    together = put_together(stream).choices[0].message
    assert together.content is None
    assert [call.function.name for call in together.tool_calls] == ["f", "g"]


def test_a_call_behind_words() -> None:
    whole, stream = chat(Delta("Let me see."), Called(0, CALL), done())
    assert whole["choices"][0]["message"]["content"] == "Let me see."
    assert put_together(stream).choices[0].message.content == "Let me see."


def test_a_reply_that_is_cut_stays_cut() -> None:
    whole, stream = chat(Called(0, CALL), done(FinishReason.LENGTH))
    assert whole["choices"][0]["finish_reason"] == "length"
    assert stream[-1]["choices"][0]["finish_reason"] == "length"


def test_a_stop_string_is_a_stop() -> None:
    whole, _ = chat(Delta("a"), done(FinishReason.STOP_STRING, stop_string="x"))
    assert whole["choices"][0]["finish_reason"] == "stop"


def test_a_call_as_it_was_once_said() -> None:
    whole, stream = chat(Called(0, CALL), done(), is_legacy=True)
    (choice,) = shapes.completion(whole).choices
    function = {"name": "f", "arguments": '{"a":"<b>"}'}
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
    assert whole["choices"][0]["message"]["function_call"] == function
    assert deltas(stream) == [{"role": "assistant", "function_call": function}, {}]


def test_logprobs_of_all_tokens() -> None:
    whole, stream = chat(
        Thinking("hm", (logprob("hm"),)), Delta("é", (logprob("é"), logprob("x", -1e999))), done()
    )
    content = whole["choices"][0]["logprobs"]["content"]
    assert content[1] == {
        "token": "é", "logprob": -0.5, "bytes": [195, 169],
        "top_logprobs": [{"token": "z", "logprob": -0.25, "bytes": [122]}],
    }  # fmt: skip
    assert [one["logprob"] for one in content] == [-0.5, -0.5, -9999.0]
    streamed = [choice["logprobs"] for chunk in stream for choice in chunk["choices"]]
    assert [len(one["content"]) if one else 0 for one in streamed] == [1, 2, 0]
    shapes.completion(whole)


def test_several_choices() -> None:
    said = [
        OfChoice(1, Delta("b")), OfChoice(0, Delta("a")), OfChoice(0, done(cached_tokens=9)),
        OfChoice(1, done(FinishReason.LENGTH, output_tokens=5, cached_tokens=2)),
    ]  # fmt: skip
    whole, stream = chat(*said, count=2, usage=True)
    assert [(c["message"]["content"], c["finish_reason"]) for c in whole["choices"]] == [
        ("a", "stop"), ("b", "length"),
    ]  # fmt: skip
    assert whole["usage"] == {
        "prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    assert stream[-1]["usage"] == whole["usage"]
    places = [c["index"] for chunk in stream for c in chunk["choices"] if "role" in c["delta"]]
    assert places == [0, 1]
    together = put_together(stream)
    assert [choice.message.content for choice in together.choices] == ["a", "b"]


def test_what_was_left_out_is_said_at_the_end() -> None:
    whole, stream = chat(Delta("a"), done(truncated_tokens=5, shifted_tokens=6))
    assert (whole["truncated"], whole["shifted"]) == (5, 6)
    assert (stream[-1]["truncated"], stream[-1]["shifted"]) == (5, 6)
    assert "truncated" not in stream[0]


def test_a_stream_that_fails_ends_with_the_error() -> None:
    encoder = ChatEncoder(HEAD, num_choices=1, with_usage=False)
    frame = encoder.failure(EngineCrashed("gone", hint="try again"))
    assert frame.startswith(b"data: ") and frame.endswith(b"\n\n")
    assert json.loads(frame.removeprefix(b"data: ")) == {
        "error": {
            "message": "gone (try again)", "type": "api_error", "param": None,
            "code": "engine_crashed",
        }
    }  # fmt: skip


class TooMany(ServerError):
    """A caller that asks too often."""

    status = 429
    code = "quota"


@pytest.mark.parametrize(
    ("error", "kind", "param", "code"),
    [
        (InvalidRequest("x"), "invalid_request_error", None, None),
        (InvalidField("n", "x"), "invalid_request_error", "n", None),
        (ContextExceeded("x"), "invalid_request_error", None, "context_length_exceeded"),
        (Unauthorized("x"), "authentication_error", None, "invalid_api_key"),
        (Forbidden("x"), "permission_error", None, "forbidden"),
        (ModelNotFound("x"), "not_found_error", None, "model_not_found"),
        (MethodNotAllowed("x"), "invalid_request_error", None, "method_not_allowed"),
        (PayloadTooLarge("x"), "invalid_request_error", None, "payload_too_large"),
        (TooMany("x"), "rate_limit_error", None, "rate_limit_exceeded"),
        (ServerError("x"), "api_error", None, "internal"),
        (Overloaded("x"), "api_error", None, "overloaded"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ServerError) else "",
)
def test_errors(error: ServerError, kind: str, param: str | None, code: str | None) -> None:
    assert json.loads(encode_error(error)) == {
        "error": {"message": "x", "type": kind, "param": param, "code": code}
    }


def text(
    *said: OfChoice, echoes: tuple[str, ...] = ("",), per_prompt: int = 1, usage: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    def encoder() -> TextEncoder:
        return TextEncoder(HEAD, per_prompt=per_prompt, echoes=echoes, with_usage=usage)

    events: list[Event] = [STARTED, *said]
    stream = encoder()
    frames = b"".join(stream.frame(event) for event in events)
    return json.loads(encoder().whole(events)), shapes.events_of(frames.decode())


def test_texts() -> None:
    said = [OfChoice(0, Delta("a")), OfChoice(0, Delta("b")), OfChoice(0, done())]
    whole, stream = text(*said, usage=True)
    choice = {"index": 0, "text": "ab", "logprobs": None, "finish_reason": "stop"}
    assert whole["choices"] == [choice] and whole["object"] == "text_completion"
    pieces = [c for chunk in stream for c in chunk["choices"]]
    assert [(c["text"], c["finish_reason"]) for c in pieces] == [
        ("a", None), ("b", None), ("", "stop"),
    ]  # fmt: skip
    assert [chunk["usage"] for chunk in stream] == [None, None, None, whole["usage"]]
    shapes.text_completion(whole)
    for chunk in stream[:-2]:
        assert chunk["choices"][0]["finish_reason"] is None
    shapes.text_completion(stream[-1])


def test_texts_of_several_prompts() -> None:
    said = [
        OfChoice(3, Delta("d")), OfChoice(0, Delta("a")), OfChoice(3, done(prompt_tokens=20)),
        OfChoice(2, Delta("c")), OfChoice(0, done()), OfChoice(2, done(prompt_tokens=20)),
        OfChoice(1, done(truncated_tokens=0)),
    ]  # fmt: skip
    whole, stream = text(*said, echoes=("", "", "", ""), per_prompt=2, usage=True)
    assert [choice["text"] for choice in whole["choices"]] == ["a", "", "c", "d"]
    assert whole["usage"]["prompt_tokens"] == 29 and whole["usage"]["completion_tokens"] == 12
    assert stream[-1]["usage"] == whole["usage"]


def test_the_prompt_comes_along_once() -> None:
    said = [OfChoice(0, Delta("a")), OfChoice(0, done()), OfChoice(1, done())]
    whole, stream = text(*said, echoes=("one ", "two "))
    assert [choice["text"] for choice in whole["choices"]] == ["one a", "two "]
    assert [choice["text"] for chunk in stream for choice in chunk["choices"]] == [
        "one a", "", "two ",
    ]  # fmt: skip


def test_logprobs_of_texts() -> None:
    half = (logprob("?", raw=b"\xc3"), logprob("?", raw=b"\xa9"))
    said = [
        OfChoice(0, Delta("a", (logprob("a"),))),
        OfChoice(0, Delta("é", half)),
        OfChoice(0, Delta("z", (logprob("z"),))),
        OfChoice(0, done()),
    ]
    whole, stream = text(*said)
    found = whole["choices"][0]["logprobs"]
    assert found["tokens"] == ["a", "bytes:\\xc3", "bytes:\\xa9", "z"]
    assert found["token_logprobs"] == [-0.5] * 4
    assert found["top_logprobs"][0] == {"z": -0.25, "a": -0.5}
    assert found["text_offset"] == [0, 1, 1, 2]
    streamed = [c["logprobs"] for chunk in stream for c in chunk["choices"]]
    assert [one["text_offset"] if one else None for one in streamed] == [[0], [1, 1], [2], None]
    shapes.text_completion(whole)


@pytest.mark.parametrize("prefix", ["chatcmpl-", "cmpl-"])
def test_ids_differ(prefix: str) -> None:
    class Stored:
        digest = "0123456789abcdef"

    stored: Any = Stored()
    heads = {Head.of(prefix, "m", stored).id for _ in range(50)}
    assert len(heads) == 50 and all(one.startswith(prefix) for one in heads)
    assert Head.of(prefix, "m", stored).system_fingerprint == "fp_0123456789"
