"""What a model with random weights shows: calls that must be made, which nothing but the grammar
makes, and gaps between two texts."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from server.models.store import Store
from tests.support.chat_templates import FAMILIES
from tests.support.ports import free_port
from tests.support.serving import Serving
from tests.support.tiny_llama import write_tiny_llama

CITIES = ["Rome", "Oslo"]


def tool(name: str, values: list[str]) -> Any:
    """A function with one argument of a few values, so that noise comes to an end."""
    parameters = {
        "type": "object",
        "properties": {"value": {"enum": values}},
        "required": ["value"],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS: Any = [tool("weather", CITIES), tool("map", ["small", "large"])]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("noise")
    weights = write_tiny_llama(folder / "m.gguf", context=4096, templates={"": FAMILIES["qwen"]})
    Store(folder / "models").add_file("m", weights)
    args = ["--models", str(folder / "models"), "--preload", "m", "--context", "4096"]
    with Serving(folder, free_port(), args=args, fake=False) as server:
        yield server


@pytest.fixture
def client(endpoint: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def choices(client: openai.OpenAI, **fields: Any) -> list[Any]:
    messages: Any = [{"role": "user", "content": "Weather?"}]
    reply = client.chat.completions.create(
        model="m", messages=messages, reasoning_effort="none", max_tokens=300, seed=1, **fields
    )
    found: list[Any] = list(reply.choices)
    return found


def test_a_call_that_must_be_made(client: openai.OpenAI) -> None:
    asked: Any = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "n": 4}
    for choice in choices(client, **asked):
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        (value,) = json.loads(call.function.arguments).values()
        assert value in (CITIES if call.function.name == "weather" else ["small", "large"])


def test_a_call_of_one_function(client: openai.OpenAI) -> None:
    named: Any = {"type": "function", "function": {"name": "map"}}
    asked: Any = {"tools": TOOLS, "tool_choice": named, "parallel_tool_calls": False, "n": 4}
    for choice in choices(client, **asked):
        (call,) = choice.message.tool_calls
        assert call.function.name == "map"


def test_a_call_of_one_that_is_allowed(client: openai.OpenAI) -> None:
    only: Any = {"mode": "required", "tools": [TOOLS[1]]}
    chosen: Any = {"type": "allowed_tools", "allowed_tools": only}
    asked: Any = {"tools": TOOLS, "tool_choice": chosen, "parallel_tool_calls": False, "n": 4}
    for choice in choices(client, **asked):
        (call,) = choice.message.tool_calls
        assert call.function.name == "map"


def test_a_custom_tool_that_must_be_called(endpoint: Serving, client: openai.OpenAI) -> None:
    """Noise ends its text if quotes are made likely."""
    with endpoint.client() as http:
        (quote,) = http.post("/tokenize", json={"content": '"', "add_special": False}).json()[
            "tokens"
        ]
    note: Any = {"type": "custom", "custom": {"name": "note"}}
    asked: Any = {"tools": [*TOOLS, note], "tool_choice": note, "parallel_tool_calls": False}
    (choice,) = choices(client, logit_bias={str(quote): 8}, **asked)
    (call,) = choice.message.tool_calls
    assert (call.type, call.custom.name) == ("custom", "note")
    assert isinstance(call.custom.input, str) and choice.finish_reason == "tool_calls"


def test_a_function_of_old_that_must_be_called(client: openai.OpenAI) -> None:
    asked: Any = {"functions": [TOOLS[0]["function"]], "function_call": {"name": "weather"}}
    (choice,) = choices(client, **asked)
    assert choice.finish_reason == "function_call"
    assert json.loads(choice.message.function_call.arguments)["value"] in CITIES


def test_a_format_of_a_model_that_could_think(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": CITIES}}}
    (choice,) = choices(client, response_format=form)
    assert json.loads(choice.message.content) in CITIES


def test_a_gap_between_two_texts(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="m", prompt="ab", suffix="c", max_tokens=4)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 1 + 1 + 3, "ab is one token, and three tell the parts"
