"""The client against a real socket: what it sends, what it reads, how it fails."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest

from tests.support.endpoint import (
    CONTEXT,
    MODEL,
    Answer,
    Hangup,
    Hold,
    Pause,
    Received,
    ScriptedEndpoint,
    words,
)
from toolkit import transport
from toolkit.client import Chunk, Endpoint, Message
from toolkit.errors import (
    ConfigError,
    CredentialsError,
    DeadlineError,
    EndpointError,
    RequestRefused,
)


def open_endpoint(server: ScriptedEndpoint) -> Endpoint:
    return Endpoint.open(url=server.url, model=MODEL, name="test")


async def collected(endpoint: Endpoint, prompt: str = "hi") -> list[Chunk]:
    return [chunk async for chunk in endpoint.chat(prompt)]


async def test_a_chat_is_a_stream_of_text_and_ends_with_its_figures() -> None:
    async with (
        ScriptedEndpoint(lambda _: words("one two three")) as server,
        open_endpoint(server) as endpoint,
    ):
        chunks = await collected(endpoint)
    assert [chunk.text for chunk in chunks] == ["one", " two", " three", ""]
    assert [chunk.done for chunk in chunks] == [False, False, False, True]
    stats = chunks[-1].stats
    assert stats is not None
    assert (stats.output_tokens, stats.finish_reason, stats.context) == (3, "stop", CONTEXT)
    assert stats.ttft_s is not None and stats.tokens_per_s is not None
    assert 0 < stats.first_byte_s <= stats.ttft_s <= stats.total_s
    assert stats.context_used == (stats.prompt_tokens or 0) + 3


async def test_the_request_carries_what_was_asked() -> None:
    async with ScriptedEndpoint() as server, open_endpoint(server) as endpoint:
        stream = endpoint.chat(
            [Message("user", "a"), {"role": "assistant", "content": "b"}],
            system="be brief",
            options={"seed": 1},
            format="json",
            think=False,
        )
        async for _ in stream:
            pass
        body = server.generations()[0].body
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant"]
    assert body["options"] == {"seed": 1} and body["format"] == "json" and body["think"] is False
    assert body["stream"] is True and body["model"] == MODEL


async def test_generate_completes_one_prompt() -> None:
    async with (
        ScriptedEndpoint(lambda _: words("x y")) as server,
        open_endpoint(server) as endpoint,
    ):
        text = [c.text async for c in endpoint.generate("p", raw=True, suffix="s")]
    body = server.generations()[0].body
    assert "".join(text) == "x y"
    assert body["raw"] is True and body["suffix"] == "s" and body["prompt"] == "p"


async def test_half_a_character_costs_that_character_only() -> None:
    answer = Answer(["a\ud800b", " \ud83d\ude00"])
    async with ScriptedEndpoint(lambda _: answer) as server, open_endpoint(server) as endpoint:
        pieces = [c.text async for c in endpoint.chat("sent \udc00")]
    assert "".join(pieces) == "a\ufffdb 😀"
    assert server.generations()[0].body["messages"][0]["content"] == "sent \ufffd"


async def test_thinking_and_truncation_are_reported() -> None:
    thinking = b'{"message":{"role":"assistant","content":"","thinking":"hm"},"done":false}\n'
    answer = Answer([thinking, "ok"], headers={"x-truncated-tokens": "17"})
    async with ScriptedEndpoint(lambda _: answer) as server, open_endpoint(server) as endpoint:
        chunks = await collected(endpoint)
    assert chunks[0].thinking == "hm"
    assert chunks[-1].stats is not None and chunks[-1].stats.truncated_tokens == 17


async def test_lines_may_come_in_any_pieces() -> None:
    whole = '{"message":{"role":"assistant","content":"größe 😀"},"done":false}\n'.encode()
    pieces = [bytes([byte]) for byte in whole]
    async with (
        ScriptedEndpoint(lambda _: Answer(pieces)) as server,
        open_endpoint(server) as endpoint,
    ):
        assert (await collected(endpoint))[0].text == "größe 😀"


async def test_the_connection_is_used_again() -> None:
    async with ScriptedEndpoint() as server, open_endpoint(server) as endpoint:
        for _ in range(3):
            await collected(endpoint)
        assert server.connections == 1


async def test_closing_the_stream_closes_the_connection() -> None:
    async with (
        ScriptedEndpoint(lambda _: Answer(["a", Hold()])) as server,
        open_endpoint(server) as endpoint,
    ):
        async with aclosing(endpoint.chat("hi")) as stream:
            async for _ in stream:
                assert server.active == 1
                break
        await server.until(lambda s: s.active == 0 and s.cancelled == 1)


@pytest.mark.parametrize("steps", [["a", Hold()], [Hold()]], ids=["in the text", "before it"])
async def test_cancelling_the_task_closes_the_connection(steps: list[str | Hold]) -> None:
    async with (
        ScriptedEndpoint(lambda _: Answer(steps)) as server,
        open_endpoint(server) as endpoint,
    ):
        task = asyncio.create_task(collected(endpoint))
        await server.until(lambda s: s.active == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda s: s.active == 0 and s.cancelled == 1)


def refusing(status: int, error: str = "", **headers: str) -> Callable[[Received], Answer]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Answer(status=status, error=error, headers=given)


@pytest.mark.parametrize(
    ("script", "kind", "message", "hint"),
    [
        (refusing(401, "bad key"), CredentialsError, "bad key", "key file"),
        (refusing(403), CredentialsError, "forbids", "scope"),
        (refusing(404, "model 'x' not found"), RequestRefused, "model 'x'", "models list"),
        (refusing(503, "busy", retry_after="7"), RequestRefused, "busy", "in 7 s"),
        (refusing(500), RequestRefused, "status 500", "logs"),
        (
            lambda _: Answer(["a", b'{"error":"boom"}\n'], finish=False),
            RequestRefused,
            "boom",
            "log",
        ),
        (lambda _: Answer(["a"], finish=False), EndpointError, "before it was complete", "again"),
        (lambda _: Answer(["a", Hangup()]), EndpointError, "broke off", "log"),
        (lambda _: Answer([b"<html>\n"]), EndpointError, "not Ollama's API", "URL"),
        (lambda _: Answer([b"\xff\xff\n"]), EndpointError, "not Ollama's API", "URL"),
        (lambda _: Answer([b"[1]\n"]), EndpointError, "not Ollama's API", "URL"),
        (lambda _: Answer(junk=b"SSH-2.0-x\r\n"), EndpointError, "broke off", "log"),
    ],
)
async def test_each_failure_is_one_error_with_a_next_step(
    script: Callable[[Received], Answer], kind: type[EndpointError], message: str, hint: str
) -> None:
    async with ScriptedEndpoint(script) as server, open_endpoint(server) as endpoint:
        with pytest.raises(kind) as caught:
            await collected(endpoint)
    assert message in caught.value.message and hint in caught.value.hint


async def test_a_mid_stream_error_says_that_the_status_was_200() -> None:
    answer = Answer([b'{"error":"boom"}\n'], finish=False)
    async with ScriptedEndpoint(lambda _: answer) as server, open_endpoint(server) as endpoint:
        with pytest.raises(RequestRefused) as caught:
            await collected(endpoint)
    assert caught.value.status == 200


async def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_LINE_BYTES", 1000)
    answer = Answer([b"x" * 600, b"x" * 600, Hold()])
    async with ScriptedEndpoint(lambda _: answer) as server, open_endpoint(server) as endpoint:
        with pytest.raises(EndpointError, match="more than 1000 bytes"):
            await collected(endpoint)


async def test_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_TIMEOUT_S", 0.2)
    async with (
        ScriptedEndpoint(lambda _: Answer([Hold()])) as server,
        open_endpoint(server) as endpoint,
    ):
        with pytest.raises(EndpointError, match="sent nothing"):
            await collected(endpoint)


async def test_nobody_there_is_an_error(free_port: Callable[[], int]) -> None:
    async with Endpoint.open(url=f"http://127.0.0.1:{free_port()}", model="m") as endpoint:
        with pytest.raises(EndpointError, match="Nothing answers") as caught:
            await collected(endpoint)
        assert "akash-llm up" in caught.value.hint
        assert not await endpoint.is_ready()
        with pytest.raises(DeadlineError):
            await endpoint.ready(timeout_s=0.3)


async def test_ready_waits_until_the_models_are_loaded() -> None:
    async with ScriptedEndpoint() as server, open_endpoint(server) as endpoint:
        server.is_ready = False
        assert not await endpoint.is_ready()
        waiting = asyncio.create_task(endpoint.ready())
        await server.until(lambda s: len(s.received) >= 2)
        server.is_ready = True
        await waiting


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("vllm does not answer", "vllm does not answer"),
        ("\x1b[2Jgone, my-key", "gone, (the key)"),
        ("", ""),
        (["no", "text"], ""),
    ],
)
async def test_why_it_is_not_ready_in_its_own_words(said: object, reason: str) -> None:
    async with (
        ScriptedEndpoint(key="my-key") as server,
        Endpoint.open(url=server.url, key="my-key") as endpoint,
    ):
        server.is_ready, server.why_not = False, said
        assert await endpoint.why_not_ready() == reason


async def test_nobody_there_gives_no_reason(free_port: Callable[[], int]) -> None:
    async with Endpoint.open(url=f"http://127.0.0.1:{free_port()}") as endpoint:
        assert await endpoint.why_not_ready() == ""


async def test_the_inventory_is_as_on_the_wire() -> None:
    async with ScriptedEndpoint() as server, open_endpoint(server) as endpoint:
        assert [model["name"] for model in await endpoint.tags()] == [MODEL]
        assert await endpoint.context() == CONTEXT


async def test_no_model_is_an_error_before_any_request() -> None:
    async with ScriptedEndpoint() as server:
        async with Endpoint.open(url=server.url) as endpoint:
            with pytest.raises(ConfigError, match="No model"):
                await collected(endpoint)
        assert server.received == []


async def test_many_streams_run_at_once() -> None:
    answer = Answer(["a", Pause(0.2), "b"])
    async with ScriptedEndpoint(lambda _: answer) as server, open_endpoint(server) as endpoint:
        await asyncio.gather(*(collected(endpoint) for _ in range(40)))
        assert server.peak == 40
