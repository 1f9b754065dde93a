"""A gateway before something that speaks as Ollama does, in all three dialects."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.keys import digest, generate_key
from tests.support.ollama_stand_in import END, RUNNING, SHOWN, TAG, OllamaStandIn, spoken
from tests.support.ports import free_port
from tests.support.serving import Serving
from tests.support.upstream_stand_in import Reply

ASK = [{"role": "user", "content": "Hi"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL: dict[str, Any] = {"function": {"name": "weather", "arguments": {"city": "Bonn"}}}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADU"
    "lEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def shared_stand_in() -> Iterator[OllamaStandIn]:
    with OllamaStandIn() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def shared_gateway(
    shared_stand_in: OllamaStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    args = ["--engine", "ollama", "--upstream", shared_stand_in.url]
    folder = tmp_path_factory.mktemp("gateway")
    with Serving(folder, free_port(), args=args, fake=False) as serving:
        yield serving


@pytest.fixture
def ollama(shared_stand_in: OllamaStandIn) -> OllamaStandIn:
    """The stand-in, as it was at first."""
    fresh = OllamaStandIn()
    for name in ("script", "tag", "shown", "running", "chunks", "final"):
        setattr(shared_stand_in, name, getattr(fresh, name))
    shared_stand_in.asked.clear()
    return shared_stand_in


@pytest.fixture
def client(shared_gateway: Serving, ollama: OllamaStandIn) -> Iterator[httpx2.Client]:
    with shared_gateway.client() as client:
        yield client


def post(client: httpx2.Client, path: str, **body: Any) -> Any:
    reply = client.post(path, json={"model": "m", "stream": False} | body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def chunks(client: httpx2.Client, path: str, **body: Any) -> list[dict[str, Any]]:
    with client.stream("POST", path, json={"model": "m"} | body) as reply:
        return [json.loads(line) for line in reply.iter_lines()]


def test_chat_as_it_comes(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    *said, end = chunks(client, "/api/chat", messages=ASK, options={"top_k": 3})
    assert [one["message"]["content"] for one in said] == ["Hel", "lo"]
    for name in ("done_reason", "load_duration", "prompt_eval_count", "eval_count"):
        assert end[name] == END[name]
    assert end["prompt_eval_duration"] == 130_000_000 and end["eval_duration"] == 700_000_000
    body = ollama.last
    assert body["model"] == "m:latest" and body["options"]["top_k"] == 3
    # Of the model's parameters, what was not asked for otherwise.
    assert body["options"]["temperature"] == 0.6 and "num_ctx" not in body["options"]
    assert body["options"]["stop"] == ["<|im_start|>", '"\n']


def test_context_goes_there_and_comes_back(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    ollama.final["context"] = [1, 2, 3]
    assert post(client, "/api/generate", prompt="Hi")["context"] == [1, 2, 3]
    assert "context" not in ollama.last
    post(client, "/api/generate", prompt="More", context=[1, 2, 3], system="Be brief.")
    assert ollama.last["context"] == [1, 2, 3] and ollama.last["system"] == "Be brief."
    del ollama.final["context"]
    assert "context" not in post(client, "/api/generate", prompt="Hi")


def test_raw_and_gaps(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    assert post(client, "/api/generate", prompt="a", raw=True)["response"] == "Hello"
    assert ollama.last["raw"] is True
    post(client, "/api/generate", prompt="a", suffix="z")
    assert ollama.last["suffix"] == "z"
    found = post(client, "/v1/completions", prompt="a", suffix="z", max_tokens=4)
    assert found["choices"][0]["text"] == "Hello" and ollama.last["options"]["num_predict"] == 4


def test_images(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    post(client, "/api/chat", messages=[ASK[0] | {"images": [PIXEL]}])
    assert ollama.last["messages"][0]["images"] == [PIXEL]
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    post(client, "/v1/chat/completions", messages=[{"role": "user", "content": [url]}])
    assert ollama.last["messages"][0]["images"] == [PIXEL]


def test_thoughts_in_each_dialect(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    ollama.chunks = [spoken("", thinking="hm"), spoken("Hi")]
    message = post(client, "/api/chat", messages=ASK)["message"]
    assert (message["thinking"], message["content"]) == ("hm", "Hi")
    assert ollama.last["think"] is True, "Ollama's default"
    found = post(client, "/v1/chat/completions", messages=ASK, reasoning_effort="low")
    assert found["choices"][0]["message"]["reasoning"] == "hm"
    assert ollama.bodies("/api/chat")[-1]["think"] == "low"
    thinking = {"type": "enabled", "budget_tokens": 1024}
    said = post(client, "/v1/messages", messages=ASK, max_tokens=2000, thinking=thinking)
    assert [block["type"] for block in said["content"]] == ["thinking", "text"]


def test_calls_in_each_dialect(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    """Of a version whose calls have no ids, in the last chunk."""
    ollama.chunks, ollama.final = [], END | {"tool_calls": [CALL]}
    (call,) = post(client, "/api/chat", messages=ASK, tools=[TOOL])["message"]["tool_calls"]
    assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Bonn"}}
    assert call["id"].startswith("call_")
    (choice,) = post(client, "/v1/chat/completions", messages=ASK, tools=[TOOL])["choices"]
    assert choice["finish_reason"] == "tool_calls"
    tools = [{"name": "weather", "input_schema": TOOL["function"]["parameters"]}]
    said = post(client, "/v1/messages", messages=ASK, max_tokens=9, tools=tools)
    assert said["stop_reason"] == "tool_use" and said["content"][0]["input"] == {"city": "Bonn"}
    reply = post(
        client, "/v1/responses", input="Hi", tools=[{"type": "function", **TOOL["function"]}]
    )
    assert [item["type"] for item in reply["output"]] == ["function_call"]


def test_a_call_that_must_be_made(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    ollama.chunks = [spoken('{"name": "weather", "argu'), spoken('ments": {"city": "Bonn"}}')]
    asked = {"messages": ASK, "tools": [TOOL], "tool_choice": "required"}
    (choice,) = post(client, "/v1/chat/completions", **asked)["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Bonn"}
    assert choice["message"]["content"] is None and choice["finish_reason"] == "tool_calls"
    body = ollama.last
    assert body["format"]["properties"]["name"] == {"enum": ["weather"]} and "tools" not in body
    assert body["messages"][0]["content"].startswith("You are a test.")


def test_formats(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    post(client, "/api/chat", messages=ASK, format="json")
    assert ollama.last["format"] == "json"
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}
    post(client, "/v1/chat/completions", messages=ASK, response_format=form)
    assert ollama.last["format"] == {"type": "array"}
    refused = client.post(
        "/v1/chat/completions", json={"model": "m", "messages": ASK, "guided_regex": "a+"}
    )
    assert refused.status_code == 400 and "JSON only" in refused.json()["error"]["message"]


def test_logprobs(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    one = {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]}
    ollama.chunks = [spoken("Hi", logprobs=[one | {"top_logprobs": [one]}])]
    found = post(client, "/api/chat", messages=ASK, logprobs=True, top_logprobs=1)
    assert found["logprobs"] == [one | {"top_logprobs": [one]}]
    (choice,) = post(client, "/v1/chat/completions", messages=ASK, logprobs=True, top_logprobs=1)[
        "choices"
    ]
    assert choice["logprobs"]["content"][0]["logprob"] == -0.25


def test_what_is_ignored_and_the_window_are_told(
    client: httpx2.Client, ollama: OllamaStandIn
) -> None:
    asked = {"num_ctx": 100_000, "ignore_eos": True, "mirostat": 1}
    reply = client.post("/api/chat", json={"model": "m", "messages": ASK, "options": asked})
    assert reply.headers["x-num-ctx"] == "4096", "of what is loaded"
    asked["num_ctx"] = 100
    reply = client.post("/api/chat", json={"model": "m", "messages": ASK, "options": asked})
    assert reply.headers["x-num-ctx"] == "4096", "it is not made smaller either"
    assert reply.headers["x-ignored-options"] == "mirostat, ignore_eos"
    assert ollama.last["options"]["mirostat"] == 1, "for versions that know it"


def test_no_token_at_all(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    found = post(client, "/api/generate", prompt="Hi", options={"num_predict": 0})
    assert (found["response"], found["done_reason"]) == ("", "length")
    assert ollama.last["options"]["num_predict"] == 1


def test_embeddings(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    found = post(client, "/api/embed", input=["a", "b"])
    assert found["embeddings"] == [pytest.approx([0.6, 0.8, 0])] * 2
    assert found["prompt_eval_count"] == 5
    short = post(client, "/v1/embeddings", input="a", dimensions=1, encoding_format="float")
    assert short["data"][0]["embedding"] == [1.0], "old versions do not cut"
    assert post(client, "/api/embeddings", prompt="a")["embedding"][0] == pytest.approx(0.6)


def test_tokens_are_counted_by_ollama(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    body = {"model": "m", "messages": ASK}
    assert client.post("/v1/messages/count_tokens", json=body).json() == {"input_tokens": 26}
    sent = ollama.last
    assert (sent["options"]["num_predict"], sent["truncate"], sent["stream"]) == (1, False, False)


def test_counting_is_charged(tmp_path: Path, ollama: OllamaStandIn) -> None:
    """Ollama counts only what it computes."""
    key = generate_key()
    env = {
        "AKASH_LLM_KEYS": f"some:inference:{digest(key)}",
        "AKASH_LLM_KEY_LIMITS": '{"some": {"limits": {"tokens_per_minute": 1000}}}',
    }
    args = ["--engine", "ollama", "--upstream", ollama.url]
    body = {"model": "m", "messages": ASK, "max_tokens": 1}
    with (
        Serving(tmp_path, free_port(), args=args, env=env, fake=False) as serving,
        serving.client(headers={"authorization": f"Bearer {key}"}) as client,
    ):
        left = []
        for _ in range(2):
            counted = client.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
            reply = client.post("/v1/messages", json=body)
            left.append(int(reply.headers["x-ratelimit-remaining-tokens"]))
        said = reply.json()["usage"]
        used = said["input_tokens"] + said["cache_read_input_tokens"] + said["output_tokens"]
        assert left[0] - left[1] == counted + used


def test_what_needs_tokens_is_refused(client: httpx2.Client) -> None:
    for path, body in (
        ("/tokenize", {"content": "a"}),
        ("/detokenize", {"tokens": [1]}),
        ("/v1/completions", {"prompt": [1, 2]}),
        ("/v1/embeddings", {"input": [[1, 2]]}),
    ):
        reply = client.post(path, json={"model": "m", **body})
        assert reply.status_code == 400 and "Ollama" in reply.json()["error"]["message"]


def test_loading_unloading_and_how_long_it_stays(
    client: httpx2.Client, ollama: OllamaStandIn
) -> None:
    assert post(client, "/api/generate", keep_alive="10m")["done_reason"] == "load"
    assert ollama.last == {"model": "m:latest", "stream": False, "keep_alive": 600.0}
    assert post(client, "/api/chat", messages=[], keep_alive=0)["done_reason"] == "unload"
    assert ollama.last == {"model": "m:latest", "stream": False, "keep_alive": 0}
    post(client, "/api/chat", messages=ASK, keep_alive=-1)
    assert ollama.last["keep_alive"] == -1
    post(client, "/api/chat", messages=ASK)
    assert "keep_alive" not in ollama.last


def test_the_inventory(client: httpx2.Client) -> None:
    (listed,) = client.get("/api/tags").json()["models"]
    for name in ("name", "model", "size", "digest", "details", "capabilities"):
        assert listed[name] == TAG[name]
    shown = post(client, "/api/show")
    for name in ("license", "modelfile", "parameters", "template", "system", "messages"):
        assert shown[name] == SHOWN[name]
    assert shown["capabilities"] == TAG["capabilities"]
    assert shown["model_info"] == SHOWN["model_info"]
    (running,) = client.get("/api/ps").json()["models"]
    for name in ("name", "size", "size_vram", "context_length", "digest"):
        assert running[name] == RUNNING[name]
    assert running["expires_at"].startswith("2318-12-01")
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["m:latest"]


def test_facts_are_asked_for_once_and_all_of_them_each_time(
    client: httpx2.Client, ollama: OllamaStandIn
) -> None:
    for _ in range(3):
        post(client, "/api/show")
    assert len(ollama.bodies("/api/show")) <= 1
    ollama.shown = SHOWN | {"tensors": [{"name": "a", "type": "F32", "shape": [1]}]}
    assert post(client, "/api/show", verbose=True)["tensors"] == ollama.shown["tensors"]
    assert ollama.bodies("/api/show")[-1]["verbose"] is True


def test_a_model_that_changed_is_asked_again(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    post(client, "/api/show")
    ollama.tag = TAG | {"digest": "f" * 64}
    ollama.shown = SHOWN | {"system": "You are another."}
    client.get("/api/tags")
    assert post(client, "/api/show")["system"] == "You are another."


def test_a_version_of_long_ago(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    """It lists no capabilities, and tells no numbers."""
    ollama.tag = {"name": "m:latest", "digest": "e" * 64, "size": 7}
    ollama.shown = {"template": "{{ .Prompt }}", "details": {"family": "llama", "families": None}}
    ollama.final = {"done": True}
    ollama.running = []
    ollama.chunks = [spoken("Hi", tool_calls=None)]
    client.get("/api/tags")
    assert post(client, "/api/show")["capabilities"] == ["completion"]
    found = post(client, "/api/chat", messages=ASK)
    assert found["message"]["content"] == "Hi"
    assert found["done_reason"] == "stop" and found["eval_count"] == 1
    refused = client.post("/api/chat", json={"model": "m", "messages": ASK, "tools": [TOOL]})
    assert refused.status_code == 400 and "does not support tools" in refused.json()["error"]


def test_keys_are_for_the_gateway(gateway: Any, ollama: OllamaStandIn) -> None:
    """What a client shows us is not passed on; what Ollama is to be shown is a setting."""
    key = generate_key()
    env = {"AKASH_LLM_KEYS": f"me:inference:{digest(key)}", "AKASH_LLM_UPSTREAM_KEY": "theirs"}
    with gateway(ollama.url, "--preload", "m", engine="ollama", **env).client() as client:
        assert client.get("/api/tags").status_code == 401
        client.headers["authorization"] = f"Bearer {key}"
        assert post(client, "/api/chat", messages=ASK)["message"]["content"] == "Hello"
        pulled = client.post("/api/pull", json={"model": "x"})
        assert pulled.status_code == 403
        text = client.get("/metrics").text
    assert {asked.headers["authorization"] for asked in ollama.asked if asked.body} == {
        "Bearer theirs"
    }
    probe = next(body for body in ollama.bodies("/api/generate") if body["prompt"])
    assert probe["keep_alive"] == -1, "what is preloaded stays"
    assert 'akash_llm_key_prompt_tokens_total{key="me",model="m:latest"} 26.0' in text


def test_connections_are_used_again(client: httpx2.Client, ollama: OllamaStandIn) -> None:
    post(client, "/api/chat", messages=ASK)
    before = ollama.num_connections
    for _ in range(20):
        post(client, "/api/chat", messages=ASK)
        chunks(client, "/api/generate", prompt="Hi")
    assert ollama.num_connections <= before + 2, "a look may need one of its own"


def test_tokens_of_a_key(gateway: Any, ollama: OllamaStandIn) -> None:
    """Of a reply that is left, what was said counts, and about as much prompt as there was."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b'{"response": "a"}\n'
            await asyncio.sleep(0.01)

    key = generate_key()
    headers = {"authorization": f"Bearer {key}"}
    env = {"AKASH_LLM_KEYS": f"me:inference:{digest(key)}"}
    with gateway(ollama.url, engine="ollama", **env).client(headers=headers) as client:
        asked = {"model": "m", "prompt": "x" * 400}
        ollama.script = lambda asked: (
            Reply(lines=endless()) if asked.path == "/api/generate" else None
        )
        with client.stream("POST", "/api/generate", json=asked) as reply:
            lines = reply.iter_lines()
            for _ in range(10):
                next(lines)
        while not (used := client.get("/usage").json()["usage"]) or not used[0]["requests"]:
            time.sleep(0.02)
    assert used[0]["prompt_tokens"] == 100 and used[0]["output_tokens"] >= 10


def test_metrics(client: httpx2.Client) -> None:
    def value(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(name)).split()[-1])

    post(client, "/api/chat", messages=ASK)
    tokens = 'akash_llm_prompt_tokens_total{model="m:latest"}'
    before = value(tokens)
    post(client, "/api/chat", messages=ASK)
    assert value(tokens) == before + 26
    assert value("akash_llm_upstream_up") == value("akash_llm_models_loaded") == 1
