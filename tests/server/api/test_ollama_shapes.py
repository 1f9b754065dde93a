"""The shapes of Ollama's replies: which fields there are, in which order, and what is left out.

Over a model that thinks and calls tools; its template shows what it is given.
"""

import json
import re
from itertools import pairwise
from typing import Any

import httpx2
import pytest

METRICS = [
    "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration",
    "eval_count", "eval_duration",
]  # fmt: skip
CALL = '<tool_call>{"name": "f", "arguments": {"z": 1, "a": {"y": [2], "b": null}}}</tool_call>'
OTHER = '<tool_call>{"name": "g", "arguments": {}}</tool_call>'
PROPERTIES = {
    "z": {"type": ["string", "null"], "enum": ["x", None]},
    "a": {"anyOf": [{"type": "integer"}, {"type": "object", "properties": {"b": {}}}]},
    "list": {"type": "array", "items": {"type": "string"}},
}
TOOLS = [
    {"type": "function",
     "function": {"name": "f", "description": "What it does", "parameters": {
         "type": "object", "required": ["z"], "properties": PROPERTIES}}},
    {"type": "function", "function": {"name": "g"}},
]  # fmt: skip
SHAPE = ["model", "created_at", "response", "done"]
LOADED = [*SHAPE, "done_reason"]
CHAT_SHAPE = ["model", "created_at", "message", "done"]
Body = dict[str, Any]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def chat(client: httpx2.Client, *messages: Body, **body: Any) -> Any:
    response = client.post(
        "/api/chat", json={"model": "m", "stream": False, "messages": messages, **body}
    )
    assert response.status_code == 200 and "\n" not in response.text
    return response.json()


def streamed(client: httpx2.Client, path: str, **body: Any) -> list[Body]:
    """The objects of a stream, which is asked for by leaving `stream` out."""
    response = client.post(path, json={"model": "m", **body})
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["transfer-encoding"] == "chunked"
    *lines, rest = response.text.split("\n")
    assert rest == "" and all(lines)
    return [json.loads(line) for line in lines]


def given(client: httpx2.Client, *messages: Body, **body: Any) -> tuple[Body, str]:
    """What the template was given beside the messages, and the prompt."""
    text = chat(client, *messages, _debug_render_only=True, **body)["_debug_info"]
    assert list(text) == ["rendered_template"]
    prompt = text["rendered_template"]
    return json.loads(prompt.splitlines()[1].removesuffix("<|im_end|>")), prompt


@pytest.mark.parametrize(
    ("path", "body", "keys"),
    [
        ("/api/generate", {}, LOADED),
        ("/api/generate", {"keep_alive": 0}, LOADED),
        ("/api/generate", {"prompt": "⟦a⟧"}, [*LOADED, "context", *METRICS]),
        ("/api/generate", {"prompt": "⟦a⟧", "raw": True}, [*LOADED, *METRICS]),
        ("/api/generate", {"prompt": "⟦<think>b</think>a⟧", "logprobs": True},
         [*SHAPE[:3], "thinking", "done", "done_reason", "context", *METRICS, "logprobs"]),
        ("/api/generate", {"prompt": "a", "_debug_render_only": True}, [*SHAPE, "_debug_info"]),
        ("/api/chat", {}, [*CHAT_SHAPE, "done_reason"]),
        ("/api/chat", {"messages": [], "keep_alive": "0"}, [*CHAT_SHAPE, "done_reason"]),
        ("/api/chat", {"messages": [user("⟦a⟧")]}, [*CHAT_SHAPE, "done_reason", *METRICS]),
        ("/api/chat", {"messages": [user("⟦a⟧")], "logprobs": True},
         [*CHAT_SHAPE, "done_reason", "logprobs", *METRICS]),
        ("/api/chat", {"messages": [user("a")], "_debug_render_only": True},
         [*CHAT_SHAPE, "_debug_info"]),
        ("/api/embed", {"input": "a"}, ["model", "embeddings", "total_duration",
                                        "load_duration", "prompt_eval_count"]),
        ("/api/embed", {}, ["model", "embeddings"]),
        ("/api/embeddings", {"prompt": "a"}, ["embedding"]),
        ("/api/show", {}, ["modelfile", "template", "details", "model_info", "capabilities",
                           "modified_at"]),
        ("/api/show", {"verbose": True, "system": "S"},
         ["modelfile", "template", "system", "details", "model_info", "tensors", "capabilities",
          "modified_at"]),
    ],
)  # fmt: skip
def test_fields_of_a_reply(teller: httpx2.Client, path: str, body: Body, keys: list[str]) -> None:
    response = teller.post(path, json={"model": "m", "stream": False, **body})
    reply = response.json()
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert list(reply) == keys
    assert all(reply[name] > 0 for name in METRICS if name in reply)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "load"),
        ({"keep_alive": 0}, "unload"),
        ({"keep_alive": 0}, "unload"),
        ({"keep_alive": 0, "think": True, "model": "plain"}, "unload"),
        ({"keep_alive": 0, "model": "embedder"}, "unload"),
    ],
)
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_loading_and_unloading_is_one_object_even_as_a_stream(
    teller: httpx2.Client, path: str, body: Body, reason: str
) -> None:
    """Unloading looks at nothing else, and may be done twice."""
    response = teller.post(path, json={"model": "m", **body})
    assert (response.status_code, response.json()["done_reason"]) == (200, reason)
    assert response.json()["done"] is True


def test_the_lifetime_stays_until_another_is_sent(teller: httpx2.Client) -> None:
    def expires() -> str:
        teller.post("/api/generate", json={"model": "plain", "prompt": "⟦a⟧"})
        (found,) = (
            m for m in teller.get("/api/ps").json()["models"] if m["name"] == "plain:latest"
        )
        text: str = found["expires_at"]
        return text

    teller.post("/api/generate", json={"model": "plain", "keep_alive": -0.5})
    assert expires() > "2300"
    teller.post("/api/chat", json={"model": "plain", "keep_alive": 1.5e3})
    assert expires() < "2300"


def test_thoughts_and_words_of_a_chat(teller: httpx2.Client) -> None:
    messages = [user("⟦<think>\n hm m </think>\n\nab⟧")]
    whole = chat(teller, *messages)
    assert whole["message"] == {"role": "assistant", "content": "ab", "thinking": "hm m"}
    *chunks, last = streamed(teller, "/api/chat", messages=messages)
    for chunk in chunks:
        assert list(chunk) == CHAT_SHAPE and chunk["done"] is False
        assert chunk["message"]["role"] == "assistant"
    said = [chunk["message"] for chunk in chunks]
    assert [set(one) for one in said[:1] + said[-1:]] == [
        {"role", "content", "thinking"}, {"role", "content"},
    ]  # fmt: skip
    assert all(one["content"] == "" for one in said if "thinking" in one)
    assert "".join(one.get("thinking", "") for one in said) == "hm m"
    assert "".join(one["content"] for one in said) == "ab"
    assert last["message"] == {"role": "assistant", "content": ""}
    times = [chunk["created_at"] for chunk in [*chunks, last]]
    assert all(one < other for one, other in pairwise(times))


def test_thoughts_of_generate(teller: httpx2.Client) -> None:
    prompt = "⟦<think>hm</think>ab⟧"
    chunks = streamed(teller, "/api/generate", prompt=prompt)
    assert list(chunks[0]) == [*SHAPE[:3], "thinking", "done"]
    assert "".join(chunk.get("thinking", "") for chunk in chunks) == "hm"
    assert "".join(chunk["response"] for chunk in chunks) == "ab"
    assert "thinking" not in chunks[-1] and chunks[-1]["response"] == ""


@pytest.mark.parametrize(
    ("body", "think", "effort"),
    [
        ({}, True, None),
        ({"think": None}, True, None),
        ({"think": True}, True, None),
        ({"think": False}, False, None),
        ({"think": "low"}, True, "low"),
        ({"think": "medium"}, True, "medium"),
        ({"think": "high"}, True, "high"),
        ({"think": "max"}, True, "high"),
        ({"model": "plain"}, None, None),
        ({"model": "plain", "think": False}, False, None),
    ],
)
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_a_model_that_can_think_does_unless_told_not_to(
    teller: httpx2.Client, path: str, body: Body, think: bool | None, effort: str | None
) -> None:
    asked = {"model": "m", "messages": [user("a")], "prompt": "a", "_debug_render_only": True}
    reply = teller.post(path, json={**asked, **body}).json()
    line = reply["_debug_info"]["rendered_template"].splitlines()[1]
    found = json.loads(line.removesuffix("<|im_end|>"))
    assert (found["think"], found["effort"]) == (think, effort)


def test_calls_of_a_chat(teller: httpx2.Client) -> None:
    """Whole and streamed: words in front, arguments in their order, one count over all."""
    messages = [user(f"⟦Well.\n{CALL}\n{OTHER}⟧")]
    message = chat(teller, *messages, tools=TOOLS)["message"]
    assert list(message) == ["role", "content", "tool_calls"] and message["content"] == "Well."
    chunks = streamed(teller, "/api/chat", messages=messages, tools=TOOLS)
    carriers = [chunk for chunk in chunks if "tool_calls" in chunk["message"]]
    assert [chunk["message"]["content"] for chunk in carriers] == ["", ""]
    assert not any(chunk["done"] for chunk in carriers)
    assert "".join(chunk["message"]["content"] for chunk in chunks) == "Well."
    assert chunks[-1]["done_reason"] == "stop" and chunks[-1]["message"]["content"] == ""
    for calls in (
        message["tool_calls"],
        [call for chunk in carriers for call in chunk["message"]["tool_calls"]],
    ):
        assert [list(call) for call in calls] == [["id", "function"]] * 2
        assert all(re.fullmatch("call_[a-z0-9]{8}", call["id"]) for call in calls)
        assert len({call["id"] for call in calls}) == 2
        assert json.dumps([call["function"] for call in calls]) == json.dumps(
            [
                {"index": 0, "name": "f", "arguments": {"z": 1, "a": {"y": [2], "b": None}}},
                {"index": 1, "name": "g", "arguments": {}},
            ]
        )


def test_tools_reach_the_template_in_their_order(teller: httpx2.Client) -> None:
    found, _ = given(teller, user("x"), tools=TOOLS)
    shown = found["tools"][0]["function"]
    assert shown["description"] == "What it does" and shown["parameters"]["required"] == ["z"]
    assert json.dumps(shown["parameters"]["properties"]) == json.dumps(PROPERTIES)
    assert found["tools"][1]["function"]["name"] == "g"


def test_results_reach_the_template(teller: httpx2.Client) -> None:
    call = {"id": "call_abcdefgh", "function": {"name": "f", "arguments": {"z": 1, "a": 2}}}
    _, prompt = given(
        teller,
        user("q"),
        {"role": "ASSISTANT", "thinking": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_name": "f"},
        {"role": "tool", "content": "43", "tool_call_id": "call_abcdefgh"},
        tools=TOOLS,
    )
    _, asked, one, other = (
        part.split("\n", 1)[1] for part in prompt.split("<|im_start|>")[2:-1]
    )  # fmt: skip
    asked, one = asked.removesuffix("<|im_end|>\n"), one.removesuffix("<|im_end|>\n")
    said = json.loads(asked)
    assert said["thinking"] == "hm"
    assert json.dumps(said["calls"][0]["function"]) == (
        '{"name": "f", "arguments": {"z": 1, "a": 2}}'
    )
    assert one.startswith("42") and json.loads(one[2:])["name"] == "f"
    assert '"id": "call_abcdefgh"' in other


@pytest.mark.parametrize(
    ("name", "value", "is_free"),
    [("", "", True), ("null", None, True), ("json", "json", False), ("object", {}, False)],
)
def test_a_format_that_is_none_holds_nothing(
    teller: httpx2.Client, name: str, value: object, is_free: bool
) -> None:
    """The fake engine refuses what would constrain it."""
    body = {"model": "plain", "prompt": "⟦a⟧", "format": value, "stream": False}
    assert (teller.post("/api/generate", json=body).status_code == 200) is is_free
