"""Whatever is written in a family's form is read back, however the text is cut; garbage
is content, and costs no more than its length."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.chat.forms import Block
from server.chat.parts import Content, Part, Thought
from server.chat.reply import CallParser
from server.chat.scanning import ValueEnd
from server.chat.tools import ToolCall
from tests.server.chat.templates import FAMILIES
from tests.server.chat.tools_on_offer import read

# Others compute on the same machine.
SLOWLY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Call = tuple[str, dict[str, Any]]
Writer = Callable[[Sequence[Call]], str]

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "</tool_call>",
        "<tool_call>",
        "}]",
        '"',
        "'",
        "\\",
        "```",
        "[TOOL_CALLS]",
        "\n",
        "it's {",
        ";",
    ]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_JSON = st.dictionaries(_TEXT, _VALUES, max_size=4)
_NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
_PYTHON = st.dictionaries(_NAMES.map(lambda name: f"x_{name}"), _VALUES, max_size=4)
# Forms whose text is raw have no way to write their own marks.
_RAW = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=12)
_XML = st.fixed_dictionaries(
    {"city": _RAW.map(lambda text: f"{text}.")},
    optional={
        "days": st.integers(),
        "metric": st.booleans(),
        "filter": st.fixed_dictionaries(
            {"a": st.integers(), "b": _TEXT.filter(lambda t: "<" not in t)}
        ),
    },
)


def _object(call: Call, arguments: str = "arguments", name: str = "name") -> str:
    return json.dumps({name: call[0], arguments: call[1]}, ensure_ascii=False)


def _hermes(calls: Sequence[Call]) -> str:
    return "\n".join(f"<tool_call>\n{_object(call)}\n</tool_call>" for call in calls)


def _listed(opening: str, closing: str, name: str = "name", arguments: str = "arguments") -> Writer:
    def write(calls: Sequence[Call]) -> str:
        return opening + ",\n".join(_object(c, arguments, name) for c in calls) + closing

    return write


def _xml(calls: Sequence[Call]) -> str:
    return "\n".join(map(_xml_call, calls))


def _xml_call(call: Call) -> str:
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in call[1].items()}
    inner = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values.items())
    return f"<tool_call>\n<function={call[0]}>\n{inner}</function>\n</tool_call>"


def _pairs(calls: Sequence[Call]) -> str:
    return "\n".join(map(_pair_call, calls))


def _pair_call(call: Call) -> str:
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in call[1].items()}
    inner = "".join(
        f"<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>\n" for k, v in values.items()
    )
    return f"<tool_call>{call[0]}\n{inner}</tool_call>"


def _llama(calls: Sequence[Call]) -> str:
    return "; ".join(_object(call, "parameters") for call in calls)


def _pythonic(calls: Sequence[Call]) -> str:
    return f"[{', '.join(map(_python_call, calls))}]"


def _python_call(call: Call) -> str:
    return f"{call[0]}({', '.join(f'{key}={value!r}' for key, value in call[1].items())})"


def _code(calls: Sequence[Call]) -> str:
    return "```tool_code\n" + "\n".join(map(_python_call, calls)) + "\n```"


def _named(calls: Sequence[Call]) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{json.dumps(args)}" for name, args in calls)


def _deepseek(calls: Sequence[Call]) -> str:
    written = (
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{json.dumps(args)}\n```"
        for name, args in calls
    )
    end = "<｜tool▁call▁end｜>"
    return f"<｜tool▁calls▁begin｜>{(end + chr(10)).join(written)}{end}<｜tool▁calls▁end｜>"


def _deepseek_v31(calls: Sequence[Call]) -> str:
    written = "".join(
        f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{json.dumps(args)}<｜tool▁call▁end｜>"
        for name, args in calls
    )
    return f"<｜tool▁calls▁begin｜>{written}<｜tool▁calls▁end｜>"


def _escaped(calls: Sequence[Call]) -> str:
    return "".join(
        f"<start_function_call>call:{name}{{{_escaped_inner(args)}}}<end_function_call>"
        for name, args in calls
    )


def _escaped_inner(arguments: dict[str, Any]) -> str:
    return ",".join(f"{key}:{_escaped_value(value)}" for key, value in arguments.items())


def _escaped_value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{_escaped_inner(value)}}}"
    return f"<escape>{value}<escape>" if isinstance(value, str) else json.dumps(value)


# family → how it writes calls, what arguments it can write, and whether text may stand around.
WRITERS: dict[str, tuple[Writer, st.SearchStrategy[dict[str, Any]], bool]] = {
    "hermes": (_hermes, _JSON, True),
    "qwen-coder": (_xml, _XML, True),
    "glm": (_pairs, _XML, True),
    "nemotron": (_listed("<TOOLCALL>[", "]</TOOLCALL>"), _JSON, True),
    "llama": (_llama, _JSON, False),
    "llama-pythonic": (_pythonic, _PYTHON, False),
    "mistral": (_listed("[TOOL_CALLS][", "]"), _JSON, True),
    "mistral-named": (_named, _JSON, True),
    "deepseek": (_deepseek, _JSON, True),
    "deepseek-v3.1": (_deepseek_v31, _JSON, True),
    "gemma": (_code, _PYTHON, True),
    "function-gemma": (_escaped, _XML, True),
    "command-r": (
        _listed("Action: ```json\n[", "\n]\n```", "tool_name", "parameters"),
        _JSON,
        True,
    ),
    "command-a": (_listed("<|START_ACTION|>[", "]<|END_ACTION|>", "tool_name"), _JSON, True),
    "granite": (_listed("<|tool_call|>[", "]"), _JSON, True),
    "phi": (_listed("<|tool_call|>[", "]<|/tool_call|>"), _JSON, True),
    "generic": (_listed("```json\n[", "]\n```"), _JSON, True),
}
_CONTENT = (
    st.text("ab <>{}\n.é|", max_size=20).map(str.strip).filter(lambda t: t[:1] not in ("{", "["))
)


def cut(data: st.DataObject, text: str) -> list[str]:
    """The text in random pieces."""
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8), label="cuts")
    edges = [0, *sorted(places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def plain(parts: Sequence[Part]) -> list[Any]:
    return [(p.name, p.arguments) if isinstance(p, ToolCall) else p for p in parts]


@pytest.mark.parametrize("name", WRITERS)
@SLOWLY
@given(data=st.data())
def test_calls_are_read_back_however_the_text_is_cut(name: str, data: st.DataObject) -> None:
    write, arguments, has_content = WRITERS[name]
    calls = data.draw(
        st.lists(st.tuples(st.just("get_weather"), arguments), min_size=1, max_size=3)
    )
    before = data.draw(_CONTENT) if has_content else ""
    after = data.draw(_CONTENT)
    space = data.draw(st.sampled_from(["", " ", "\n\n"]))
    reply = f"{before}{space if before else ''}{write(calls)}{space}{after}"
    expected = [Content(text) for text in (before,) if text] + calls
    expected += [Content(text) for text in (after,) if text]
    assert plain(read(FAMILIES[name], cut(data, reply))) == expected


@SLOWLY
@given(data=st.data())
def test_channels_are_read_back_however_the_text_is_cut(data: st.DataObject) -> None:
    text = st.text("ab <>{}\n.é|", max_size=20).map(str.strip).filter(lambda t: "<|" not in t)
    thought, said = data.draw(text), data.draw(text)
    arguments = data.draw(_JSON)
    reply = (
        f"<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>commentary"
        f"<|message|>{said}<|end|><|start|>assistant<|channel|>commentary "
        f"to=functions.get_weather <|constrain|>json<|message|>{json.dumps(arguments)}<|call|>"
    )
    expected = [part for part in (Thought(thought), Content(said)) if part.text]
    found = plain(read(FAMILIES["harmony"], cut(data, reply)))
    assert found == [*expected, ("get_weather", arguments)]


def _garbage(name: str) -> st.SearchStrategy[str]:
    family = FAMILIES[name]
    marks = (*family.marks, *family.lead, *family.trail, *(form.opener for form in family.forms))
    tags = [tag for tags in family.thinking for tag in tags]
    more = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        '"',
        "'",
        "\\",
        "\n",
        " ",
        "a",
        ":",
        ",",
        "get_time",
        "```",
    ]
    calls = ['{"name": "get_time"}', "get_time()", "get_time{}", "call:get_time{}", "get_time>"]
    return st.lists(st.sampled_from([*marks, *tags, *more, *calls]), max_size=25).map("".join)


@pytest.mark.parametrize("name", FAMILIES)
@SLOWLY
@given(data=st.data())
def test_garbage_is_content_and_cuts_change_nothing(name: str, data: st.DataObject) -> None:
    reply = data.draw(_garbage(name))
    expects_thinking = data.draw(st.booleans())
    is_thinking = data.draw(st.booleans())

    def parts(pieces: Sequence[str]) -> list[Part]:
        return read(
            FAMILIES[name],
            pieces,
            is_thinking=is_thinking,
            expects_thinking=expects_thinking,
        )

    whole = parts([reply])
    assert plain(parts(cut(data, reply))) == plain(whole)
    assert plain(parts(list(reply))) == plain(whole)
    is_plain = all(isinstance(part, Content) for part in whole)
    if is_plain and not expects_thinking and name != "harmony":
        assert "".join(part.text for part in whole if isinstance(part, Content)) == reply


HOSTILE = {
    "openers": "<tool_call>",
    "open strings": '<tool_call>{"',
    "broken": '<tool_call>{"a</tool_call>',
    "odd quotes": '<｜tool▁call▁begin｜>{\\"<｜tool▁call▁end｜>',
    "brackets": "<tool_call>[",
    "space": " \n",
    "half marks": "<tool_",
    "calls": '<tool_call>{"name": "get_time"}</tool_call>',
    "leads": '<|python_tag|>{"x',
    "fences": '```json\n{"x": ',
    "escapes": '<tool_call>{"\\',
    "bare": '{"name": ',
}


@pytest.mark.parametrize("piece", [1, 7, 10**7], ids=["characters", "tokens", "whole"])
@pytest.mark.parametrize("name", ["hermes", "llama", "qwen-coder", "deepseek"])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=list(HOSTILE))
def test_work_grows_with_the_length_only(
    monkeypatch: pytest.MonkeyPatch, name: str, hostile: str, piece: int
) -> None:
    def work(length: int) -> int:
        text = (hostile * length)[:length]
        seen.clear()
        read(FAMILIES[name], [text[at : at + piece] for at in range(0, length, piece)])
        return sum(seen)

    seen: list[int] = []
    _count(monkeypatch, seen)
    assert work(8_000) <= 2.5 * work(4_000) + 2_000


def _count(monkeypatch: pytest.MonkeyPatch, seen: list[int]) -> None:
    """Note the length of every text that a step or a block is given."""
    step, feed = CallParser._step, ValueEnd.feed

    def counted_step(self: CallParser, text: str, parts: list[Part]) -> str:
        seen.append(len(text))
        return step(self, text, parts)

    def counted_feed(self: ValueEnd, text: str) -> tuple[int, bool]:
        seen.append(len(text))
        return feed(self, text)

    def counted_body(self: Block) -> str:
        text = "".join(self._chunks)
        seen.append(len(text))
        return text

    monkeypatch.setattr(CallParser, "_step", counted_step)
    monkeypatch.setattr(ValueEnd, "feed", counted_feed)
    monkeypatch.setattr(Block, "body", property(counted_body))


def test_a_megabyte_of_arguments_is_read() -> None:
    city = "ä<}\"'" * 200_000
    reply = _hermes([("get_weather", {"city": city})])
    pieces = [reply[at : at + 50] for at in range(0, len(reply), 50)]
    assert plain(read(FAMILIES["hermes"], pieces)) == [("get_weather", {"city": city})]
