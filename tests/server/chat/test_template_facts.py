"""What a template can do is seen by what it does."""

import pytest

from server.chat.template import ChatTemplate
from server.chat.template_facts import TemplateFacts, describe
from server.errors import ModelUnusable
from tests.support.chat_templates import FAMILIES

THINK = ("<think>", "</think>")
NOTHING = TemplateFacts()


@pytest.mark.parametrize(
    ("source", "facts"),
    [
        (None, NOTHING),
        (FAMILIES["chatml"], NOTHING),
        (FAMILIES["gemma"], NOTHING),
        (FAMILIES["phi"], NOTHING),
        (FAMILIES["parts"], NOTHING),
        (FAMILIES["llama"], TemplateFacts(has_tools=True)),
        (FAMILIES["mistral"], TemplateFacts(has_tools=True)),
        (
            FAMILIES["qwen"],
            TemplateFacts(
                has_tools=True, has_thinking=True, can_disable_thinking=True, thinking_tags=THINK
            ),
        ),
        (
            FAMILIES["deepseek"],
            TemplateFacts(
                has_thinking=True,
                thinking_tags=THINK,
                opens_by_default=True,
                opens_when_on=True,
                opens_when_off=True,
            ),
        ),
        (
            FAMILIES["granite"],
            TemplateFacts(has_thinking=True, can_disable_thinking=True, thinking_tags=THINK),
        ),
        (FAMILIES["gpt_oss"], TemplateFacts(has_tools=True, has_thinking=True, has_effort=True)),
        ("{{ raise_exception('never') }}", NOTHING),
        ("{{ nothing.at.all }}", NOTHING),
    ],
)
def test_facts(source: str | None, facts: TemplateFacts) -> None:
    assert describe(ChatTemplate(source)) == facts


def test_a_template_for_tools_counts() -> None:
    template = ChatTemplate(FAMILIES["command_r"], tool_source=FAMILIES["command_r_tools"])
    assert describe(template).has_tools
    assert not describe(ChatTemplate(FAMILIES["command_r"])).has_tools


def test_thoughts_that_are_open_only_when_they_are_asked_for() -> None:
    source = FAMILIES["chatml"] + "{{ '<think>' if thinking else '</think>' }}"
    facts = describe(ChatTemplate(source))
    assert [facts.starts_inside(asked) for asked in (None, True, False)] == [False, True, False]


def test_other_tags() -> None:
    source = FAMILIES["chatml"] + "{{ 'use [THINK] and [/THINK]' }}"
    assert describe(ChatTemplate(source)).thinking_tags == ("[THINK]", "[/THINK]")


@pytest.mark.parametrize(
    "template", [ChatTemplate("{% if %}"), ChatTemplate("x", tool_source="{{")]
)
def test_a_broken_one_is_told(template: ChatTemplate) -> None:
    with pytest.raises(ModelUnusable, match="broken"):
        describe(template)
