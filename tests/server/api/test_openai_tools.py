"""Thoughts and calls of OpenAI's chats, said by the fake engine and read by the real parsers."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageCustomToolCall
from pydantic import BaseModel

from server.models.store import Store
from tests.support.chat_templates import FAMILIES
from tests.support.ports import free_port
from tests.support.serving import TEMPLATE_VARIABLE, Serving, write_gguf

TEMPLATE = FAMILIES["qwen"]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
OTHER = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


MAP: Any = {"type": "function", "function": {"name": "map", "parameters": {"type": "object"}}}
NOTE: Any = {"type": "custom", "custom": {"name": "note", "description": "Writes"}}
A_NOTE = '<tool_call>\n{"name": "note", "arguments": {"input": "a\\n\\"b\\""}}\n</tool_call>'


class Weather(BaseModel):
    """The arguments, as a user of the client's helpers has them."""

    city: str


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server whose model has tools and thinking by its template."""
    folder = tmp_path_factory.mktemp("thinker")
    weights = write_gguf(folder / "m.gguf", fields={"tokenizer.chat_template": TEMPLATE})
    Store(folder / "models").add_file("m", weights)
    args = ["--models", str(folder / "models"), "--preload", "m"]
    with Serving(folder, free_port(), args=args, env={TEMPLATE_VARIABLE: TEMPLATE}) as server:
        yield server


@pytest.fixture
def client(thinker: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{thinker.url}/v1", api_key="none", max_retries=0) as client:
        yield client


Ask = Callable[..., Any]


def whole(client: openai.OpenAI, said: str, **fields: Any) -> Any:
    """The choice of a whole reply in which the model says `said`."""
    return client.chat.completions.create(**asked(said), **fields).choices[0]


def streamed(client: openai.OpenAI, said: str, **fields: Any) -> Any:
    """The same from a stream, as the client puts it together."""
    with client.chat.completions.stream(**asked(said), **fields) as stream:
        for _ in stream:
            pass
    return stream.get_final_completion().choices[0]


def asked(said: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": f"⟦{said}⟧"}]}


@pytest.fixture(params=[whole, streamed], ids=["whole", "streamed"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Either way to ask."""
    found: Ask = request.param
    return found


def arguments(choice: Any) -> list[tuple[str, Any]]:
    return [(c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls]


def test_a_call(client: openai.OpenAI, ask: Ask) -> None:
    choice = ask(client, CALL, tools=[WEATHER])
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert arguments(choice) == [("weather", {"city": "Rome"})]
    (call,) = choice.message.tool_calls
    assert call.id.startswith("call_") and call.type == "function"


def test_words_and_several_calls(client: openai.OpenAI, ask: Ask) -> None:
    choice = ask(client, f"I look.\n{CALL}\n{OTHER}", tools=[WEATHER])
    assert choice.message.content == "I look."
    assert [city["city"] for _, city in arguments(choice)] == ["Rome", "Oslo"]
    assert len({call.id for call in choice.message.tool_calls}) == 2


def test_one_call_where_more_are_not_wanted(client: openai.OpenAI, ask: Ask) -> None:
    choice = ask(client, CALL + OTHER, tools=[WEATHER], parallel_tool_calls=False)
    assert arguments(choice) == [("weather", {"city": "Rome"})]


def test_no_call_without_tools_or_where_none_is_wanted(client: openai.OpenAI, ask: Ask) -> None:
    for fields in ({}, {"tools": [WEATHER], "tool_choice": "none"}):
        choice = ask(client, CALL, **fields)
        assert choice.message.content == CALL and not choice.message.tool_calls
        assert choice.finish_reason == "stop"


def test_thoughts(client: openai.OpenAI, ask: Ask) -> None:
    choice = ask(client, "<think>\ntwo and two\n</think>\n\n4")
    assert choice.message.content == "4"
    assert choice.message.reasoning.strip() == "two and two"


def test_tokens_of_thoughts_are_counted(client: openai.OpenAI) -> None:
    """With their tags; one byte is one token here, and the end another."""
    thought = "<think>hm</think>"
    usage = client.chat.completions.create(**asked(f"{thought}4"), n=2).usage
    assert usage is not None and usage.completion_tokens_details is not None
    assert usage.completion_tokens == 2 * len(f"{thought}4.")
    assert usage.completion_tokens_details.reasoning_tokens == 2 * len(thought)


def test_thoughts_then_a_call(client: openai.OpenAI, ask: Ask) -> None:
    choice = ask(client, f"<think>hm</think>{CALL}", tools=[WEATHER], reasoning_effort="high")
    assert choice.message.reasoning == "hm" and choice.finish_reason == "tool_calls"


def test_a_reply_that_is_cut_in_a_thought(client: openai.OpenAI) -> None:
    choice = whole(client, "<think>hmmmmmm</think>4", max_tokens=10)
    assert choice.finish_reason == "length"
    assert choice.message.content == "" and choice.message.reasoning.startswith("hm")


def test_a_function_call_of_old(client: openai.OpenAI) -> None:
    functions: Any = [WEATHER["function"]]
    choice = whole(client, CALL + OTHER, functions=functions)
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
    assert choice.message.function_call.name == "weather"
    assert json.loads(choice.message.function_call.arguments) == {"city": "Rome"}


def test_the_client_parses_the_arguments(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Weather, name="weather")
    reply = client.chat.completions.parse(**asked(CALL), tools=[tool])
    (call,) = reply.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == Weather(city="Rome")


def test_each_choice_has_its_calls(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**asked(CALL + OTHER), tools=[WEATHER], n=2)
    for choice in reply.choices:
        assert len(choice.message.tool_calls or []) == 2
        assert choice.finish_reason == "tool_calls"


def prompt_of(server: Serving, messages: Any) -> str:
    """What the template makes of a conversation."""
    with server.client() as http:
        body = {"model": "m", "messages": messages}
        tokens = http.post("/tokenize", json=body).json()["tokens"]
        told = http.post("/detokenize", json={"model": "m", "tokens": tokens}).json()
    text: str = told["content"]
    return text


def test_a_conversation_with_calls_and_thoughts_reaches_the_template(
    thinker: Serving, client: openai.OpenAI
) -> None:
    first = whole(client, f"<think>hm</think>{CALL}", tools=[WEATHER]).message
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"},
    ]
    text = prompt_of(thinker, messages)
    assert "<|im_start|>system\nBe brief.<|im_end|>" in text
    assert "<think>\nhm\n</think>" in text
    assert '{"name": "weather", "arguments": {"city": "Rome"}}' in text
    assert "<tool_response>\nsunny\n</tool_response>" in text


def test_what_is_told_of_the_tools(client: openai.OpenAI) -> None:
    """A model that is told of tools reads a longer prompt; with "none" it is not told."""

    def read(**fields: Any) -> int:
        reply = client.chat.completions.create(**asked("x"), **fields)
        assert reply.usage is not None
        tokens: int = reply.usage.prompt_tokens
        return tokens

    plain = read()
    assert read(tools=[WEATHER]) > plain + 100
    assert read(tools=[WEATHER], tool_choice="none") == plain
    off = read(reasoning_effort="none")
    assert off > plain, "an empty thought"
    assert read(extra_body={"chat_template_kwargs": {"enable_thinking": False}}) == off


def allowed(mode: str, *tools: Any) -> Any:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_only_what_is_allowed_is_told_and_called(client: openai.OpenAI, ask: Ask) -> None:
    tools = [WEATHER, MAP, NOTE]
    only_weather = {"tools": tools, "tool_choice": allowed("auto", WEATHER)}
    assert arguments(ask(client, CALL, **only_weather)) == [("weather", {"city": "Rome"})]
    pointer = {"type": "function", "function": {"name": "map"}}
    others = {"tools": tools, "tool_choice": allowed("auto", pointer, NOTE)}
    choice = ask(client, CALL, **others)
    assert choice.message.content == CALL and not choice.message.tool_calls
    told = client.chat.completions.create(**asked("x"), **only_weather).usage
    assert told == client.chat.completions.create(**asked("x"), tools=[WEATHER]).usage
    with pytest.raises(openai.BadRequestError, match="knows no grammars"):
        ask(client, CALL, tools=tools, tool_choice=allowed("required", WEATHER))


def test_a_call_of_a_custom_tool(client: openai.OpenAI) -> None:
    choice = whole(client, A_NOTE + CALL, tools=[WEATHER, NOTE])
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    note, weather = choice.message.tool_calls
    assert (note.type, note.custom.name, note.custom.input) == ("custom", "note", 'a\n"b"')
    assert (weather.type, weather.function.name) == ("function", "weather")
    assert ChatCompletionMessageCustomToolCall.model_validate(note.to_dict()) == note


def test_a_call_of_a_custom_tool_in_a_stream(client: openai.OpenAI) -> None:
    """Its client has no type for such a delta, and tells what came."""
    deltas = [
        chunk.choices[0].delta.to_dict()
        for chunk in client.chat.completions.create(**asked(A_NOTE), tools=[NOTE], stream=True)
    ]
    (call,) = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert call.pop("id").startswith("call_")
    assert call == {"index": 0, "type": "custom", "custom": {"name": "note", "input": 'a\n"b"'}}


def test_a_custom_call_and_its_output_reach_the_template(
    thinker: Serving, client: openai.OpenAI
) -> None:
    first = whole(client, A_NOTE, tools=[NOTE]).message
    messages: Any = [
        {"role": "user", "content": "Note it."},
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "noted"},
    ]
    text = prompt_of(thinker, messages)
    assert A_NOTE in text and "<tool_response>\nnoted\n</tool_response>" in text


def test_logprobs_cover_thoughts_and_calls(client: openai.OpenAI) -> None:
    choice = whole(client, f"<think>hm</think>{CALL}", tools=[WEATHER], logprobs=True)
    text = "".join(one.token for one in choice.logprobs.content)
    assert text == f"<think>hm</think>{CALL}"
