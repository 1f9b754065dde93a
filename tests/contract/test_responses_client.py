"""The official `openai` client's Responses on a real port: over scripted replies, and over
the real embedded model."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from tests.contract.conftest import EMBEDDED, KEY
from tests.support.serving import Serving

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "%s"}}\n</tool_call>'
NOTE: Any = {"type": "custom", "name": "note", "description": "Writes"}
A_NOTE = '<tool_call>\n{"name": "note", "arguments": {"input": "a\\n\\"b\\""}}\n</tool_call>'
TWO_CALLS = f"⟦<think>hm</think>Let me see.\n{CALL % 'Paris'}\n{CALL % 'Łódź'}⟧"


class City(BaseModel):
    """What the real model is made to answer."""

    name: str
    is_capital: bool


@pytest.fixture
def client(scripted: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{scripted.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(scripted: Serving) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{scripted.url}/v1", api_key=KEY, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def model(real: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, given: Any, *, stream: bool, **more: Any) -> Response:
    """The response, at once or put together by the client."""
    body: Any = {"model": "m", "input": given, **more}
    if not stream:
        whole: Response = client.responses.create(**body)
        return whole
    with client.responses.stream(**body) as events:
        return events.get_final_response()


@pytest.mark.parametrize("stream", [False, True])
def test_a_response(client: openai.OpenAI, stream: bool) -> None:
    reply = ask(client, "⟦ab⟧", stream=stream)
    assert reply.output_text == "ab" and reply.status == "completed"
    assert reply.usage and reply.usage.output_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
def test_functions_are_called_and_their_results_sent_back(
    client: openai.OpenAI, stream: bool
) -> None:
    given: list[Any] = [{"role": "user", "content": TWO_CALLS}]
    reply = ask(client, given, stream=stream, tools=[WEATHER], reasoning={"effort": "high"})
    assert [item.type for item in reply.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert reply.output_text == "Let me see."
    details = reply.usage and reply.usage.output_tokens_details
    assert details and details.reasoning_tokens == len("<think>hm</think>")
    given += [item.to_dict() for item in reply.output]
    calls = [item for item in reply.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Łódź"}]
    given += [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"⟦sunny {at}⟧"}
        for at, call in enumerate(calls)
    ]
    assert ask(client, given, stream=stream, tools=[WEATHER]).output_text == "sunny 1"


@pytest.mark.parametrize("stream", [False, True])
def test_custom_tools_get_a_text(client: openai.OpenAI, stream: bool) -> None:
    given: list[Any] = [{"role": "user", "content": f"⟦{A_NOTE}\n{CALL % 'Paris'}⟧"}]
    reply = ask(client, given, stream=stream, tools=[WEATHER, NOTE])
    note, weather = reply.output
    assert note.type == "custom_tool_call" and weather.type == "function_call"
    assert (note.name, note.input) == ("note", 'a\n"b"')
    assert [tool.type for tool in reply.tools] == ["function", "custom"]
    given += [note.to_dict(), weather.to_dict()]
    given += [
        {"type": "custom_tool_call_output", "call_id": note.call_id, "output": "⟦noted⟧"},
        {"type": "function_call_output", "call_id": weather.call_id, "output": "sunny"},
    ]
    assert ask(client, given, stream=stream, tools=[WEATHER, NOTE]).output_text == "noted"


def test_the_text_of_a_custom_tool_in_a_stream(client: openai.OpenAI) -> None:
    body: Any = {"model": "m", "input": f"⟦{A_NOTE}⟧", "tools": [NOTE], "stream": True}
    told = {event.type: event for event in client.responses.create(**body)}
    delta, done = (told[f"response.custom_tool_call_input.{kind}"] for kind in ("delta", "done"))
    assert delta.delta == done.input == 'a\n"b"' and delta.item_id == done.item_id
    assert told["response.output_item.added"].item.input == ""


@pytest.mark.parametrize("stream", [False, True])
def test_only_what_is_allowed_is_told_and_called(client: openai.OpenAI, stream: bool) -> None:
    chosen = {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "custom", "name": "note"}],
    }
    tools: dict[str, Any] = {"tools": [WEATHER, NOTE], "tool_choice": chosen}
    refused = ask(client, f"⟦{CALL % 'Paris'}⟧", stream=stream, **tools)
    assert refused.output_text == CALL % "Paris"
    assert refused.to_dict()["tool_choice"] == chosen
    (called,) = ask(client, f"⟦{A_NOTE}⟧", stream=stream, **tools).output
    assert called.type == "custom_tool_call"


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_of_what_is_said(client: openai.OpenAI, stream: bool) -> None:
    """Of the answer alone: neither of thoughts and their tags nor of calls."""
    reply = ask(
        client, TWO_CALLS, stream=stream, tools=[WEATHER], top_logprobs=1,
        include=["message.output_text.logprobs"],
    )  # fmt: skip
    (said,) = [item for item in reply.output if item.type == "message"]
    (part,) = said.content
    assert part.type == "output_text" and part.logprobs is not None
    assert "".join(one.token for one in part.logprobs) == part.text == "Let me see."
    assert all(len(one.top_logprobs) == 1 for one in part.logprobs)


def test_one_call_at_most(client: openai.OpenAI) -> None:
    reply = ask(client, TWO_CALLS, stream=False, tools=[WEATHER], parallel_tool_calls=False)
    assert [item.type for item in reply.output].count("function_call") == 1


def test_a_stream_that_is_cut_off(client: openai.OpenAI) -> None:
    with client.responses.create(
        model="m", input="⟦abcd⟧", max_output_tokens=2, stream=True
    ) as stream:
        events = list(stream)
    last = events[-1]
    assert last.type == "response.incomplete" and last.response.output_text == "ab"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"model": "nope"}, openai.NotFoundError),
        ({"previous_response_id": "resp_1"}, openai.BadRequestError),
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError),
    ],
)
def test_errors(client: openai.OpenAI, body: Any, error: type[Exception]) -> None:
    asked: Any = {"model": "m", "input": "x", **body}
    for stream in (False, True):
        with pytest.raises(error):
            client.responses.create(**asked, stream=stream)


def test_a_wrong_key(scripted: Serving) -> None:
    with (
        openai.OpenAI(base_url=f"{scripted.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        ask(stranger, "x", stream=False)


async def test_async_clients_at_once(async_client: openai.AsyncOpenAI) -> None:
    async def ask_for(text: str) -> str:
        async with async_client.responses.stream(model="m", input=f"⟦{text}⟧") as stream:
            return (await stream.get_final_response()).output_text

    texts = [f"reply {number}" for number in range(8)]
    assert await asyncio.gather(*map(ask_for, texts)) == texts


def test_the_real_model_answers(model: openai.OpenAI) -> None:
    """The same in a stream; a model this small may go on for longer than it is let."""
    body: Any = {"model": EMBEDDED, "input": "Say hello.", "instructions": "Answer briefly."}
    body |= {"temperature": 0, "max_output_tokens": 12}
    whole = model.responses.create(**body)
    *_, last = model.responses.create(**body, stream=True)
    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == whole.output_text != ""
    assert last.response.status == whole.status
    assert whole.usage and whole.usage.output_tokens <= 12


def test_the_real_model_answers_in_a_form(model: openai.OpenAI) -> None:
    reply = model.responses.parse(
        model=EMBEDDED, input="Is Paris a capital? Answer in JSON.", text_format=City,
        temperature=0, max_output_tokens=200,
    )  # fmt: skip
    assert isinstance(reply.output_parsed, City)
