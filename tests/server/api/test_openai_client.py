"""The official `openai` client on a real port: what it sends by itself, and what it makes of
our replies, also when they fail or are left."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from server.keys import digest, generate_key
from server.models.store import Store
from tests.support.serving import Serving, write_gguf

KEY = generate_key()
MESSAGES: Any = [{"role": "user", "content": "⟦abc⟧"}]
ENDLESS: Any = {"model": "m", "messages": MESSAGES, "extra_body": {"ignore_eos": True}}


@pytest.fixture
def sync(serving: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{serving.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def slow(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Serving]:
    """A server of its own with a key, four slots and slow steps."""
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models"), "--parallel", "4", "--preload", "m"]
    args += ["--max-queue", "1"]
    env = {"AKASH_LLM_KEYS": f"me:inference:{digest(KEY)},you:read:{digest(KEY + 'x')}"}
    with Serving(tmp_path, free_port(), args=args, env=env, step_s=0.01) as server:
        yield server


@pytest.fixture
async def client(slow: Serving) -> AsyncIterator[openai.AsyncOpenAI]:
    async with connected(slow, KEY) as client:
        yield client


def connected(serving: Serving, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{serving.url}/v1", api_key=key, max_retries=0)


async def until_running(serving: Serving, running: int, waiting: int = 0) -> None:
    """Wait until so many requests hold a slot, and so many wait for one."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with serving.async_client(headers=headers) as client, asyncio.timeout(20):
        while True:
            (model,) = (await client.get("/api/ps")).json()["models"]
            if (model["num_running"], model["num_waiting"]) == (running, waiting):
                return
            await asyncio.sleep(0.01)


def test_chat(sync: openai.OpenAI) -> None:
    reply = sync.chat.completions.create(model="m", messages=MESSAGES)
    assert reply.choices[0].message.content == "abc"
    raw = sync.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
    assert raw.headers["x-request-id"] and raw.parse().choices[0].message.content == "abc"


def test_a_stream(sync: openai.OpenAI) -> None:
    with sync.chat.completions.create(
        model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "abc"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens >= 3


def test_the_helper_for_streams(sync: openai.OpenAI) -> None:
    with sync.chat.completions.stream(
        model="m", messages=MESSAGES, n=2, logprobs=True, top_logprobs=1
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "logprobs.content.delta"} <= kinds
    assert [choice.message.content for choice in final.choices] == ["abc", "abc"]


def test_completions(sync: openai.OpenAI) -> None:
    reply = sync.completions.create(model="m", prompt=["⟦ab⟧", "⟦c⟧"], logprobs=1)
    assert [choice.text for choice in reply.choices] == ["ab", "c"]
    stream = sync.completions.create(model="m", prompt="⟦ab⟧", stream=True, echo=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "⟦ab⟧ab"


def test_embeddings_as_the_client_asks_by_itself(sync: openai.OpenAI) -> None:
    reply = sync.embeddings.create(model="embedder", input=["a", "b"])
    plain = sync.embeddings.create(model="embedder", input=["a", "b"], encoding_format="float")
    for one, other in zip(reply.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)


def test_models(sync: openai.OpenAI) -> None:
    assert "user/custom:7b" in [model.id for model in sync.models.list()]
    assert sync.models.retrieve("user/custom:7b").owned_by == "user"
    with pytest.raises(openai.NotFoundError):
        sync.models.retrieve("nope")


def test_errors_have_their_classes_and_fields(sync: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        sync.chat.completions.create(model="nope", messages=MESSAGES)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", None)
    with pytest.raises(openai.BadRequestError) as wrong:
        sync.chat.completions.create(model="m", messages=MESSAGES, temperature=3)
    assert (wrong.value.param, wrong.value.type) == ("temperature", "invalid_request_error")
    long: Any = [{"role": "user", "content": "x" * 300}]
    with pytest.raises(openai.BadRequestError) as full:
        sync.chat.completions.create(model="m", messages=long, extra_body={"truncate": False})
    assert full.value.code == "context_length_exceeded"


async def test_keys(slow: Serving) -> None:
    async with connected(slow, "ak-wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            await stranger.models.list()
        assert refused.value.code == "invalid_api_key"
    async with connected(slow, KEY + "x") as reader:
        assert [model.id async for model in reader.models.list()] == ["m:latest"]
        with pytest.raises(openai.PermissionDeniedError) as forbidden:
            await reader.chat.completions.create(model="m", messages=MESSAGES)
        assert (forbidden.value.type, forbidden.value.code) == ("permission_error", "forbidden")


async def test_the_terms_of_a_key(tmp_path: Path, free_port: Callable[[], int]) -> None:
    store = Store(tmp_path / "models")
    for name in ("m", "hidden"):
        store.add_file(name, write_gguf(tmp_path / f"{name}.gguf"))
    env = {
        "AKASH_LLM_KEYS": f"me:inference:{digest(KEY)}",
        "AKASH_LLM_KEY_LIMITS": json.dumps(
            {"me": {"limits": {"requests_per_minute": 3, "num_predict": 2}, "models": ["m"]}}
        ),
    }
    args = ["--models", str(tmp_path / "models")]
    with Serving(tmp_path, free_port(), args=args, env=env) as server:
        async with connected(server, KEY) as client:
            assert [model.id async for model in client.models.list()] == ["m:latest"]
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("hidden")
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="hidden", messages=MESSAGES)
            reply = await client.chat.completions.create(model="m", messages=MESSAGES)
            assert reply.choices[0].message.content == "ab"
            with pytest.raises(openai.RateLimitError) as refused:
                await client.chat.completions.create(model="m", messages=MESSAGES, n=3)
    assert (refused.value.type, refused.value.code) == ("rate_limit_error", "rate_limit_exceeded")
    assert int(refused.value.response.headers["retry-after"]) > 0


async def test_a_stream_that_is_left_frees_all_its_slots(
    slow: Serving, client: openai.AsyncOpenAI
) -> None:
    stream = await client.chat.completions.create(**ENDLESS, n=3, stream=True)
    seen: set[int] = set()
    async for chunk in stream:
        seen |= {choice.index for choice in chunk.choices if choice.delta.content}
        if len(seen) == 3:
            break
    await until_running(slow, 3)
    await stream.close()
    await until_running(slow, 0)


async def test_a_client_that_leaves_while_it_waits_frees_all_slots(
    slow: Serving, client: openai.AsyncOpenAI
) -> None:
    asking = asyncio.create_task(client.chat.completions.create(**ENDLESS, n=4))
    await until_running(slow, 4)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until_running(slow, 0)


async def test_a_full_queue_is_a_503_with_a_time_to_come_back(
    slow: Serving, client: openai.AsyncOpenAI
) -> None:
    first = asyncio.create_task(client.chat.completions.create(**ENDLESS, n=4))
    await until_running(slow, 4)
    second = asyncio.create_task(client.chat.completions.create(**ENDLESS))
    await until_running(slow, 4, 1)
    with pytest.raises(openai.InternalServerError) as refused:
        await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert refused.value.status_code == 503 and refused.value.code == "overloaded"
    assert int(refused.value.response.headers["retry-after"]) > 0
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await until_running(slow, 0)


async def test_one_choice_that_finds_no_place_ends_all(
    slow: Serving, client: openai.AsyncOpenAI
) -> None:
    """Four slots and one place in the queue: there is no room for six."""
    with pytest.raises(openai.APIError) as refused:
        stream = await client.chat.completions.create(**ENDLESS, n=6, stream=True)
        async for _ in stream:
            pass
    assert refused.value.code == "overloaded"
    await until_running(slow, 0)


async def test_a_crash_in_a_stream_is_an_error_of_the_stream(
    slow: Serving, client: openai.AsyncOpenAI
) -> None:
    stream = await client.chat.completions.create(**ENDLESS, n=2, stream=True)
    with pytest.raises(openai.APIError) as broken:
        await anext(stream)
        slow.kill_runner()
        async for _ in stream:
            pass
    assert broken.value.code == "engine_crashed" and broken.value.type == "api_error"
    again = await client.chat.completions.create(model="m", messages=MESSAGES)
    assert again.choices[0].message.content == "abc"


async def test_a_stream_that_fails_is_not_done(slow: Serving) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"model": "m", "messages": MESSAGES, "stream": True, "ignore_eos": True}
    async with (
        slow.async_client(headers=headers) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        text = ""
        async for piece in response.aiter_text():
            if not text:
                slow.kill_runner()
            text += piece
    assert response.status_code == 200 and "[DONE]" not in text
    assert text.rstrip().rpartition("\n\n")[2].startswith('data: {"error":{"message":')


async def test_several_choices_compute_their_prompt_once(
    slow: Serving, client: openai.AsyncOpenAI
) -> None:
    headers = {"authorization": f"Bearer {KEY}x"}

    async def computed(http: httpx2.AsyncClient) -> float:
        text = (await http.get("/metrics")).text
        count = dict(re.findall(r"^akash_llm_(\w+)_tokens_total\{.*\} (\S+)$", text, re.MULTILINE))
        return float(count["prompt"]) - float(count["cached"])

    async with slow.async_client(headers=headers) as http:
        before = await computed(http)
        long: Any = [{"role": "user", "content": "x" * 400 + "⟦abc⟧"}]
        reply = await client.chat.completions.create(model="m", messages=long, n=4)
        after = await computed(http)
    assert reply.usage is not None
    assert after - before < 2 * reply.usage.prompt_tokens


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_silence_is_bridged_by_what_the_client_passes_over(
    tmp_path: Path, free_port: Callable[[], int], path: str
) -> None:
    Store(tmp_path / "models").add_file("m", write_gguf(tmp_path / "m.gguf"))
    args = ["--models", str(tmp_path / "models"), "--heartbeat", "0.05"]
    with Serving(tmp_path, free_port(), args=args, load_s=0.6, step_s=0.3) as server:
        body = {"model": "m", "messages": MESSAGES, "prompt": "⟦abc⟧", "stream": True}
        with server.client() as http:
            text = http.post(path, json=body).text
        assert text.startswith(": ping\n\n: ping\n\n") and text.endswith("data: [DONE]\n\n")
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            if path == "/v1/completions":
                texts = client.completions.create(model="m", prompt="⟦abc⟧", stream=True)
                assert "".join(chunk.choices[0].text for chunk in texts) == "abc"
            else:
                chunks = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
                assert "".join(c.choices[0].delta.content or "" for c in chunks) == "abc"
