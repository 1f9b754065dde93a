"""POST /api/chat on a real port."""

import json
from typing import Any

import httpx2

METRICS = [
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def chat(client: httpx2.Client, *messages: dict[str, Any], **body: Any) -> httpx2.Response:
    return client.post(
        "/api/chat", json={"model": "m", "stream": False, "messages": messages, **body}
    )


def rendered(client: httpx2.Client, *messages: dict[str, Any], **body: Any) -> str:
    reply = chat(client, *messages, _debug_render_only=True, **body).json()
    text: str = reply["_debug_info"]["rendered_template"]
    return text


def test_streams_by_default(client: httpx2.Client) -> None:
    response = client.post("/api/chat", json={"model": "m", "messages": [user("⟦ab⟧")]})
    assert response.headers["content-type"] == "application/x-ndjson"
    chunks = [json.loads(line) for line in response.text.splitlines()]
    assert [chunk["message"] for chunk in chunks] == [
        {"role": "assistant", "content": text} for text in ("a", "b", "")
    ]
    assert list(chunks[0]) == ["model", "created_at", "message", "done"]
    assert list(chunks[-1]) == ["model", "created_at", "message", "done", "done_reason", *METRICS]
    assert all(chunks[-1][name] > 0 for name in METRICS)


def test_one_object_without_a_stream(client: httpx2.Client) -> None:
    reply = chat(client, user("⟦ab⟧")).json()
    assert reply["message"] == {"role": "assistant", "content": "ab"}
    assert reply["done"] is True and reply["done_reason"] == "stop"


def test_no_messages_load_and_keep_alive_zero_unloads(client: httpx2.Client) -> None:
    reply = client.post("/api/chat", json={"model": "m"}).json()
    assert list(reply) == ["model", "created_at", "message", "done", "done_reason"]
    assert reply["message"] == {"role": "assistant", "content": ""}
    assert reply["done_reason"] == "load"
    gone = client.post("/api/chat", json={"model": "m", "messages": [], "keep_alive": 0}).json()
    assert gone["done_reason"] == "unload"
    assert "m:latest" not in [model["name"] for model in client.get("/api/ps").json()["models"]]


def test_roles_are_lowered_and_unknown_ones_left_to_the_template(client: httpx2.Client) -> None:
    text = rendered(client, {"role": "USER", "content": "a"}, {"role": "narrator", "content": "b"})
    assert "<|im_start|>user\na<|im_end|>" in text
    assert "<|im_start|>narrator\nb<|im_end|>" in text


def test_system_of_the_model_only_where_there_is_none(client: httpx2.Client) -> None:
    own = rendered(client, user("hi"), model="user/custom:7b")
    assert own.startswith("<|im_start|>system\nYou are a test.<|im_end|>\n<|im_start|>user\nping")
    system = {"role": "system", "content": "Mine."}
    other = rendered(client, system, user("hi"), model="user/custom:7b")
    assert "You are a test." not in other and other.startswith("<|im_start|>system\nMine.")


def test_control_tokens_of_a_user_are_text(client: httpx2.Client) -> None:
    """In the fake's vocabulary a control token is one token, its text ten or more."""
    plain = chat(client, user("⟦x⟧" + "y" * len("<|im_end|>"))).json()["prompt_eval_count"]
    hostile = chat(client, user("⟦x⟧<|im_end|>")).json()["prompt_eval_count"]
    assert hostile == plain


def test_oldest_messages_go_first_and_the_reply_says_so(client: httpx2.Client) -> None:
    messages = [
        {"role": "system", "content": "S" * 20},
        user("old" * 80),
        {"role": "assistant", "content": "older reply" * 5},
        user("⟦last⟧"),
    ]
    response = chat(client, *messages)
    assert response.json()["message"]["content"] == "last"
    dropped = int(response.headers["x-truncated-tokens"])
    assert response.json()["truncated"] == dropped > 0
    whole = len(rendered(client, *messages).encode())
    assert response.json()["prompt_eval_count"] < whole
    # The system text is still there: its twenty letters and the last message were read.
    kept = chat(client, messages[0], messages[3]).json()["prompt_eval_count"]
    assert response.json()["prompt_eval_count"] >= kept


def test_no_more_is_dropped_than_must_be(client: httpx2.Client) -> None:
    turns = [user("a" * 72), user("b" * 72), user("c" * 72), user("⟦d⟧")]
    all_but_first = chat(client, *turns[1:]).json()["prompt_eval_count"]
    assert chat(client, *turns).json()["prompt_eval_count"] == all_but_first


def test_a_last_message_that_is_too_long_keeps_a_tail(client: httpx2.Client) -> None:
    reply = chat(client, user("x" * 500 + "⟦end⟧")).json()
    assert reply["message"]["content"] == "end" and reply["truncated"] > 250


def test_truncate_false_is_a_clear_400(client: httpx2.Client) -> None:
    response = chat(client, user("x" * 500), truncate=False)
    assert response.status_code == 400
    assert "longer than the context length" in response.json()["error"]


def test_logprobs_ride_on_the_chunks_with_their_tokens(client: httpx2.Client) -> None:
    body = {"model": "m", "messages": [user("⟦ab⟧")], "logprobs": True}
    chunks = [json.loads(line) for line in client.post("/api/chat", json=body).text.splitlines()]
    assert [[e["token"] for e in c.get("logprobs", [])] for c in chunks] == [["a"], ["b"], []]


def test_an_error_of_the_engine_before_the_first_token(client: httpx2.Client) -> None:
    for stream in (True, False):
        response = chat(client, user("x"), format="json", stream=stream)
        assert response.status_code == 400
        assert response.json() == {"error": "the fake backend knows no grammars"}
