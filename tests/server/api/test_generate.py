"""POST /api/generate on a real port."""

import json
import re
from typing import Any

import httpx2
import pytest

METRICS = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)
NANOSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def generate(client: httpx2.Client, **body: Any) -> httpx2.Response:
    return client.post("/api/generate", json={"model": "m", "stream": False, **body})


def lines(response: httpx2.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    text = response.text
    assert text.endswith("\n") and "\n\n" not in text
    return [json.loads(line) for line in text.splitlines()]


def test_streams_by_default(client: httpx2.Client) -> None:
    chunks = lines(client.post("/api/generate", json={"model": "m", "prompt": "⟦abc⟧"}))
    assert [chunk["response"] for chunk in chunks] == ["a", "b", "c", ""]
    for chunk in chunks[:-1]:
        assert list(chunk) == ["model", "created_at", "response", "done"]
        assert chunk["done"] is False and NANOSECONDS.fullmatch(chunk["created_at"])
    last = chunks[-1]
    assert list(last)[:6] == ["model", "created_at", "response", "done", "done_reason", "context"]
    assert last["done"] is True and last["done_reason"] == "stop"
    assert all(last[name] > 0 for name in METRICS)
    assert last["eval_count"] == 4


def test_one_object_without_a_stream(client: httpx2.Client) -> None:
    response = generate(client, prompt="⟦abc⟧")
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    reply = response.json()
    assert reply["response"] == "abc" and reply["done"] is True
    assert list(reply)[-6:] == list(METRICS)


def test_the_name_is_echoed_as_it_was_sent(client: httpx2.Client) -> None:
    assert generate(client, model="M:latest", prompt="x").json()["model"] == "M:latest"


def test_go_escapes_what_html_would_take_for_markup(client: httpx2.Client) -> None:
    raw = generate(client, prompt="⟦<b>&é⟧").content
    assert b'"response":"\\u003cb\\u003e\\u0026\xc3\xa9"' in raw


def test_context_goes_out_and_in(client: httpx2.Client) -> None:
    first = generate(client, prompt="⟦one⟧").json()
    second = generate(client, prompt="two", context=first["context"]).json()
    assert second["context"][: len(first["context"])] == first["context"]
    assert second["prompt_eval_count"] > len(first["context"])


def test_raw_takes_the_prompt_as_it_is_and_gives_no_context(client: httpx2.Client) -> None:
    reply = generate(client, prompt="⟦abc⟧", raw=True).json()
    assert reply["response"] == "abc" and "context" not in reply
    assert reply["prompt_eval_count"] == len("⟦abc⟧".encode())


@pytest.mark.parametrize("field", [{"system": "s"}, {"template": "t"}, {"context": [1]}])
def test_raw_goes_with_nothing_else(client: httpx2.Client, field: dict[str, Any]) -> None:
    response = generate(client, prompt="x", raw=True, **field)
    assert response.status_code == 400
    assert response.json() == {"error": "raw mode does not support template, system, or context"}


def test_system_of_request_beats_that_of_the_model(client: httpx2.Client) -> None:
    def rendered(**body: Any) -> str:
        reply = generate(
            client, model="user/custom:7b", prompt="hi", _debug_render_only=True, **body
        ).json()
        text: str = reply["_debug_info"]["rendered_template"]
        return text

    assert rendered().startswith("<|im_start|>system\nYou are a test.<|im_end|>\n")
    assert "<|im_start|>user\nping<|im_end|>\n<|im_start|>assistant\npong<|im_end|>" in rendered()
    assert rendered(system="Other.").startswith("<|im_start|>system\nOther.<|im_end|>\n")
    assert "ping" not in rendered(context=[1])


def test_an_empty_prompt_loads_in_one_object_even_as_a_stream(client: httpx2.Client) -> None:
    response = client.post("/api/generate", json={"model": "m"})
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    reply = response.json()
    assert list(reply) == ["model", "created_at", "response", "done", "done_reason"]
    assert reply["done_reason"] == "load" and reply["response"] == ""
    assert "m:latest" in [model["name"] for model in client.get("/api/ps").json()["models"]]


@pytest.mark.parametrize("keep_alive", [0, "0", "0s", 0.0])
def test_keep_alive_zero_unloads(client: httpx2.Client, keep_alive: object) -> None:
    generate(client, prompt="")
    reply = generate(client, keep_alive=keep_alive).json()
    assert reply["done_reason"] == "unload"
    assert "m:latest" not in [model["name"] for model in client.get("/api/ps").json()["models"]]


def test_unloading_what_is_not_loaded_is_fine(client: httpx2.Client) -> None:
    generate(client, keep_alive=0)
    assert generate(client, keep_alive=0).json()["done_reason"] == "unload"


@pytest.mark.parametrize(
    ("keep_alive", "status", "error"),
    [
        ("5m", 200, ""),
        ("1h30m", 200, ""),
        (-1, 200, ""),
        ("-1m", 200, ""),
        (1.5, 200, ""),
        (None, 200, ""),
        ("300", 400, 'time: missing unit in duration "300"'),
        ("-1", 400, 'time: missing unit in duration "-1"'),
        ("", 400, 'time: invalid duration ""'),
        ("5 minutes", 400, 'time: unknown unit " minutes" in duration "5 minutes"'),
        (True, 400, "Unsupported type: 'bool'"),
        ([], 400, "Unsupported type: '[]interface {}'"),
    ],
)
def test_keep_alive_forms(
    client: httpx2.Client, keep_alive: object, status: int, error: str
) -> None:
    response = generate(client, prompt="x", keep_alive=keep_alive)
    assert response.status_code == status
    if error:
        assert response.json() == {"error": error}


def test_forever_shows_centuries_ahead(client: httpx2.Client) -> None:
    generate(client, keep_alive=-1)
    (model,) = [m for m in client.get("/api/ps").json()["models"] if m["name"] == "m:latest"]
    assert model["expires_at"] > "2300"
    generate(client, keep_alive="5m")


def test_num_predict_ends_with_length(client: httpx2.Client) -> None:
    reply = generate(client, prompt="⟦abcdef⟧", options={"num_predict": 2}).json()
    assert reply["response"] == "ab" and reply["done_reason"] == "length"
    assert reply["eval_count"] == 2


def test_num_predict_zero_only_reads_the_prompt(client: httpx2.Client) -> None:
    reply = generate(client, prompt="⟦abc⟧", options={"num_predict": 0}).json()
    assert reply["response"] == "" and reply["done_reason"] == "length"
    assert "eval_count" not in reply and reply["prompt_eval_count"] > 0


def test_a_stop_string_is_cut_off_also_while_streaming(client: httpx2.Client) -> None:
    body = {"model": "m", "prompt": "⟦one STOP two⟧", "options": {"stop": ["STOP"]}}
    chunks = lines(client.post("/api/generate", json=body))
    assert "".join(chunk["response"] for chunk in chunks) == "one "
    assert chunks[-1]["done_reason"] == "stop"


def test_defaults_of_the_model_rank_below_the_request(client: httpx2.Client) -> None:
    own = generate(client, model="user/custom:7b", prompt="⟦abcdef⟧").json()
    assert own["response"] == "abc" and own["done_reason"] == "length"
    asked = generate(
        client, model="user/custom:7b", prompt="⟦abcdef⟧", options={"num_predict": 5}
    ).json()
    assert asked["response"] == "abcde"


def test_logprobs(client: httpx2.Client) -> None:
    reply = generate(client, prompt="⟦ab⟧", logprobs=True, top_logprobs=2).json()
    assert [entry["token"] for entry in reply["logprobs"]] == ["a", "b"]
    entry = reply["logprobs"][0]
    assert list(entry) == ["token", "logprob", "bytes", "top_logprobs"]
    assert entry["bytes"] == [97] and len(entry["top_logprobs"]) == 2
    chosen_only = generate(client, prompt="⟦ab⟧", logprobs=True).json()
    assert "top_logprobs" not in chosen_only["logprobs"][0]


@pytest.mark.parametrize("count", [-1, 21])
def test_top_logprobs_out_of_range_comes_before_the_model(
    client: httpx2.Client, count: int
) -> None:
    response = generate(client, model="nope", prompt="x", top_logprobs=count)
    assert response.status_code == 400
    assert response.json() == {"error": "top_logprobs must be between 0 and 20"}


def test_num_ctx_is_clamped_to_what_is_loaded_and_the_reply_says_so(
    client: httpx2.Client,
) -> None:
    before = client.get("/api/ps").json()
    response = generate(client, prompt="⟦a⟧", options={"num_ctx": 100000})
    assert response.headers["x-num-ctx"] == "256"
    assert "x-num-ctx" not in generate(client, prompt="⟦a⟧", options={"num_ctx": 64}).headers
    after = client.get("/api/ps").json()
    assert [m["context_length"] for m in after["models"] if m["name"] == "m:latest"] == [256]
    assert len(before["models"]) <= len(after["models"])


def test_a_long_prompt_keeps_num_keep_and_a_tail_and_says_so(client: httpx2.Client) -> None:
    response = generate(client, prompt="x" * 400, raw=True, options={"num_predict": 1})
    kept = 256 - (256 - 4) // 2
    assert response.headers["x-truncated-tokens"] == str(400 - kept)
    reply = response.json()
    assert reply["truncated"] == 400 - kept and reply["prompt_eval_count"] == kept


@pytest.mark.parametrize("flag", ["truncate", "shift"])
def test_a_long_prompt_that_may_not_be_cut_is_refused(client: httpx2.Client, flag: str) -> None:
    response = generate(client, prompt="x" * 400, **{flag: False})
    assert response.status_code == 400
    assert "longer than the context length" in response.json()["error"]


def test_an_error_before_the_first_byte_has_its_status_in_a_stream_too(
    client: httpx2.Client,
) -> None:
    body = {"model": "m", "prompt": "x" * 400, "truncate": False}
    response = client.post("/api/generate", json=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert list(response.json()) == ["error"]
