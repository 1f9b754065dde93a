"""A reply, read while it is written: thoughts, content and calls of tools.

Nothing that may be the beginning of a tag or of a call is shown before that is known,
and nothing is lost: what looks like a call and is none becomes content as it was.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from server.chat.family import Family
from server.chat.forms import Block, Form
from server.chat.harmony import HarmonyParser
from server.chat.parts import Content, Part, joined
from server.chat.reasoning import Reasoning
from server.chat.scanning import Beginnings, one_of
from server.chat.tools import Offered, Tool
from server.chat.values import NotReadable

# Text is read in bites: a step copies what it leaves over, so that many steps on one long
# text would take quadratic time.
_BITE = 1024


class _Parser(Protocol):
    @property
    def is_thinking(self) -> bool | None: ...
    def feed(self, text: str) -> list[Part]: ...
    def finish(self) -> list[Part]: ...


class ReplyParser:
    """Reads one reply of a model of `family`.

    `is_thinking`: the rendered prompt ends inside thinking already. `expects_thinking`:
    thinking tags count; else they are content. (The channels of gpt-oss are no tags, they
    are the form of every reply, and always told apart.)
    """

    def __init__(
        self, family: Family, *, tools: Sequence[Tool], is_thinking: bool, expects_thinking: bool
    ) -> None:
        tags = family.thinking if expects_thinking else ()
        self._parser: _Parser
        if family.is_harmony:
            self._parser = HarmonyParser(tools)
        else:
            self._parser = _TaggedParser(
                Reasoning(tags, is_thinking=is_thinking), CallParser(family, tools)
            )

    @property
    def is_thinking(self) -> bool | None:
        """Whether the reply is inside thinking now; None while that is open, as it is until a
        tag or a header is whole."""
        return self._parser.is_thinking

    def feed(self, text: str) -> list[Part]:
        """What is certain with this text."""
        return joined(self._parser.feed(text)) if text else []

    def finish(self) -> list[Part]:
        """The rest. An unfinished call that cannot be repaired is content."""
        return joined(self._parser.finish())


class _TaggedParser:
    """Thinking between tags first, then content with calls in it."""

    def __init__(self, reasoning: Reasoning, calls: "CallParser") -> None:
        self._reasoning = reasoning
        self._calls = calls

    @property
    def is_thinking(self) -> bool | None:
        return self._reasoning.is_open

    def feed(self, text: str) -> list[Part]:
        return self._read(self._reasoning.feed(text))

    def finish(self) -> list[Part]:
        return self._read(self._reasoning.finish()) + self._calls.finish()

    def _read(self, parts: Sequence[Part]) -> list[Part]:
        found: list[Part] = []
        for part in parts:
            found += self._calls.feed(part.text) if isinstance(part, Content) else [part]
        return found


class CallParser:
    """Finds a family's calls in content. Space and marks around calls go with them."""

    def __init__(self, family: Family, tools: Sequence[Tool]) -> None:
        self._offered = Offered(tools)
        self._bare = [form for form in family.forms if form.is_bare]
        self._openers = {form.opener: form for form in family.forms if not form.is_bare}
        marks = (*self._openers, *family.lead)
        self._mark = re.compile(one_of(marks))
        self._marks = Beginnings(marks)
        self._trail = re.compile(one_of(family.trail))
        self._trails = Beginnings((*family.trail, *marks))
        self._space: list[str] = []
        self._held = ""
        self._block: Block | None = None
        self._is_fresh = True
        self._is_behind_call = False
        self._is_lax = False

    def feed(self, text: str) -> list[Part]:
        """What is certain with this text."""
        if not self._offered:
            return [Content(text)]
        parts: list[Part] = []
        self._advance(text, parts)
        return parts

    def finish(self) -> list[Part]:
        """The rest, read as what it is without more to come."""
        parts: list[Part] = []
        while (block := self._block) is not None:
            if not self._is_lax and block.has_hidden_end():
                # Quotes do not match: from here on, ends count in strings too.
                self._is_lax = True
                self._reopen(block, parts)
            else:
                self._block = None
                self._close(block, self._take_held(), parts)
        held = self._take_held()
        if self._is_behind_call and self._trail.fullmatch(held):
            held = ""
        return [*parts, Content("".join(self._space) + held)]

    def _advance(self, text: str, parts: list[Part]) -> None:
        for at in range(0, len(text), _BITE):
            rest = self._take_held() + text[at : at + _BITE]
            while rest:
                rest = self._step(rest, parts)

    def _step(self, text: str, parts: list[Part]) -> str:
        """Deal with the beginning of `text`; the rest, which the next state deals with."""
        if self._block is not None:
            return self._fill(self._block, text, parts)
        if self._is_behind_call:
            return self._pass_trail(text)
        if self._is_fresh and self._bare:
            bare = text.lstrip()
            self._space.append(text[: len(text) - len(bare)])
            if form := next((f for f in self._bare if bare.startswith(f.opener)), None):
                self._open(form)
                return bare
            if not bare:
                return ""
            text = bare
        return self._pass_text(text, parts)

    def _pass_text(self, text: str, parts: list[Part]) -> str:
        """Content up to the next mark."""
        mark = self._mark.search(text)
        keep = 0 if mark else self._marks.held(text)
        self._say(text[: mark.start() if mark else len(text) - keep], parts)
        if mark is None:
            self._held = text[len(text) - keep :]
            return ""
        if form := self._openers.get(mark[0]):
            self._open(form)
        else:
            self._space.append(mark[0])
            self._is_fresh = True
        return text[mark.end() :]

    def _pass_trail(self, text: str) -> str:
        """Space and closing marks behind a call say nothing."""
        text = text.lstrip()
        if not text or text in self._trails:
            self._held = text
            return ""
        trail = None if self._mark.match(text) else self._trail.match(text)
        if trail is not None:
            return text[trail.end() :]
        self._is_behind_call = False
        return text

    def _say(self, text: str, parts: list[Part]) -> None:
        """Content, without the space at its end: a call may follow."""
        bare = text.rstrip()
        if bare:
            parts.append(Content("".join(self._space) + bare))
            self._space.clear()
            self._is_fresh = False
        self._space.append(text[len(bare) :])

    def _open(self, form: Form) -> None:
        before = "".join(self._space)
        self._space.clear()
        self._block = Block(form, before, is_lax=self._is_lax)

    def _fill(self, block: Block, text: str, parts: list[Part]) -> str:
        was_young = block.is_young
        try:
            taken, is_ended = block.feed(text)
        except NotReadable:
            return self._give_back(block, text, parts)
        if not is_ended:
            if taken and was_young:
                return text[taken:]
            self._held = text[taken:]
            return ""
        self._block = None
        self._close(block, None, parts)
        return text[taken:]

    def _give_back(self, block: Block, text: str, parts: list[Part]) -> str:
        """A block that cannot be a call: its first text is content, the rest is read anew."""
        self._block = None
        self._is_fresh = False
        text = block.body + text
        first = 1 if block.form.is_bare else 0
        parts.append(Content(block.opening + text[:first]))
        return text[first:]

    def _close(self, block: Block, rest: str | None, parts: list[Part]) -> None:
        """Read a block that is ended, or (`rest`) that the reply ended in."""
        self._is_fresh = False
        try:
            calls = block.form.read(block.body + (rest or ""), self._offered, rest is None)
        except NotReadable:
            parts.append(Content(block.opening + block.body + (rest or "")))
            return
        parts += calls
        self._is_fresh = self._is_behind_call = True

    def _reopen(self, block: Block, parts: list[Part]) -> None:
        text = block.body + self._take_held()
        self._block = Block(block.form, block.before, is_lax=True)
        self._advance(text, parts)

    def _take_held(self) -> str:
        held, self._held = self._held, ""
        return held
