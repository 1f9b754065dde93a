"""The replies of gpt-oss: a row of messages, each with a header and a body.

`<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`.
Analysis is thinking; a message `to=functions.name` is a call; all else is content. The
prompt ends in `<|start|>assistant`, so that a reply begins within a header, maybe with the
recipient of a call; one that begins with neither that nor a mark is content.
"""

import re
from collections.abc import Sequence
from enum import Enum, auto

from server.chat.parts import Content, Part, Thought
from server.chat.scanning import Beginnings, one_of
from server.chat.tools import Offered, Tool, ToolCall
from server.chat.values import NotReadable, read_json

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
CONSTRAIN, END, CALL, RETURN = "<|constrain|>", "<|end|>", "<|call|>", "<|return|>"
MARKS = (START, CHANNEL, MESSAGE, CONSTRAIN, END, CALL, RETURN)

_MARK = re.compile(one_of(MARKS))
_MARKS = Beginnings(MARKS)
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([^\s<]+)")
# A header in which the reply may have been cut: it says nothing yet.
_CUT_HEADER = re.compile(
    r"(?:<\|start\|>)?\s*\w*(?:\s*to=\S*)?\s*"
    r"(?:<\|channel\|>\s*\w*(?:\s*to=\S*)?\s*(?:<\|constrain\|>\w*)?)?"
)
# How a reply may begin that goes on the header of the prompt.
_OPENING = re.compile(r"\s*(?:t|to|to=[^\s<]*\s*)?")
_CHANNEL_NAME = re.compile(re.escape(CHANNEL) + r"\s*(\w+)")


class _In(Enum):
    OPENING = auto()  # nothing yet, but maybe the rest of the prompt's header
    TEXT = auto()  # no message has begun, or one without a header
    HEADER = auto()
    CONTENT = auto()
    THOUGHT = auto()
    CALL = auto()


class HarmonyParser:
    """Reads one reply. Calls of tools that were not offered stay content, with header."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._offered = Offered(tools)
        self._in = _In.OPENING
        self._held = ""
        self._opening = ""
        self._header: list[str] = []
        self._body: list[str] = []
        self._space: list[str] = []
        self._is_first = True

    @property
    def is_thinking(self) -> bool | None:
        """As in `ReplyParser`: a header says what it is the header of when it ends."""
        return None if self._in in (_In.OPENING, _In.HEADER) else self._in is _In.THOUGHT

    def feed(self, text: str) -> list[Part]:
        """What is certain with this text."""
        text = self._held + text
        parts: list[Part] = []
        at = 0
        for mark in _MARK.finditer(text):
            self._take(text[at : mark.start()], parts)
            self._turn(mark[0], parts)
            at = mark.end()
        rest = text[at:]
        keep = _MARKS.held(rest)
        self._held = rest[len(rest) - keep :]
        self._take(rest[: len(rest) - keep], parts)
        return parts

    def finish(self) -> list[Part]:
        """The rest; a call whose arguments are whole needs no mark behind it."""
        parts: list[Part] = []
        self._take(self._held, parts)
        self._held = ""
        self._begin_text(parts)
        header = "".join(self._header)
        if self._in is _In.HEADER and not _CUT_HEADER.fullmatch(header):
            parts.append(Content(header))
        self._end(parts)
        return parts

    def _take(self, text: str, parts: list[Part]) -> None:
        """Text between two marks."""
        match self._in:
            case _In.OPENING:
                self._opening += text
                if not _OPENING.fullmatch(self._opening):
                    self._begin_text(parts)
            case _In.HEADER:
                self._header.append(text)
            case _In.CALL:
                self._body.append(text)
            case _In.THOUGHT:
                self._say(text, Thought, parts)
            case _In.TEXT | _In.CONTENT:
                parts.append(Content(text))

    def _begin_text(self, parts: list[Part]) -> None:
        """What was said so far was no header."""
        if self._in is _In.OPENING:
            self._in = _In.TEXT
            if self._opening:
                parts.append(Content(self._opening))

    def _turn(self, mark: str, parts: list[Part]) -> None:
        if self._in is _In.OPENING and mark == CHANNEL and _RECIPIENT.search(self._opening):
            self._in, self._header = _In.HEADER, [self._opening]
        self._begin_text(parts)
        if self._in is _In.HEADER:
            self._go_on(mark, parts)
        elif mark in (START, CHANNEL):
            self._end(parts)
            self._in = _In.HEADER
            self._header = [mark]
        elif mark in (END, CALL, RETURN):
            self._end(parts)
        else:
            self._take(mark, parts)

    def _go_on(self, mark: str, parts: list[Part]) -> None:
        """A mark inside a header: `<|message|>` ends it."""
        if mark != MESSAGE:
            self._header.append(mark)
            return
        header = "".join(self._header)
        channel = _CHANNEL_NAME.search(header)
        self._is_first = True
        if _RECIPIENT.search(header):
            self._in = _In.CALL
        elif channel and channel[1] == "analysis":
            self._in = _In.THOUGHT
        else:
            self._in = _In.CONTENT

    def _say(self, text: str, kind: type[Thought], parts: list[Part]) -> None:
        """Thinking, without the space around it."""
        if self._is_first:
            text = text.lstrip()
            self._is_first = not text
        bare = text.rstrip()
        if bare:
            parts.append(kind("".join(self._space) + bare))
            self._space.clear()
        self._space.append(text[len(bare) :])

    def _end(self, parts: list[Part]) -> None:
        """The message is over."""
        if self._in is _In.CALL:
            parts.append(self._call())
        self._in = _In.TEXT
        self._header, self._body, self._space = [], [], []

    def _call(self) -> ToolCall | Content:
        header, body = "".join(self._header), "".join(self._body)
        recipient = _RECIPIENT.search(header)
        try:
            name = recipient[1] if recipient else None
            return self._offered.call(name, read_json(body) if body.strip() else {})
        except NotReadable:
            return Content(f"{header}{MESSAGE}{body}")
