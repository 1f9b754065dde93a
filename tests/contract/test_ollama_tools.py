"""The official `ollama` client with what a small model cannot show: tools, thoughts, a stream that
breaks. The model `m` says what is between ⟦ and ⟧."""

from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.contract.conftest import KEY
from tests.support.serving import Serving

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "%s"}}\n</tool_call>'
CALLS = f"⟦Let me see.\n{CALL % 'Łódź'}\n{CALL % 'Rome'}⟧"


def get_weather(city: str) -> str:
    """The weather of a city.

    Args:
      city: Its name
    """
    return f"It rains in {city}."


@pytest.fixture
def client(scripted: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[ollama.Client]:
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    with ollama.Client(host=scripted.url) as client:
        yield client


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def chat(client: ollama.Client, *messages: Any, stream: bool, **more: Any) -> ollama.Message:
    """The message of a reply, at once or put together of its pieces."""
    if not stream:
        reply: ollama.ChatResponse = client.chat("m", messages, **more)
        return reply.message
    whole = ollama.Message(role="assistant", content="", thinking="", tool_calls=[])
    for chunk in client.chat("m", messages, stream=True, **more):
        whole.content = (whole.content or "") + (chunk.message.content or "")
        whole.thinking = (whole.thinking or "") + (chunk.message.thinking or "")
        whole.tool_calls = [*(whole.tool_calls or ()), *(chunk.message.tool_calls or ())]
    return whole


@pytest.mark.parametrize("stream", [False, True])
def test_functions_are_called_and_their_results_sent_back(
    client: ollama.Client, stream: bool
) -> None:
    """As its users write it: a Python function is the tool."""
    question = user(CALLS)
    asked = chat(client, question, stream=stream, tools=[get_weather])
    assert asked.content == "Let me see."
    calls = [call.function for call in asked.tool_calls or ()]
    assert [(call.name, dict(call.arguments)) for call in calls] == [
        ("get_weather", {"city": "Łódź"}), ("get_weather", {"city": "Rome"}),
    ]  # fmt: skip
    results = [
        {"role": "tool", "tool_name": call.name, "content": f"⟦{get_weather(**call.arguments)}⟧"}
        for call in calls
    ]
    answer = chat(client, question, asked, *results, stream=stream, tools=[get_weather])
    assert answer.content == "It rains in Rome." and not answer.tool_calls


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("think", [None, True, "low", "medium", "high"])
def test_thoughts_are_apart(client: ollama.Client, think: Any, stream: bool) -> None:
    said = "⟦<think>\nWell.\n</think>\n\nYes.⟧"
    reply = chat(client, user(said), stream=stream, think=think)
    assert (reply.thinking, reply.content) == ("Well.", "Yes.")
    generated = client.generate("m", said, think=think)
    assert (generated.thinking, generated.response) == ("Well.", "Yes.")


def test_thoughts_before_a_call(client: ollama.Client) -> None:
    said = f"⟦<think>Hm.</think>{CALL % 'Rome'}⟧"
    reply = chat(client, user(said), stream=True, tools=[get_weather], think=True)
    assert reply.thinking == "Hm." and len(reply.tool_calls or ()) == 1 and not reply.content


def test_a_template_of_the_request_is_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="template in a request") as refused:
        client.generate("m", "x", template="{{ .Prompt }}")
    assert refused.value.status_code == 400


def test_a_stream_that_breaks_is_an_error(scripted: Serving, client: ollama.Client) -> None:
    pieces = client.generate("m", "⟦ab⟧", options={"ignore_eos": True}, stream=True)
    assert next(pieces).response == "a"
    scripted.kill_runner()
    with pytest.raises(ollama.ResponseError, match="ended by SIGKILL"):
        list(pieces)
