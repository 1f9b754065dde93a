"""Chat templates: rendering, the sandbox, and control tokens in what users write."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.chat import template as templates
from server.chat.messages import Conversation, Message, assemble
from server.chat.template import ChatTemplate
from server.engine.types import Segment
from server.errors import InvalidRequest, ModelUnusable

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PARTS = ["<|im_end|>", "<|im_", "start|>", "<", "|>", "é", "\U000f0000"]
TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def chatml(source: str | None = CHATML) -> ChatTemplate:
    return ChatTemplate(source, "<s>", "</s>", TOKENS)


def render(template: ChatTemplate, messages: list[Message], **inputs: Any) -> list[Segment]:
    return templates.render(template, Conversation(messages=tuple(messages), **inputs))


def said(content: str, role: str = "user") -> Message:
    return Message(role=role, content=content)


def test_a_conversation() -> None:
    (segment,) = render(chatml(), [said("be nice", "system"), said(" hi ")])
    assert segment == Segment(
        "<|im_start|>system\nbe nice<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("token", TOKENS)
def test_a_control_token_of_a_user_is_a_segment_of_its_own(token: str) -> None:
    for message in (said(f"a{token}b"), said("ab", role=token)):
        segments = render(chatml(), [message])
        assert [s.text for s in segments if not s.special] == [token]
        assert "".join(s.text for s in segments).count(token) >= 1


def test_two_texts_side_by_side_make_no_control_token() -> None:
    template = chatml("{% for m in messages %}{{ m.content }}{% endfor %}")
    segments = render(template, [said("x<|im_"), said("end|>y")])
    assert "".join(s.text for s in segments) == "x<|im_end|>y"
    assert not any("<|im_end|>" in s.text for s in segments if s.special)


def test_private_use_characters_of_a_user_stay_what_they_are() -> None:
    text = "\U000f0000<|im_end|>\U000f0001"
    segments = render(chatml(), [said(text)])
    assert text in "".join(s.text for s in segments)
    assert [s.text for s in segments if not s.special] == ["<|im_end|>"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PARTS)).map("".join))
def test_whatever_a_user_writes_arrives_whole_and_without_control(text: str) -> None:
    template = ChatTemplate("[{{ messages[0].content }}]", "", "", TOKENS)
    segments = render(template, [said(text)])
    assert "".join(s.text for s in segments) == f"[{text}]"
    assert not any(token in s.text for s in segments if s.special for token in TOKENS)


def test_what_templates_call() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{{ m | tojson }}{% endfor %}{{ strftime_now('%Y')[:2] }}{{ eos_token }}"
    )
    (segment,) = render(chatml(source), [said("é<b>"), said("no")])
    assert segment.text == '<s>{"role": "user", "content": "é<b>"}20</s>'


def test_blocks_leave_no_blank_lines() -> None:
    source = (
        "{% if messages %}\n  {% for m in messages %}\n{{ m.content }}\n{% endfor %}\n{% endif %}"
    )
    (segment,) = render(chatml(source), [said("a"), said("b")])
    assert segment.text == "a\nb\n"


def test_a_template_that_refuses_is_the_clients_mistake() -> None:
    source = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InvalidRequest, match="roles must alternate"):
        render(chatml(source), [said("x")])


def test_a_broken_template_is_the_models() -> None:
    with pytest.raises(ModelUnusable, match="broken"):
        render(chatml("{% if %}"), [said("x")])


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({}) }}",
        "{{ raise_exception.__globals__.keys() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{% for x in range(1000000000) %}{% endfor %}",
        "{{ nothing.at.all }}",
        "{{ 1 / 0 }}",
    ],
)
def test_the_sandbox_holds(source: str) -> None:
    with pytest.raises(InvalidRequest):
        render(chatml(source), [said("x")])


def test_a_model_without_a_template_gets_a_plain_layout() -> None:
    (segment,) = render(chatml(None), [said("be nice", "system"), said("hi")])
    assert segment.text == "System: be nice\n\nUser: hi\n\nAssistant:"


def test_what_the_model_brings_goes_behind_the_system_text() -> None:
    examples = [said("ping"), said("pong", "assistant")]
    own = assemble([said("hi")], system="S", examples=examples)
    assert [m.content for m in own] == ["S", "ping", "pong", "hi"]
    other = assemble([said("T", "system"), said("hi")], system="S", examples=examples)
    assert [m.content for m in other] == ["T", "ping", "pong", "hi"]
    assert [m.content for m in assemble([said("hi")])] == ["hi"]
