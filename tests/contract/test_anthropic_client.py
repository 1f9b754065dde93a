"""The official `anthropic` client on a real port: over scripted replies, and over the real
embedded model."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, MessageParam
from pydantic import BaseModel

from tests.contract.conftest import EMBEDDED, KEY
from tests.support.serving import Serving

WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "%s"}}\n</tool_call>'
TWO_CALLS = f"⟦Let me see.\n{CALL % 'Paris'}\n{CALL % 'Łódź'}⟧"


class City(BaseModel):
    """What the real model is made to answer."""

    name: str
    is_capital: bool


def user(text: str) -> MessageParam:
    return {"role": "user", "content": text}


@pytest.fixture
def client(scripted: Serving) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=scripted.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(scripted: Serving) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The same for asyncio, with its key as a bearer token."""
    async with anthropic.AsyncAnthropic(
        base_url=scripted.url, auth_token=KEY, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def model(real: Serving) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=real.url, api_key=KEY, max_retries=0) as client:
        yield client


def ask(client: anthropic.Anthropic, *turns: MessageParam, stream: bool, **more: Any) -> Message:
    """The reply, at once or put together by the client."""
    body: Any = {"model": "m", "max_tokens": 500, "messages": turns, **more}
    if not stream:
        whole: Message = client.messages.create(**body)
        return whole
    with client.messages.stream(**body) as events:
        return events.get_final_message()


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@pytest.mark.parametrize("stream", [False, True])
def test_a_message(client: anthropic.Anthropic, stream: bool) -> None:
    reply = ask(client, user("⟦ab⟧"), stream=stream)
    assert text_of(reply) == "ab" and reply.stop_reason == "end_turn"
    assert reply.usage.output_tokens == 3


def test_the_texts_of_a_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="m", max_tokens=50, messages=[user("⟦abc⟧")]) as stream:
        assert list(stream.text_stream) == ["a", "b", "c"]


def test_the_id_of_a_request(client: anthropic.Anthropic) -> None:
    reply = ask(client, user("⟦ab⟧"), stream=False)
    assert reply._request_id and reply._request_id.startswith("req_")


def test_a_system_text_in_blocks(client: anthropic.Anthropic) -> None:
    blocks: Any = [{"type": "text", "text": text} for text in ("One.", "Two.")]
    blocks[0]["cache_control"] = {"type": "ephemeral"}
    counted = client.messages.count_tokens(model="m", messages=[user("a")], system=blocks)
    plain = client.messages.count_tokens(model="m", messages=[user("a")], system="One.")
    assert counted.input_tokens > plain.input_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_is_told(client: anthropic.Anthropic, stream: bool) -> None:
    reply = ask(client, user("⟦abcd⟧"), stream=stream, stop_sequences=["x", "c"])
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "c")
    assert text_of(reply) == "ab"


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts(client: anthropic.Anthropic, stream: bool) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = user("⟦<think>hm</think>yes⟧")
    reply = ask(client, asked, stream=stream, thinking=thinking)
    thought, answer = reply.content
    assert thought.type == "thinking" and thought.thinking == "hm" and thought.signature
    assert answer.type == "text" and answer.text == "yes"
    again = ask(client, asked, reply.to_param(), user("⟦and no⟧"), stream=stream)
    assert text_of(again) == "and no"


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_and_their_results_sent_back(
    client: anthropic.Anthropic, stream: bool
) -> None:
    asked = user(TWO_CALLS)
    reply = ask(client, asked, stream=stream, tools=[WEATHER])
    assert reply.stop_reason == "tool_use"
    assert [block.type for block in reply.content] == ["text", "tool_use", "tool_use"]
    assert text_of(reply) == "Let me see."
    calls = [block for block in reply.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Łódź"}]
    results: Any = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"⟦sunny {at}⟧"}
        for at, call in enumerate(calls)
    ]
    last = ask(
        client, asked, reply.to_param(), {"role": "user", "content": results},
        stream=stream, tools=[WEATHER],
    )  # fmt: skip
    assert text_of(last) == "sunny 1" and last.stop_reason == "end_turn"


def test_one_call_at_most(client: anthropic.Anthropic) -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    reply = ask(client, user(TWO_CALLS), stream=False, tools=[WEATHER], tool_choice=choice)
    assert [block.type for block in reply.content].count("tool_use") == 1


def test_a_tool_that_the_model_is_not_told_of_cannot_be_called(
    client: anthropic.Anthropic,
) -> None:
    reply = ask(
        client, user(f"⟦{CALL % 'x'}⟧"), stream=False, tools=[WEATHER],
        tool_choice={"type": "none"},
    )  # fmt: skip
    assert [block.type for block in reply.content] == ["text"]


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="m", messages=[user("⟦ab⟧")], system="s")
    usage = ask(client, user("⟦ab⟧"), stream=False, system="s").usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"model": "nope"}, anthropic.NotFoundError),
        ({"max_tokens": 0}, anthropic.BadRequestError),
        ({"messages": []}, anthropic.BadRequestError),
    ],
)
def test_errors(client: anthropic.Anthropic, body: Any, error: type[Exception]) -> None:
    asked: Any = {"model": "m", "max_tokens": 5, "messages": [user("x")], **body}
    for stream in (False, True):
        with pytest.raises(error):
            client.messages.create(**asked, stream=stream)


def test_a_wrong_key(scripted: Serving) -> None:
    with (
        anthropic.Anthropic(base_url=scripted.url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError) as refused,
    ):
        ask(stranger, user("x"), stream=False)
    assert refused.value.request_id and refused.value.request_id.startswith("req_")


async def test_async_clients_at_once(async_client: anthropic.AsyncAnthropic) -> None:
    async def ask_for(text: str) -> str:
        body: Any = {"model": "m", "max_tokens": 50, "messages": [user(f"⟦{text}⟧")]}
        async with async_client.messages.stream(**body) as stream:
            return text_of(await stream.get_final_message())

    texts = [f"reply {number}" for number in range(8)]
    assert await asyncio.gather(*map(ask_for, texts)) == texts


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_its_slot(
    scripted: Serving, async_client: anthropic.AsyncAnthropic, stream: bool
) -> None:
    body: Any = {"model": "m", "max_tokens": 8000, "messages": [user("⟦ab⟧")]}
    body["extra_body"] = {"options": {"ignore_eos": True}}

    async def endless() -> None:
        if stream:
            async for _ in await async_client.messages.create(**body, stream=True):
                pass
        else:
            while True:
                await async_client.messages.create(**body)

    task = asyncio.create_task(endless())
    await until_running(scripted, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_running(scripted, 0)


async def until_running(server: Serving, wanted: int) -> None:
    """Wait until so many requests hold a slot."""
    headers = {"x-api-key": KEY}
    async with server.async_client(headers=headers) as client, asyncio.timeout(60):
        while (await client.get("/api/ps")).json()["models"][0]["num_running"] != wanted:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
def test_the_real_model_answers(model: anthropic.Anthropic, stream: bool) -> None:
    more: Any = {"temperature": 0}
    reply = ask(
        model, user("Say hello."), stream=stream, model=EMBEDDED, max_tokens=12,
        system="Answer briefly.", extra_body=more,
    )  # fmt: skip
    assert text_of(reply) and reply.stop_reason in ("end_turn", "max_tokens")
    counted = model.messages.count_tokens(
        model=EMBEDDED, messages=[user("Say hello.")], system="Answer briefly."
    )
    read = reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0)
    assert counted.input_tokens == read


@pytest.mark.usefixtures("tells_stop_strings")
def test_the_real_model_stops_and_goes_on(model: anthropic.Anthropic) -> None:
    begun: MessageParam = {"role": "assistant", "content": "1, 2, 3,"}
    reply = ask(
        model, user("Count to nine."), begun, stream=False, model=EMBEDDED, max_tokens=40,
        stop_sequences=["6"], extra_body={"temperature": 0},
    )  # fmt: skip
    assert reply.stop_reason == "stop_sequence" and reply.stop_sequence == "6"
    assert "6" not in text_of(reply)


def test_the_real_model_answers_in_a_form(model: anthropic.Anthropic) -> None:
    reply = model.messages.parse(
        model=EMBEDDED, max_tokens=200, messages=[user("Is Paris a capital? Answer in JSON.")],
        output_format=City, extra_body={"temperature": 0},
    )  # fmt: skip
    assert isinstance(reply.parsed_output, City)
