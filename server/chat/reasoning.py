"""Thinking, told from what follows it while a reply is written.

Thinking stands between two tags at the beginning of a reply; tags that come later are
content. The space around it belongs to the tags.
"""

import re
from collections.abc import Sequence
from enum import Enum, auto

from server.chat.begun import Begun
from server.chat.parts import Content, Part, Thought
from server.chat.scanning import Beginnings, one_of

Tags = tuple[str, str]


class _At(Enum):
    START = auto()  # nothing but space yet
    BEGIN = auto()  # inside, nothing but space yet
    INSIDE = auto()
    BEHIND = auto()  # thinking is over, nothing but space yet
    CONTENT = auto()


class Reasoning:
    """Splits one reply. `tags` are the pairs that count; `is_thinking`: the prompt has
    opened the thinking already."""

    def __init__(self, tags: Sequence[Tags], *, is_thinking: bool) -> None:
        openers = tuple(opening for opening, _ in tags)
        self._closers = {opening: closing for opening, closing in tags}
        self._opener = re.compile(one_of(openers))
        self._openings = Beginnings(openers)
        self._at = _At.START if tags else _At.CONTENT
        self._space: list[str] = []
        self._held = ""
        self._enter(tuple(closing for _, closing in tags))
        if is_thinking and tags:
            self._at = _At.BEGIN
        # What of the text that is held is known to the reader already.
        self._given = ""

    def go_on(self, given: str) -> Begun:
        """Begin behind these words of the reply, which are not told again."""
        parts = [*self.feed(given), Content(self._held if self._at is _At.START else "")]
        self._space.clear()
        self._given = self._held
        if self._at in (_At.BEGIN, _At.INSIDE):
            return Begun(is_thinking=True)
        answer = "".join(part.text for part in parts if isinstance(part, Content))
        return Begun(answer=answer if answer.strip() or self._at is _At.BEHIND else None)

    @property
    def is_open(self) -> bool | None:
        """Whether what comes next is thinking, as far as it is known; None: not yet."""
        return None if self._at is _At.START else self._at in (_At.BEGIN, _At.INSIDE)

    def feed(self, text: str) -> list[Part]:
        """What is certain now."""
        if self._at is _At.CONTENT and not self._held:
            return [Content(text)]
        text, self._held = self._held + text, ""
        parts: list[Part] = []
        while text:
            text = self._step(text, parts)
        return parts

    def finish(self) -> list[Part]:
        """What was held back. Space behind thinking that nothing follows is dropped."""
        held, self._held = self._held, ""
        text = "".join(self._space) + self._fresh(held)
        if self._at in (_At.BEGIN, _At.INSIDE):
            return [Thought(text)] if held else []
        return [Content(text if self._at is _At.START else held)]

    def _step(self, text: str, parts: list[Part]) -> str:
        """Deal with the beginning of `text`; the rest, which the next state deals with."""
        match self._at:
            case _At.START | _At.BEGIN:
                return self._begin(text, parts)
            case _At.INSIDE:
                return self._think(text, parts)
            case _At.BEHIND:
                text = text.lstrip()
                self._at = _At.CONTENT if text else _At.BEHIND
                return text
            case _At.CONTENT:
                parts.append(Content(text))
                return ""

    def _begin(self, text: str, parts: list[Part]) -> str:
        """At the start, and inside too: a model may open what the prompt has opened."""
        bare = text.lstrip()
        is_start = self._at is _At.START
        if is_start:
            self._space.append(text[: len(text) - len(bare)])
        if opening := self._opener.match(bare):
            self._space.clear()
            self._given = ""
            self._enter((self._closers[opening[0]],))
            self._at = _At.INSIDE
            return self._skip_space(bare[opening.end() :])
        if not bare or bare in self._openings:
            self._held = bare
            return ""
        if is_start:
            parts.append(Content("".join(self._space)))
        self._space.clear()
        if is_start:
            self._at = _At.CONTENT
            return self._fresh(bare)
        self._at = _At.INSIDE
        self._is_first = False
        return bare  # what is held may be the beginning of a closing tag

    def _think(self, text: str, parts: list[Part]) -> str:
        if self._is_first:
            text = self._skip_space(text)
        closing = self._closer.search(text)
        keep = 0 if closing else self._closings.held(text)
        thought = text[: closing.start() if closing else len(text) - keep]
        if thought:
            thought = self._fresh(thought)
        bare = thought.rstrip()
        if bare:
            parts.append(Thought("".join(self._space) + bare))
            self._space.clear()
        self._space.append(thought[len(bare) :])
        if closing is None:
            self._held = text[len(text) - keep :]
            return ""
        self._space.clear()
        self._given = ""
        self._at = _At.BEHIND
        return text[closing.end() :]

    def _enter(self, closers: tuple[str, ...]) -> None:
        self._closer = re.compile(one_of(closers))
        self._closings = Beginnings(closers)
        self._is_first = True

    def _fresh(self, text: str) -> str:
        """Text that was held, as far as the reader does not know it."""
        num_given, self._given = len(self._given), self._given[len(text) :]
        return text[num_given:]

    def _skip_space(self, text: str) -> str:
        text = text.lstrip()
        self._is_first = not text
        return text
