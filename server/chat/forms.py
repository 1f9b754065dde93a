"""How one call, or one list of calls, stands in a reply: where it begins, where it ends,
and what reads it. A family of models is a handful of these."""

from collections.abc import Callable
from dataclasses import dataclass

from server.chat.scanning import ValueEnd
from server.chat.tools import Offered, ToolCall
from server.chat.values import NotReadable

# Reads the text of a block as calls; `is_ended` False: the reply stopped in the middle.
# Raises `NotReadable`: then the block is content.
Reader = Callable[[str, Offered, bool], list[ToolCall]]


@dataclass(frozen=True, slots=True)
class Form:
    """`opener`: the text that a block begins with. A bare form's opener is the first
    character of the calls themselves, and counts only where the reply begins or behind a
    call or a leading mark. `may_begin` says of the first characters of a block whether
    they can still become calls. `is_whole`: a block ends with its outermost
    bracket. `ends`: the texts in front of which it ends in any case; quotes protect them
    unless `is_raw`. `heading`: texts with brackets that may stand in front of the calls.
    """

    opener: str
    read: Reader
    ends: tuple[str, ...] = ()
    heading: tuple[str, ...] = ()
    is_whole: bool = True
    is_raw: bool = False
    is_bare: bool = False
    may_begin: Callable[[str], bool] = lambda _: True


# As many characters tell whether a block can be a call.
_ENOUGH = 256


class Block:
    """One block while it is being written. `before` is what stood in front of it."""

    def __init__(self, form: Form, before: str, *, is_lax: bool = False) -> None:
        self.form = form
        self.before = before
        self._chunks: list[str] = []
        self._length = 0
        self._end = ValueEnd(
            form.ends,
            heading=form.heading,
            is_whole=form.is_whole,
            is_lax=is_lax or form.is_raw,
        )

    @property
    def is_young(self) -> bool:
        """Whether it may still be refused for its beginning."""
        return self._length < _ENOUGH

    def feed(self, text: str) -> tuple[int, bool]:
        """How much of `text` the block took (of a young one a part), and whether it ends
        there. Raises `NotReadable` if it cannot be a call; then it takes
        nothing of it."""
        is_young = self.is_young
        taken, is_ended = self._end.feed(text[:_ENOUGH] if is_young else text)
        if is_young and not self.form.may_begin((self.body + text[:taken])[:_ENOUGH]):
            raise NotReadable("no call begins so")
        self._chunks.append(text[:taken])
        self._length += taken
        return taken, is_ended

    @property
    def body(self) -> str:
        return "".join(self._chunks)

    @property
    def opening(self) -> str:
        """What stands in front of the body."""
        return self.before if self.form.is_bare else self.before + self.form.opener

    def has_hidden_end(self) -> bool:
        """Whether a text that ends the block stands in it, taken for part of a string."""
        body = self.body
        return any(end in body for end in self.form.ends)
