"""Conversations in the forms that the templates of the families want them in."""

import json
from datetime import datetime
from typing import Any

import pytest

from server.chat.messages import IMAGE_MARKER, Conversation, Message
from server.chat.template import ChatTemplate, render
from server.errors import InvalidRequest
from tests.support.chat_templates import FAMILIES

ALL = [name for name in FAMILIES if not name.endswith("_tools")]
CAN_CALL = ["qwen", "llama", "mistral", "deepseek", "gpt_oss"]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def template(name: str) -> ChatTemplate:
    tools = FAMILIES.get(f"{name}_tools")
    return ChatTemplate(FAMILIES[name], "<bos>", "<eos>", ("<bos>", "<eos>"), tools)


def text(name: str, *messages: Message, **inputs: Any) -> str:
    """The whole prompt."""
    segments = render(template(name), Conversation(messages=messages, **inputs))
    return "".join(segment.text for segment in segments)


def system(content: str) -> Message:
    return Message(role="system", content=content)


def user(content: str, images: int = 0) -> Message:
    return Message(role="user", content=content, images=(b"",) * images)


def assistant(content: str = "", **more: Any) -> Message:
    return Message(role="assistant", content=content, **more)


def call(arguments: object, **more: Any) -> dict[str, Any]:
    return {"function": {"name": "get_weather", "arguments": arguments}, **more}


@pytest.mark.parametrize("name", ALL)
def test_a_conversation_comes_through(name: str) -> None:
    found = text(name, system("Be kind."), user("Hi."), assistant("Hello!"), user("Bye."))
    assert [found.count(each) for each in ("Be kind.", "Hi.", "Hello!", "Bye.")] == [1, 1, 1, 1]
    places = [found.index(each) for each in ("Hi.", "Hello!", "Bye.")]
    assert places == sorted(places)
    assert "None" not in found and "Undefined" not in found and "'type'" not in found


@pytest.mark.parametrize("name", ALL)
def test_several_messages_of_one_role_come_through(name: str) -> None:
    said = [system("S1"), user("U1"), user("U2"), assistant("A1"), assistant("A2"), user("U3")]
    found = text(name, *said)
    assert all(found.count(message.content) == 1 for message in said)


@pytest.mark.parametrize("name", ALL)
def test_a_system_text_in_the_middle_comes_through_where_it_may(name: str) -> None:
    found = text(name, user("U1"), assistant("A1"), system("S1"), user("U2"))
    assert found.count("S1") == 1


@pytest.mark.parametrize("name", CAN_CALL)
@pytest.mark.parametrize("arguments", [{"city": "Köln"}, '{"city": "Köln"}'])
@pytest.mark.parametrize("own_id", [None, "call_12345678"])
def test_calls_and_results_come_through(name: str, arguments: object, own_id: str | None) -> None:
    asked = call(arguments, id=own_id) if own_id else call(arguments)
    found = text(
        name,
        user("How is it in Köln?"),
        assistant(tool_calls=(asked,)),
        Message(role="tool", content="rain", tool_name="get_weather", tool_call_id=own_id or ""),
        tools=(WEATHER,),
    )
    assert '{"city": "Köln"}' in found or '{"city": "Köln", "id"' in found
    assert found.index("get_weather") < found.index('"Köln"') < found.rindex("rain")
    assert "None" not in found and "\\u" not in found


@pytest.mark.parametrize("name", [*CAN_CALL, "command_r"])
def test_tools_come_through_unless_the_template_knows_none(name: str) -> None:
    assert ("get_weather" in text(name, user("hi"), tools=(WEATHER,))) == (name != "deepseek")


def test_calls_of_several_turns_keep_their_results_apart() -> None:
    found = text(
        "mistral",
        user("hi"),
        assistant(tool_calls=(call({"city": "A"}), call({"city": "B"}))),
        Message(role="tool", content="1"),
        Message(role="tool", content="2"),
        assistant("well"),
        user("and?"),
        assistant(tool_calls=(call({"city": "C"}, id="abcdefghi"),)),
        Message(role="tool", content="3", tool_call_id="abcdefghi"),
    )
    calls = [piece.split('"')[0] for piece in found.split('"id": "')[1:]]
    results = [piece.split('"')[0] for piece in found.split('"call_id": "')[1:]]
    assert calls == results and len(set(calls)) == 3
    assert calls[2] == "abcdefghi"


def test_arguments_that_are_no_object_arrive_as_they_are() -> None:
    for arguments, written in (("not json", '"not json"'), ([1], "[1]"), (None, "{}")):
        found = text("qwen", user("hi"), assistant(tool_calls=(call(arguments),)))
        assert f'"arguments": {written}' in found


def test_a_call_without_a_function_is_taken_for_one() -> None:
    bare = {"name": "get_weather", "arguments": {}}
    assert "get_weather" in text("qwen", user("hi"), assistant(tool_calls=(bare,)))


def test_a_template_that_takes_one_call_refuses_two() -> None:
    two = (call({"city": "A"}), call({"city": "B"}))
    with pytest.raises(InvalidRequest, match="one call at a time"):
        text("llama", user("hi"), assistant(tool_calls=two))


def test_earlier_thoughts_come_through_where_they_may() -> None:
    said = assistant("text", thinking="thought", tool_calls=(call({}),))
    assert "<think>\nthought\n</think>" in text("qwen", user("hi"), said)
    assert "thought" in text(
        "gpt_oss", user("hi"), assistant(thinking="thought", tool_calls=said.tool_calls)
    )
    # This one takes no thought beside a text, so the text is what stays.
    found = text("gpt_oss", user("one"), user("two"), said)
    assert "thought" not in found and "<|message|>one<|end|>" in found


@pytest.mark.parametrize(
    ("name", "inputs", "written"),
    [
        ("qwen", {"thinking": False}, "<think>\n\n</think>\n\n"),
        ("qwen", {"thinking": True}, "<|im_start|>assistant\n"),
        ("qwen", {}, "<|im_start|>assistant\n"),
        ("gpt_oss", {"effort": "high"}, "<|start|>assistant"),
    ],
)
def test_how_a_prompt_ends(name: str, inputs: dict[str, Any], written: str) -> None:
    assert text(name, user("hi"), **inputs).endswith(written)


def test_thinking_has_the_name_that_the_template_gives_it() -> None:
    assert "Reasoning: medium" in text("gpt_oss", user("hi"))
    assert "Reasoning: low" in text("gpt_oss", user("hi"), effort="low")
    assert "<think>" in text("granite", user("hi"), thinking=True)
    assert "<think>" not in text("granite", user("hi"), thinking=False)
    assert "<think>" not in text("granite", user("hi"))


def test_today_is_the_date_that_a_template_asks_for() -> None:
    today = datetime.now().astimezone()
    assert f"Today Date: {today:%d %b %Y}" in text("llama", user("hi"))


def test_a_refused_system_text_is_put_into_the_first_turn() -> None:
    found = text("gemma", system("Be kind."), user("Hi."))
    assert found == (
        "<bos><start_of_turn>user\nBe kind.\n\nHi.<end_of_turn>\n<start_of_turn>model\n"
    )
    assert "user\nBe kind.<end" in text("gemma", system("Be kind."))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("begun", ["Once upon", "Once upon ", "\n- one\n", "A</think>B"])
def test_a_reply_goes_on_from_where_it_was_begun(name: str, begun: str) -> None:
    found = text(name, system("S"), user("Tell me."), assistant(begun), prefill=True)
    assert found.endswith(begun.split("</think>")[-1].lstrip("\n"))
    assert found.count("Tell me.") == 1
    closed = text(name, system("S"), user("Tell me."), assistant("Once upon"), user("x"))
    assert not closed.endswith("Once upon")


def test_only_an_assistant_begins_a_reply() -> None:
    assert text("chatml", user("hi"), prefill=True) == text("chatml", user("hi"))
    asked = [user("hi"), assistant(tool_calls=(call({}),))]
    assert text("qwen", *asked, prefill=True) == text("qwen", *asked)


def test_the_beginning_of_a_reply_that_a_template_leaves_out_is_put_behind_the_prompt() -> None:
    source = "{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}A:"
    said = Conversation(messages=(user("hi"), assistant("<eos>So ")), prefill=True)
    segments = render(ChatTemplate(source, control_tokens=("<eos>",)), said)
    assert [(s.text, s.special) for s in segments] == [("[hi]A:", True), ("<eos>So ", False)]


def test_a_reply_goes_on_from_the_last_place_where_it_stands() -> None:
    source = "{% for m in messages %}({{ m.content }}|{{ m.content }}){% endfor %}"
    said = Conversation(messages=(user("hi"), assistant("So")), prefill=True)
    segments = render(ChatTemplate(source), said)
    assert [segment.text for segment in segments] == ["(hi|hi)(So", "|So"]


@pytest.mark.parametrize("name", ALL)
def test_an_image_is_a_segment_of_its_own_in_front_of_its_text(name: str) -> None:
    said = Conversation(messages=(user(f"one {IMAGE_MARKER}", 1), assistant("A"), user("two", 2)))
    segments = render(template(name), said)
    marks = [at for at, s in enumerate(segments) if s.special and s.text == IMAGE_MARKER]
    assert len(marks) == 3
    assert segments[marks[0] + 1].text.startswith("one ")
    assert marks[2] == marks[1] + 1
    assert segments[marks[2] + 1].text.startswith("two")
    # What a user writes is no image.
    assert sum(s.text == IMAGE_MARKER and not s.special for s in segments) == 1


def test_the_template_for_tools_is_taken_for_tools() -> None:
    assert "def get_weather" in text("command_r", user("hi"), tools=(WEATHER,))
    assert "def " not in text("command_r", user("hi"))
    plain = ChatTemplate(None, tool_source="{{ tools | tojson }}")
    [segment] = render(plain, Conversation(messages=(user("hi"),), tools=(WEATHER,)))
    assert json.loads(segment.text) == [WEATHER]
    [segment] = render(plain, Conversation(messages=(user("hi"),)))
    assert segment.text == "User: hi\n\nAssistant:"


def test_roles_make_the_tokens_that_the_template_makes_of_them() -> None:
    tokens = ("<|user|>", "<|assistant|>", "<|end|>")
    said = Conversation(messages=(user("a < b | c > d"),))
    segments = render(ChatTemplate(FAMILIES["phi"], control_tokens=tokens), said)
    assert [(s.text, s.special) for s in segments] == [
        ("<|user|>a < b | c > d<|end|><|assistant|>", True)
    ]
