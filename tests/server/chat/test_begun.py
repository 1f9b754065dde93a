"""Replies that go on from words of their own: those are known, and are not told again."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.chat.begun import Begun
from server.chat.parts import Content, Part, Thought, joined
from server.chat.reply import ReplyParser
from server.chat.tools import Tool, ToolCall
from tests.server.chat.templates import FAMILIES
from tests.server.chat.tools_on_offer import TOOLS

THINKING = Begun(is_thinking=True)
FINAL = "<|channel|>final<|message|>"
ANALYSIS = "<|channel|>analysis<|message|>"


def parser(
    name: str, *, is_thinking: bool = False, knows_tags: bool = True, tools: tuple[Tool, ...] = ()
) -> ReplyParser:
    return ReplyParser(
        FAMILIES[name], tools=tools, is_thinking=is_thinking, expects_thinking=knows_tags
    )


def rest(reader: ReplyParser, pieces: Iterable[str]) -> list[Part]:
    return joined([*(p for piece in pieces for p in reader.feed(piece)), *reader.finish()])


@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "in letters"])
@pytest.mark.parametrize(
    ("words", "begun", "said", "parts"),
    [
        ("", Begun(), "<think>hm</think>ab", [Thought("hm"), Content("ab")]),
        ("  ", Begun(), "ab", [Content("ab")]),
        ("<think>", THINKING, "\nhm</think>\n\nab", [Thought("hm"), Content("ab")]),
        ("<think>\nI", THINKING, " see</think>ab", [Thought(" see"), Content("ab")]),
        ("<think>I ", THINKING, "see</think>ab", [Thought("see"), Content("ab")]),
        ("<think>I", THINKING, " see", [Thought(" see")]),
        ("\n<think>I</thi", THINKING, "nk>ab", [Content("ab")]),
        ("\n<think>I</thi", THINKING, "rd</think>ab", [Thought("rd"), Content("ab")]),
        ("\n<think>I</thi", THINKING, "</think>ab", [Content("ab")]),
        ("\n<think>I</thi", THINKING, "", []),
        ("<think>I</think>", Begun(answer=""), "\n<think>a", [Content("<think>a")]),
        ("<think>I</think>\n\na", Begun(answer="a"), " b", [Content(" b")]),
        ("a", Begun(answer="a"), " b", [Content(" b")]),
        ("a ", Begun(answer="a "), "<think>b</think>", [Content("<think>b</think>")]),
        ("a<think>", Begun(answer="a<think>"), "b", [Content("b")]),
        ("<thi", Begun(answer="<thi"), "rd> b", [Content("rd> b")]),
        ("<thi", Begun(answer="<thi"), "nk>b</think>c", [Thought("b"), Content("c")]),
    ],
)
def test_tags(words: str, begun: Begun, said: str, parts: list[Part], is_whole: bool) -> None:
    reader = parser("hermes")
    assert reader.go_on("", words) == begun
    assert rest(reader, [said] if is_whole else said) == parts


@pytest.mark.parametrize("words", ["", "\n", "I", "<think>I", " <thi"])
def test_a_thought_that_the_prompt_has_opened_goes_on(words: str) -> None:
    reader = parser("hermes", is_thinking=True)
    assert reader.go_on("", words) == THINKING
    assert rest(reader, "see</think>ab") == [Thought("see"), Content("ab")]


def test_tags_that_mean_nothing_to_the_model_are_content() -> None:
    reader = parser("hermes", knows_tags=False)
    assert reader.go_on("", "<think>I") == Begun(answer="<think>I")
    assert rest(reader, ["see</think>ab"]) == [Content("see</think>ab")]


@pytest.mark.parametrize(
    ("opened", "words", "begun", "said", "parts"),
    [
        ("", "", Begun(), f"{ANALYSIS}hm<|end|>", [Thought("hm")]),
        (FINAL, "", Begun(answer=""), "ab", [Content("ab")]),
        (FINAL, "t", Begun(answer="t"), "o=functions.get_time", [Content("o=functions.get_time")]),
        (FINAL, "a<|", Begun(answer="a<|"), "end|>b", [Content("end|>b")]),
        (FINAL, "a ", Begun(answer="a "), " b<|end|>", [Content(" b")]),
        (ANALYSIS, "", THINKING, f"hm<|end|><|start|>assistant{FINAL}a",
         [Thought("hm"), Content("a")]),
        (ANALYSIS, "I ", THINKING, f"see<|end|><|start|>assistant{FINAL}a",
         [Thought("see"), Content("a")]),
        ("", "a", Begun(answer="a"), "b", [Content("b")]),
    ],
)  # fmt: skip
def test_channels(opened: str, words: str, begun: Begun, said: str, parts: list[Part]) -> None:
    reader = parser("harmony")
    assert reader.go_on(opened, words) == begun
    assert rest(reader, said) == parts


@pytest.mark.parametrize(
    ("tail", "opened"),
    [
        ("<|start|>user<|message|>a<|end|><|start|>assistant", ""),
        (f"<|start|>assistant<|message|>a<|end|><|start|>assistant{FINAL}", FINAL),
        ("of a text that is longer", ""),
    ],
)
def test_what_a_prompt_has_opened(tail: str, opened: str) -> None:
    assert FAMILIES["harmony"].opened(tail) == opened
    assert FAMILIES["hermes"].opened(tail) == ""


def test_behind_words_only_what_is_marked_is_a_call() -> None:
    bare = '{"name": "get_time", "arguments": {}}'
    reader = parser("hermes", tools=TOOLS)
    reader.go_on("", "Such a call is ")
    assert rest(reader, [bare]) == [Content(bare)]
    reader = parser("hermes", tools=TOOLS)
    reader.go_on("", "Now: ")
    [call] = rest(reader, [f"<tool_call>{bare}</tool_call>"])
    assert isinstance(call, ToolCall)


def texts(parts: Iterable[Part]) -> list[str]:
    """Thoughts and content, in which space counts for nothing."""
    parts = list(parts)
    return [
        "".join("".join(p.text for p in parts if isinstance(p, kind)).split())
        for kind in (Thought, Content)
    ]


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<thi", "</", "nk>", " ", "\n", "a", "b"])),
    st.integers(0, 30),
    st.booleans(),
)
@example(["   ", "</think>"], 4, True)  # within a closing tag before which nothing was thought
def test_wherever_a_reply_is_cut_the_rest_of_it_is_told(
    pieces: list[str], cut: int, is_thinking: bool
) -> None:
    reply = "".join(pieces)
    words, said = reply[:cut], reply[cut:]
    reader = parser("hermes", is_thinking=is_thinking)
    told = texts(reader.feed(words))
    whole = texts(rest(parser("hermes", is_thinking=is_thinking), [reply]))
    reader = parser("hermes", is_thinking=is_thinking)
    reader.go_on("", words)
    fresh = texts(rest(reader, said))
    for before, behind, both in zip(told, fresh, whole, strict=True):
        assert both.startswith(before)
        assert both.endswith(behind)
        # What is between was held back as the beginning of a tag, and is given.
        between = both[len(before) : len(both) - len(behind)]
        assert between in ("", *("".join(words.split())[-n:] for n in range(1, 8)))
