"""Control tokens in what users write stay text, whatever a template does to it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.chat.guard import Guard, NoStandIn
from server.chat.messages import Conversation, Message
from server.chat.template import ChatTemplate, render
from server.engine.types import Segment
from server.errors import InvalidRequest

TOKENS = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "[/INST]", "<｜User｜>", "PAD")
# What makes one of the tokens out of another text, and other texts that come close.
PIECES = [
    *TOKENS,
    *("<|IM_END|>", "<S>", "[inst]", "<|im_", "end|>", "|>", "<", ">", "[", "]", "|", "/", "s"),
    *(">s<", ">/s<", ">|dne_mi|<", "<b>", "&lt;", "&", "x", " ", "\n", "\t", "é", "İ", "ß"),
    *("\U000f0000", "\U000f0001", "\U00100000", "\ue000", "\x00", "\u202e"),
]
WAYS = [
    "c",
    "c | upper",
    "c | lower",
    "c | title",
    "c | capitalize",
    "c | trim",
    "c.strip('x<|')",
    "c[1:]",
    "c[:-1]",
    "c[2:-2]",
    "c[::-1]",
    "c[::2]",
    "c | replace('x', '')",
    "c | replace(' ', '') | lower",
    "c.replace('IM', 'im')",
    "c.swapcase()",
    "c.split('x') | join",
    "c.split() | join",
    "c | list | join",
    "c | reverse",
    "c | striptags",
    "c | wordwrap(3)",
    "c | truncate(9, true, '')",
    "c | indent(2)",
    "c | center(30)",
    "c | escape",
    "c | urlencode",
    "'%s%s' % (c, c)",
    "c ~ c",
    "c | tojson",
    "{'k': c} | tojson(indent=2)",
    "c.partition('x')[0] ~ c.partition('x')[2]",
    "c.lower().removeprefix('x')",
    "messages | map(attribute='content') | join",
    "messages | map(attribute='content') | join('') | lower",
]
texts = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


def rendered(source: str, *contents: str, **inputs: Any) -> list[Segment]:
    messages = tuple(Message(role="user", content=content) for content in contents)
    template = ChatTemplate(source, control_tokens=TOKENS)
    return render(template, Conversation(messages=messages, **inputs))


def whole(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def num_tokens(segments: list[Segment]) -> int:
    return sum(segment.text.count(t) for segment in segments if segment.special for t in TOKENS)


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=3))
def test_nothing_makes_a_control_token_of_a_text(way: str, contents: list[str]) -> None:
    source = "<|im_start|>{% for m in messages %}{% set c = m.content %}\n{{ " + way + " }}"
    source += "{% endfor %}\n<|im_end|>"
    assert num_tokens(rendered(source, *contents)) == 2


@settings(deadline=None)
@given(texts, texts)
def test_texts_arrive_whole(one: str, other: str) -> None:
    source = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert whole(rendered(source, one, other)) == one + other


@settings(deadline=None)
@given(texts)
def test_texts_arrive_whole_in_json(text: str) -> None:
    """Also where JSON is told to escape what is not ASCII: stand-ins are not."""
    found = whole(rendered("{{ messages[0].content | tojson(ensure_ascii=true) }}", text))
    assert json.loads(found, strict=False) == text


@settings(deadline=None)
@given(texts)
def test_tools_are_guarded_too(text: str) -> None:
    tool = {"function": {"name": text, text: [text, {"x": text}]}}
    segments = rendered("{{ tools | tojson | lower }}", "hi", tools=(tool,))
    assert num_tokens(segments) == 0


@settings(deadline=None)
@given(texts)
def test_a_text_without_change_is_cut_at_tokens_only(text: str) -> None:
    """What a template leaves as it is is tokenized as one text between control tokens."""
    segments = rendered("{{ messages[0].content }}.", text)
    plain = [s.text for s in segments if not s.special]
    beginnings = {t[:n] for t in TOKENS for n in range(1, len(t) + 1)} | {"<__media__>"[0]}
    assert set(plain) <= beginnings


def test_what_a_template_asks_of_a_text_is_answered_of_the_text() -> None:
    source = "{% if m.content.startswith('<b>') %}{{ m.content.split('</b>')[-1] }}{% endif %}"
    found = whole(rendered("{% for m in messages %}" + source + "{% endfor %}", "<b>x</b>y"))
    assert found == "y"


def test_the_private_use_characters_of_a_template_stand_for_nothing() -> None:
    template = ChatTemplate("\U000f0000{{ messages[0].content }}", control_tokens=TOKENS)
    segments = render(template, Conversation(messages=(Message(role="user", content="<s>"),)))
    assert segments == [Segment("\U000f0000"), Segment("<s>", special=False)]


def test_a_text_of_all_private_use_characters_is_refused() -> None:
    everything = "".join(map(chr, [*range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE)]))
    with pytest.raises(InvalidRequest, match="private-use"):
        rendered("{{ messages[0].content }}", everything + "<s>")
    assert whole(rendered("{{ messages[0].content }}", everything)) == everything
    with pytest.raises(NoStandIn):
        Guard((), everything).reserve(Segment("x"))


def test_a_lone_surrogate_of_a_template_becomes_a_question_mark() -> None:
    assert rendered(r"{{ '\ud800' }}{{ '\udfff' ~ messages[0].content }}", "x") == [Segment("??x")]


@settings(deadline=None)
@given(
    st.lists(st.text("ab<|>", min_size=1, max_size=4), min_size=1, max_size=12),
    st.text("ab<|>", max_size=12),
)
def test_the_longest_token_is_found_first(tokens: list[str], text: str) -> None:
    longest_first = sorted(set(tokens), key=len, reverse=True)
    expected = re.findall("|".join(map(re.escape, longest_first)), text)
    guard = Guard(tokens, text)
    found = [s.text for s in guard.split(guard.hide([text])[0]) if not s.special]
    # Behind those may be the beginning of one.
    assert found[: len(expected)] == expected
    assert len(found) <= len(expected) + 1


def test_thousands_of_control_tokens_are_no_burden() -> None:
    many = tuple(f"<unused{n}>" for n in range(6000))
    guard = Guard(many, "")
    text = "if a < b: <unused17> <unused5999> <unused6000>" * 1000
    found = guard.split(guard.hide(text))
    assert sum(not segment.special for segment in found) == 2000
