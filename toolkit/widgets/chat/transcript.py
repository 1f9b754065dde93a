"""The messages of a conversation as widgets, pinned to the newest without a script.

The thinking of a reply has a widget and a button of its own: a page that is painted ten
times a second would close what a person opens in it.
"""

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from toolkit.widgets.chat import bubble
from toolkit.widgets.chat.conversation import Turn
from toolkit.widgets.controls import button, show
from toolkit.widgets.style import classed
from toolkit.widgets.task import HomeLoop

HEIGHT = "440px"
MANY = 30  # turns that are shown at once: more would hold up kernel and browser for seconds
STARTERS = (
    "Explain in two sentences what you are good at.",
    "Write a haiku about renting a computer by the hour.",
    "List three questions I should ask before trusting a model.",
)
EMPTY = (
    '<div class="akl-empty"><b>Ask your model something</b>'
    "It stays between you and the endpoint, and in a file beside this notebook.</div>"
)
MOVES = "The arrow keys move through the conversation."


class Transcript:
    """Shows turns from the oldest to the newest; `view` has the height of `HEIGHT`.

    Without a turn it invites with messages that a person may send: `send` gets them.
    """

    def __init__(self, home: HomeLoop, send: Callable[[str], None]) -> None:
        self._home = home
        self._turns: list[_TurnView] = []
        self._messages = widgets.VBox(layout=widgets.Layout(flex="1 0 auto", overflow="visible"))
        box = widgets.Layout(height=HEIGHT, flex_flow="column-reverse", overflow="hidden auto")
        # Where Tab leads to, so that the arrow keys can move the rest: a box takes no focus.
        self._handle = classed(widgets.HTML(MOVES, tabbable=True), "akl-moves")
        self.view = classed(widgets.Box([self._handle, self._messages], layout=box), "akl-log")
        self._invitation = (
            widgets.HTML(EMPTY),
            classed(
                widgets.HBox([_starter(home, text, send) for text in STARTERS]), "akl-starters"
            ),
        )
        self._earlier = classed(
            button(home, "Show earlier messages", "Show more of them", self._more),
            "akl-quiet",
        )
        self.show(())

    def show(self, turns: Sequence[Turn]) -> None:
        """Show these turns, the last of them where they are many; what is shown already stays."""
        known = {id(view.turn): view for view in self._turns}
        if not any(id(turn) in known for turn in turns):
            self._limit = MANY  # another conversation
        self._all = list(turns)
        shown = self._all[-self._limit :]
        self._turns = [known.get(id(turn)) or _TurnView(self._home, turn) for turn in shown]
        parts = [part for view in self._turns for part in view.parts]
        ahead = [self._earlier] if len(shown) < len(self._all) else []
        show(self._handle, bool(shown))
        self._messages.children = [*ahead, *parts] or self._invitation

    def _more(self) -> None:
        self._limit += MANY
        self.show(self._all)

    def paint(self, turn: Turn) -> None:
        """Bring a turn that is shown up to date."""
        for view in self._turns:
            if view.turn is turn:
                view.paint()


class _TurnView:
    """One turn: the question, and the reply with its thinking."""

    def __init__(self, home: HomeLoop, turn: Turn) -> None:
        self.turn = turn
        self._home = home
        self._body = widgets.HTML()
        self._thinking: _Thinking | None = None
        self._reply = classed(
            widgets.VBox([widgets.HTML(bubble.speaker(turn)), self._body]), "akl-msg"
        )
        self.parts = (classed(widgets.HTML(bubble.question(turn)), "akl-msg"), self._reply)
        self.paint()

    def paint(self) -> None:
        if self.turn.thinking:
            if self._thinking is None:
                self._thinking = _Thinking(self._home)
                who, body = self._reply.children
                self._reply.children = (who, *self._thinking.parts, body)
            self._thinking.show(bubble.thinking(self.turn))
        _assign(self._body, bubble.reply(self.turn))


class _Thinking:
    """Folded until a person opens it, and then it stays open."""

    def __init__(self, home: HomeLoop) -> None:
        self._text = ""
        self._button = classed(widgets.Button(layout=widgets.Layout(width="auto")), "akl-quiet")
        self._button.on_click(lambda _: home.do(lambda: self._fold(not self._is_folded)))
        self._box = widgets.HTML()
        self.parts = (self._button, self._box)
        self._fold(True)

    def show(self, text: str) -> None:
        self._text = text
        if not self._is_folded:
            _assign(self._box, text)

    def _fold(self, is_folded: bool) -> None:
        self._is_folded = is_folded
        self._button.description = "Show thinking" if is_folded else "Hide thinking"
        self._box.layout.display = "none" if is_folded else None
        _assign(self._box, "" if is_folded else self._text)


def _assign(widget: widgets.HTML, value: str) -> None:
    if widget.value != value:
        widget.value = value


def _starter(home: HomeLoop, text: str, send: Callable[[str], None]) -> widgets.Button:
    return button(home, text, "Send this message", lambda: send(text))
