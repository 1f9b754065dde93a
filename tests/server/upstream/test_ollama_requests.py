"""What Ollama is asked for each kind of request."""

from typing import Any

import msgspec
import pytest

from server.api.options import Options, resolve
from server.api.requests import ChatRequest, CompletionRequest, EmbedRequest, Generation, ToolUse
from server.api.resolving import ignored
from server.caller import SERVER
from server.chat.messages import Message
from server.chat.tools import Tool
from server.engine.types import Grammar, Sampling
from server.errors import InvalidRequest, Unsupported
from server.models.name import ModelName
from server.upstream import ollama_requests as asking
from server.upstream.listed import ListedModel
from server.upstream.ollama_forced import as_format
from server.upstream.ollama_shown import info_of

MODEL = ListedModel(
    name=ModelName.parse("m"), upstream_name="m:latest", digest="0" * 64, system="Be kind."
)
USER = Message(role="user", content="Hi")
TOOL = Tool("weather", "Tells it.", {"type": "object", "properties": {"city": {"type": "string"}}})


def chat(*messages: Message, thinks: bool = True, **fields: Any) -> asking.Asked:
    generation = Generation(caller=SERVER, **fields.pop("generation", {}))
    request = ChatRequest(
        model=MODEL, messages=messages or (USER,), generation=generation, **fields
    )
    return asking.chat("m:latest", request, resolve(generation.options), thinks=thinks)


def sent(asked: asking.Asked) -> Any:
    """The body as it goes out."""
    return msgspec.json.decode(msgspec.json.encode(asked.body))


def test_a_conversation_as_a_whole() -> None:
    call = {"id": "call_1", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Look", images=(b"\x89PNG",)),
        Message(role="assistant", thinking="hm", tool_calls=(call,)),
        Message(role="tool", content="12°", tool_name="weather", tool_call_id="call_1"),
    )
    asked = chat(*messages, tool_use=ToolUse(tools=(TOOL,)), think="low")
    body = sent(asked)
    assert asked.path == "/api/chat" and body["stream"] is True and body["think"] == "low"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look", "images": ["iVBORw=="]},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "12°", "tool_name": "weather", "tool_call_id": "call_1"},
    ]
    assert body["tools"][0]["function"]["name"] == "weather"
    assert not {"format", "logprobs", "keep_alive", "num_ctx"} & {*body, *body["options"]}


def test_what_the_model_brings_is_left_to_ollama() -> None:
    assert sent(chat())["messages"] == [{"role": "user", "content": "Hi"}]


def test_thinking_is_not_mentioned_to_a_model_that_cannot() -> None:
    assert "think" not in sent(chat(think=True, thinks=False))
    assert "think" not in sent(chat(think=None))
    assert sent(chat(think=False))["think"] is False


def test_tools_that_must_not_be_called_are_not_shown() -> None:
    assert "tools" not in sent(chat(tool_use=ToolUse(tools=(TOOL,), choice="none")))


def test_one_question_for_its_tokens() -> None:
    system = Message(role="system", content="Be brief.")
    asked = chat(system, Message(role="user", content="Hi", images=(b"x",)), before=(5, 6))
    assert asked.path == "/api/generate"
    body = sent(asked)
    assert body["context"] == [5, 6] and "messages" not in body and "raw" not in body
    assert (body["prompt"], body["system"], body["images"]) == ("Hi", "Be brief.", ["eA=="])
    first = sent(chat(tells_tokens=True))
    assert first["prompt"] == "Hi" and not {"context", "system", "images"} & set(first)


def complete(**fields: Any) -> asking.Asked:
    generation = Generation(caller=SERVER)
    request = CompletionRequest(model=MODEL, generation=generation, **fields)
    return asking.completion("m:latest", request, resolve())


def test_texts() -> None:
    raw, gap = sent(complete(prompt="def")), sent(complete(prompt="def", suffix="end"))
    assert raw["raw"] is True and "suffix" not in raw
    assert gap["suffix"] == "end" and "raw" not in gap


@pytest.mark.parametrize("prompt", ["", (1, 2)])
def test_texts_that_ollama_would_not_go_on_from(prompt: Any) -> None:
    with pytest.raises(Unsupported):
        complete(prompt=prompt)


def test_embeddings() -> None:
    generation = Generation(caller=SERVER, truncate=False)
    request = EmbedRequest(model=MODEL, inputs=("a", "b"), dimensions=8, generation=generation)
    assert asking.embedding("m:latest", request) == {
        "model": "m:latest", "input": ["a", "b"], "truncate": False, "dimensions": 8,
    }  # fmt: skip
    with pytest.raises(Unsupported):
        asking.embedding("m", msgspec.structs.replace(request, inputs=((1,),)))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"num_predict": -1, "num_keep": 4, "repeat_penalty": 1.0, "top_k": 40}),
        ({"num_predict": 0}, {"num_predict": 1}),
        ({"num_predict": 7, "stop": ("a", "b")}, {"num_predict": 7, "stop": ["a", "b"]}),
        ({"seed": 5, "temperature": 0.0}, {"seed": 5, "temperature": 0.0}),
        ({"mirostat": 2}, {"mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1}),
    ],
)
def test_options(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    found = asking.options(resolve(Options(**asked)))
    assert found | expected == found


def test_options_that_are_left_out() -> None:
    found = asking.options(resolve(Options(num_ctx=99, ignore_eos=True, top_n_sigma=1.0)))
    assert set(found) == {
        "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "repeat_penalty",
        "presence_penalty", "frequency_penalty", "num_predict", "num_keep",
    }  # fmt: skip


def test_every_field_of_sampling_is_sent_or_told_to_be_ignored() -> None:
    sent_ones = asking.options(resolve(Options(seed=1, mirostat=1)))
    known = {*sent_ones, *asking.IGNORED_OPTIONS}
    assert set(Sampling.__struct_fields__) <= known
    told = ignored(Sampling(ignore_eos=True, dry_multiplier=0.8), info_of(MODEL, None))
    assert set(told) == {"ignore_eos", "dry_multiplier"}


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        (Grammar("json"), "json"),
        (Grammar("schema", '{"type":"object","b":1,"a":2}'), {"type": "object", "b": 1, "a": 2}),
    ],
)
def test_formats(grammar: Grammar, expected: Any) -> None:
    assert sent(chat(generation={"format": grammar}))["format"] == expected


@pytest.mark.parametrize("kind", ["regex", "lark", "gbnf"])
def test_formats_that_ollama_has_not(kind: Any) -> None:
    with pytest.raises(Unsupported, match=f"JSON only, not to a grammar .{kind}."):
        chat(generation={"format": Grammar(kind, "x")})


def test_logprobs() -> None:
    body = sent(chat(generation={"top_logprobs": 0}))
    assert body["logprobs"] is True and body["top_logprobs"] == 0
    with pytest.raises(Unsupported):
        chat(generation={"top_logprobs": 21})


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, {}), (0, {"keep_alive": 0}), (float("inf"), {"keep_alive": -1})],
)
def test_how_long_a_model_stays(seconds: float | None, expected: dict[str, Any]) -> None:
    assert asking.kept(seconds) == expected


def forced(*tools: Tool, name: str = "", messages: tuple[Message, ...] = (USER,)) -> ChatRequest:
    tool_use = ToolUse(tools=tools, choice="required", name=name)
    generation = Generation(caller=SERVER)
    return as_format(
        ChatRequest(model=MODEL, messages=messages, tool_use=tool_use, generation=generation)
    )


def schema_of(request: ChatRequest) -> Any:
    assert request.generation.format is not None and request.generation.format.kind == "schema"
    return msgspec.json.decode(request.generation.format.text)


def test_a_call_that_must_be_made_is_a_format() -> None:
    request = forced(TOOL)
    system, user = request.messages
    assert system.content.startswith("Be kind.\n\n") and "Tells it." in system.content
    assert user is USER and request.tool_use.tools == ()
    schema = schema_of(request)
    assert schema["properties"]["name"] == {"enum": ["weather"]}
    assert schema["properties"]["arguments"]["properties"] == {"city": {"type": "string"}}
    own = forced(TOOL, messages=(Message(role="system", content="Mine."), USER))
    assert own.messages[0].content.startswith("Mine.\n\n") and len(own.messages) == 2


def test_one_of_several_functions() -> None:
    other = Tool("other")
    variants = schema_of(forced(TOOL, other))["anyOf"]
    assert [each["properties"]["name"]["enum"] for each in variants] == [["weather"], ["other"]]
    named = schema_of(forced(TOOL, other, name="other"))
    assert named["properties"]["name"] == {"enum": ["other"]}
    with pytest.raises(InvalidRequest, match="there is no tool 'third'"):
        forced(TOOL, name="third")


def referring(name: str, reference: str, **definitions: Any) -> Tool:
    schema = {"type": "object", "properties": {"a": {"$ref": reference}}, "$defs": definitions}
    return Tool(name, parameters=schema)


def test_what_arguments_refer_to_stands_at_the_top() -> None:
    one = referring("one", "#/$defs/City", City={"type": "string"})
    schema = schema_of(forced(one, TOOL))
    assert schema["$defs"] == {"City": {"type": "string"}}
    assert "$defs" not in schema["anyOf"][0]["properties"]["arguments"]
    assert one.parameters["$defs"], "the tool itself stays as it was"


@pytest.mark.parametrize(
    "tools",
    [
        [referring("one", "#")],
        [referring("one", "https://example.com/x")],
        [referring("one", "#/$defs/A", A={}), referring("two", "#/$defs/A", A={"type": "null"})],
    ],
)
def test_schemas_that_cannot_stand_in_another(tools: list[Tool]) -> None:
    with pytest.raises(Unsupported):
        forced(*tools)
