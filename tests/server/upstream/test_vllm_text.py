"""Prompts that go to vLLM as text: which they are, and that nobody sees a difference."""

import json
import unicodedata
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.types import ImageSegment, ModelInfo, PromptText, Segment
from server.upstream.vllm_text import fits, most_tokens, prompt_text
from server.upstream.vocabulary import Vocabulary
from tests.server.upstream.conftest import Gateway
from tests.support.upstream_stand_in import Asked, Reply
from tests.support.vllm_stand_in import CONTEXT, CONTROL, IDS, VLLMStandIn, prompt_of, tokens_of

VOCABULARY = Vocabulary(CONTROL)
BOS = IDS["<s>"]
INFO = ModelInfo(
    architecture="llama",
    context=100,
    context_train=100,
    parallel=1,
    vocab_size=261,
    size_bytes=0,
    memory_bytes=0,
    bos="<s>",
    eos="</s>",
    add_bos=True,
    chat_template=None,
    control_tokens=VOCABULARY.texts,
    fim=None,
    can_shift=False,
    text_start=(BOS,),
)
TEXTS = st.text(alphabet="<>|/simpatoc_endrl é", max_size=12) | st.sampled_from(sorted(IDS))
SEGMENTS = st.lists(st.builds(Segment, TEXTS, st.booleans()), max_size=6)


@pytest.mark.parametrize(
    ("text", "context", "max_tokens", "is_sure"),
    [
        ("x" * 91, 100, None, True),
        ("x" * 92, 100, None, False),
        ("x" * 91, 100, 1000, True),  # vLLM gives as much as there is room for
        ("x" * 10, 50, None, False),  # which is more than this request may have
        ("x" * 10, 50, 32, True),
        ("x" * 10, 50, 33, False),
        ("x", 100, 0, False),
        ("é" * 10, 100, None, True),
        ("ﷺ" * 3, 100, None, False),  # one character, as many bytes as 33 letters
    ],
)
def test_what_surely_fits(text: str, context: int, max_tokens: int | None, is_sure: bool) -> None:
    assert fits([Segment(text)], INFO, context, max_tokens, makes_room=True) is is_sure


@pytest.mark.parametrize(("max_tokens", "is_sure"), [(None, False), (82, True), (83, False)])
def test_what_surely_fits_where_no_room_is_made(max_tokens: int | None, is_sure: bool) -> None:
    assert fits([Segment("x" * 10)], INFO, 100, max_tokens, makes_room=False) is is_sure


@given(st.text(max_size=20), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_no_tokenizer_makes_more_tokens_than_that(text: str, form: Any) -> None:
    """The most it can make is one for each byte of the form that it brings the text to."""
    brought = unicodedata.normalize(form, text).encode(errors="surrogatepass")
    assert most_tokens(text) >= len(brought)


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ([Segment("hi")], PromptText("hi", begins=True)),
        ([Segment("<s>hi")], PromptText("<s>hi", begins=False)),
        ([Segment(" <s>hi")], None),  # some tokenizers drop the space
        ([Segment("hi<s>")], None),
        ([Segment("<s>", special=False)], None),
        ([Segment("<|im_end|>", special=False)], None),
        ([Segment("<|im_end|>"), Segment("x", special=False)], PromptText("<|im_end|>x", True)),
        ([Segment("")], None),
        ([Segment("x"), ImageSegment(b"")], None),
    ],
)
def test_what_may_be_text(segments: list[Any], found: PromptText | None) -> None:
    assert prompt_text(segments, INFO, VOCABULARY) == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"add_bos": False, "text_start": ()}, PromptText("hi", begins=False)),
        ({"text_end": (257,)}, None),
        ({"text_start": (7,)}, None),  # nobody says how that one is written
    ],
)
def test_what_stands_around_a_text(changes: dict[str, Any], found: PromptText | None) -> None:
    info = msgspec.structs.replace(INFO, **changes)
    assert prompt_text([Segment("hi")], info, VOCABULARY) == found


@given(SEGMENTS)
def test_the_tokens_are_those_that_it_would_have_been_made_of(segments: list[Segment]) -> None:
    found = prompt_text(segments, INFO, VOCABULARY)
    if found is None:
        return
    text, between = VOCABULARY.marked(segments)
    tokens = [token for token in tokens_of(text) if token != between]
    expected = tokens if tokens[:1] == [BOS] else [BOS, *tokens]
    body = {"prompt": found.text, "add_special_tokens": found.begins}
    assert prompt_of(body) == expected


def ways(upstream: VLLMStandIn) -> list[str]:
    """Where the requests went, without the looks that are taken at it."""
    return [each.path for each in upstream.asked if each.method == "POST"]


def asked(shared: httpx2.Client, upstream: VLLMStandIn, **body: Any) -> list[str]:
    """Where a completion went."""
    before = len(ways(upstream))
    reply = shared.post("/api/generate", json={"model": "m", "stream": False, **body})
    assert reply.status_code == 200, reply.text
    return ways(upstream)[before:]


def events_of(client: httpx2.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a message."""
    text = client.post("/v1/messages", json=body | {"stream": True}).text
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


SHORT, LONG = ["/v1/completions"], ["/tokenize", "/v1/completions"]


@pytest.mark.parametrize(
    ("body", "way"),
    [
        ({"prompt": "⟦hi⟧"}, SHORT),
        ({"prompt": "⟦hi⟧", "options": {"num_predict": 3}}, SHORT),
        ({"prompt": "⟦hi⟧" + "x" * CONTEXT}, LONG),
        ({"prompt": "<|im_end|>⟦hi⟧"}, LONG),
        ({"prompt": "⟦hi⟧", "options": {"num_ctx": 300}}, LONG),
        ({"prompt": "⟦hi⟧", "options": {"num_ctx": 300, "num_predict": 3}}, SHORT),
        ({"prompt": "⟦hi⟧", "raw": True}, SHORT),
    ],
)
def test_what_surely_fits_is_not_tokenized_first(
    shared: httpx2.Client, shared_upstream: VLLMStandIn, body: dict[str, Any], way: list[str]
) -> None:
    asked(shared, shared_upstream, prompt="⟦x⟧")  # it may not have been opened yet
    assert asked(shared, shared_upstream, **body) == way


def test_the_context_is_the_same_either_way(shared: httpx2.Client) -> None:
    body = {"model": "m", "prompt": "⟦hi⟧", "stream": False}
    short = shared.post("/api/generate", json=body).json()
    long = shared.post("/api/generate", json=body | {"options": {"num_ctx": 300}}).json()
    assert short["context"] == long["context"] and short["context"][-2:] == list(b"hi")
    assert BOS not in short["context"]
    assert short["prompt_eval_count"] == long["prompt_eval_count"] == len(short["context"]) - 1


def test_a_message_begins_with_the_count_of_its_prompt(
    shared: httpx2.Client, shared_upstream: VLLMStandIn
) -> None:
    messages = [{"role": "user", "content": "⟦hi⟧"}]
    body = {"model": "m", "messages": messages, "max_tokens": 9}
    counted = shared.post("/v1/messages/count_tokens", json=body | {"max_tokens": 1}).json()
    before = len(ways(shared_upstream))
    events = events_of(shared, body)
    assert ways(shared_upstream)[before:] == SHORT
    assert events[0]["type"] == "message_start"
    assert events[0]["message"]["usage"]["input_tokens"] == counted["input_tokens"]
    assert [event["type"] for event in events].count("message_start") == 1


def test_headers_and_signs_of_life_do_not_wait_for_the_count(
    upstream: VLLMStandIn, gateway: Gateway
) -> None:
    upstream.step_s = 0.5
    body = {"model": "m", "messages": [{"role": "user", "content": "⟦x⟧"}], "max_tokens": 9}
    with gateway(upstream.url, "--preload", "m", "--heartbeat", "0.1").client() as client:
        kinds = [event["type"] for event in events_of(client, body)]
    assert kinds[0] == "ping" and kinds[kinds.index("message_start") + 1] == "ping"
    assert "content_block_start" in kinds[kinds.index("message_start") :]


def test_as_many_tokens_as_there_is_room_for(
    shared: httpx2.Client, shared_upstream: VLLMStandIn
) -> None:
    """Nobody knows how many that are before the prompt is read; vLLM does."""
    reply = shared.post(
        "/api/generate", json={"model": "m", "prompt": "for ever", "raw": True, "stream": False}
    ).json()
    assert shared_upstream.bodies("/v1/completions")[-1]["max_tokens"] == CONTEXT
    assert (reply["done_reason"], reply["prompt_eval_count"]) == ("length", len("<for ever"))
    assert reply["prompt_eval_count"] + reply["eval_count"] == CONTEXT


def refusing(asked: Asked) -> Reply | None:
    """As a vLLM before 0.32 does."""
    if asked.path != "/v1/completions":
        return None
    count, most = len(prompt_of(asked.body)), asked.body["max_tokens"]
    if count + most <= CONTEXT:
        return None
    said = f"This model's maximum context length is {CONTEXT} tokens. However, you requested {most}"
    return Reply(400, json.dumps({"error": {"message": said, "code": 400}}).encode())


def test_a_vllm_that_makes_no_room_is_told_how_much_there_is(
    upstream: VLLMStandIn, gateway: Gateway
) -> None:
    upstream.script = refusing
    with gateway(upstream.url, "--preload", "m").client() as client:
        before = len(ways(upstream))
        body = {"model": "m", "prompt": "⟦hi⟧", "stream": False}
        replies = [client.post("/api/generate", json=body).json() for _ in range(2)]
        assert [reply["response"] for reply in replies] == ["hi", "hi"]
        assert replies[0]["context"] == replies[1]["context"]
        assert ways(upstream)[before:] == ["/v1/completions", *LONG, *LONG]
        assert asked(client, upstream, prompt="⟦hi⟧", options={"num_predict": 9}) == SHORT


def test_a_vllm_that_does_not_tell_the_tokens_is_asked_for_them(
    upstream: VLLMStandIn, gateway: Gateway
) -> None:
    upstream.tells_tokens = False
    with gateway(upstream.url).client() as client:
        body = {"model": "m", "prompt": "⟦hi⟧", "stream": False}
        replies = [client.post("/api/generate", json=body).json() for _ in range(2)]
        assert [reply["response"] for reply in replies] == ["hi", "hi"]
        opened = ["/tokenize", "/tokenize"]
        assert ways(upstream) == [*opened, "/v1/completions", "/tokenize", *LONG]
        told = [(reply["prompt_eval_count"], len(reply["context"])) for reply in replies]
        assert told[0] == told[1] and told[0][0] == told[0][1] + 1  # all but BOS
        assert replies[0]["eval_count"] == replies[1]["eval_count"] == 2
