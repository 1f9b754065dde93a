"""What is sent in each API, and what its lines mean."""

import pytest

from toolkit.bench.wire import Piece, Terms, Wire, wire_of
from toolkit.bench.workload import Message
from toolkit.errors import EndpointError

SAID = [Message("user", "hi"), Message("assistant", "yes"), Message("user", "go on")]


def test_each_api_is_asked_for_full_length_and_its_usage() -> None:
    ollama = wire_of("ollama").body("m", SAID, 5, Terms(seed=7))
    assert ollama["options"] == {
        "num_predict": 5,
        "temperature": 0.0,
        "seed": 7,
        "ignore_eos": True,
    }
    openai = wire_of("openai").body("m", SAID, 5, Terms(seed=7))
    assert openai["stream_options"] == {"include_usage": True} and openai["ignore_eos"] is True
    assert openai["max_tokens"] == 5 and openai["messages"] == SAID
    plain = wire_of("openai-completions").body("m", SAID, 5, Terms(seed=7, ignore_eos=False))
    assert plain["prompt"] == "hi\nyes\ngo on" and "ignore_eos" not in plain
    assert [wire_of(name, "").path for name in ("openai", "openai-completions")] == [
        "/chat/completions",
        "/completions",
    ]


@pytest.mark.parametrize(
    ("api", "line", "piece"),
    [
        ("ollama", b'{"message": {"content": "a"}}', Piece("a", is_chunk=True)),
        ("ollama", b'{"message": {"thinking": "t"}}', Piece(thinking="t", is_chunk=True)),
        (
            "ollama",
            b'{"done": true, "done_reason": "length", "eval_count": 3, "eval_duration": 2000000000,'
            b' "prompt_eval_count": 9, "prompt_eval_duration": 1000000000, "load_duration": 0}',
            Piece(is_chunk=True, is_done=True, finish_reason="length", prompt_tokens=9,
                  output_tokens=3, load_s=0.0, prompt_s=1.0, output_s=2.0),
        ),
        ("openai", b'data: {"choices": [{"delta": {"role": "assistant"}}]}', Piece(is_chunk=True)),
        ("openai", b'data:{"choices": [{"delta": {"content": "a"}}]}', Piece("a", is_chunk=True)),
        ("openai", b'data: {"choices": [{"delta": {"reasoning_content": "t"}}]}',
         Piece(thinking="t", is_chunk=True)),
        ("openai", b'data: {"choices": [{"delta": {"reasoning": "t", "content": null}}]}',
         Piece(thinking="t", is_chunk=True)),
        ("openai", b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}',
         Piece(is_chunk=True, finish_reason="stop")),
        (
            "openai",
            b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3,'
            b' "prompt_tokens_details": {"cached_tokens": 4}}}',
            Piece(prompt_tokens=9, output_tokens=3, cached_tokens=4),
        ),
        ("openai", b"data: [DONE]", Piece(is_done=True)),
        ("openai", b": keep-alive", None),
        ("openai", b"event: message", None),
        ("openai-completions", b'data: {"choices": [{"text": "a"}]}', Piece("a", is_chunk=True)),
    ],
)  # fmt: skip
def test_lines_mean_this(api: str, line: bytes, piece: Piece | None) -> None:
    assert wire_of(api).read(line) == piece


@pytest.mark.parametrize(
    ("wire", "line"),
    [
        (wire_of("ollama"), b'{"error": "no room"}'),
        (wire_of("ollama"), b'{"error": {"message": "no room"}}'),
        (wire_of("openai"), b'data: {"error": {"message": "no room"}}'),
    ],
)
def test_errors_in_a_stream_are_found(wire: Wire, line: bytes) -> None:
    found = wire.read(line)
    assert found is not None and found.error == "no room"


@pytest.mark.parametrize("line", [b"data: nonsense", b'data: {"choices": 5}', b"data: \xff"])
def test_what_is_no_such_api_says_so(line: bytes) -> None:
    with pytest.raises(EndpointError, match="not in the API") as caught:
        wire_of("openai").read(line)
    assert "--api" in caught.value.hint
    with pytest.raises(EndpointError):
        wire_of("ollama").read(line)
