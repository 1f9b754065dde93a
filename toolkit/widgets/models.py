"""The models panel: what there is, getting more, looking at one, and deleting it.

It works on this machine's store and, where the key allows it, on an endpoint's. A pull that is
stopped keeps what came and goes on from there.
"""

import asyncio
import html
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import ipywidgets as widgets

from server.models.pull import SUCCESS
from toolkit.client import Endpoint
from toolkit.errors import ToolkitError
from toolkit.models.local import LocalModels
from toolkit.models.remote import EndpointModels
from toolkit.models.shelf import Details, Pace, Row, Shelf, megabytes
from toolkit.widgets import board
from toolkit.widgets import models_page as page
from toolkit.widgets.controls import button, choice, labelled, line, put, row, show
from toolkit.widgets.notice import notice
from toolkit.widgets.style import classed, sheet
from toolkit.widgets.task import BackgroundTask, HomeLoop, ticking
from toolkit.widgets.typed import TEXT_GRACE_S, on_enter
from toolkit.widgets.work import Work

PAINT_S = 0.25


class ModelsPanel:
    """The models of this machine, and of `endpoint` if one is given; show `view` (or the panel
    itself) in a cell. `rows` are those that are listed.

    `pull`, `show` and `delete` do from code what the buttons do.
    """

    def __init__(self, endpoint: Endpoint | None = None, *, wanted: str = "") -> None:
        self._shelves: list[Shelf] = [LocalModels()]
        if endpoint is not None:
            self._shelves.insert(0, EndpointModels(endpoint))
        self.rows: Sequence[Row] = ()
        self._asked: tuple[Shelf, str] | None = None
        self._pace = Pace()
        self._is_pulling = False
        self._home = HomeLoop()
        self._work = Work(
            busy=self._busy, stopped=lambda: self._say("Stopped."), failed=self._failed
        )
        self._lister = BackgroundTask(self._failed)
        self._build(wanted)
        self._enable(is_busy=False)
        self._home.do(lambda: self._lister.start(self._list))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    # -- from code ------------------------------------------------------------------

    async def pull(self, name: str) -> None:
        """Get a model and wait for it. Raises what the panel shows."""
        self._work.check_idle()
        self._name.value = name
        self._pull()
        await self._work.finished()

    async def show(self, name: str) -> Details:
        """Show all about a model. Raises what the panel shows."""
        details = await self._shelf.show(name)
        put(self._details, page.details_page(details))
        return details

    async def delete(self, name: str) -> None:
        """Delete a model and wait for it. Raises what the panel shows."""
        self._work.check_idle()
        shelf = self._shelf
        self._run(f"deleting {name}…", lambda: self._deleted(shelf, name))
        await self._work.finished()

    def stop(self) -> None:
        """End the pull; what came is kept. Does not block."""
        self._work.cancel()

    # -- widgets --------------------------------------------------------------------

    def _build(self, wanted: str) -> None:
        self._head = widgets.HTML()
        places = [(shelf.title, at) for at, shelf in enumerate(self._shelves)]
        self._place = choice("Where", places, 0)
        self._place.observe(lambda _: self._home.do(self._moved), "value")
        show(self._place, len(places) > 1)
        self._listed = classed(widgets.HTML(), "akl-section")
        self._model = labelled(widgets.Dropdown(options=[]), "Model")
        self._name = line("Pull a model", wanted, "smollm2:135m, hf.co/user/repo:Q4_K_M")
        on_enter(self._home, self._name, self._pull)
        for field in (self._model, self._name, self._place):
            field.layout.flex = "1 1 320px"
        self._show_button = self._made("Show", "All about the model", self._show)
        self._delete = self._made("Delete…", "Remove the model", lambda: self._ask(True))
        self._yes = self._made("Delete", "Yes, remove it", self._confirmed, "danger")
        self._no = self._made("Keep it", "No, keep it", lambda: self._ask(False))
        self._pull_button = button(
            self._home, "Pull", "Get it, or go on", self._pull, style="primary",
            after_s=TEXT_GRACE_S,
        )  # fmt: skip
        self._stop = self._made("Stop", "Stop; what came is kept", self.stop)
        self._bar = labelled(widgets.IntProgress(min=0, max=1000), "Progress")
        self._bar.layout.width = "340px"
        self._said = classed(widgets.HTML(layout=widgets.Layout(flex="1 1 240px")), "akl-amount")
        self._progress = classed(row(self._bar, self._said), "akl-actions")
        self._question = classed(row(self._yes, self._no), "akl-ask")
        self._status = classed(widgets.HTML(), "akl-status")
        self._details = classed(widgets.HTML(), "akl-section")
        parts = [
            *(sheet(), board.board_sheet(), self._head, self._place, self._listed),
            classed(row(self._model, self._show_button, self._delete), "akl-actions"),
            self._question,
            classed(row(self._name, self._pull_button, self._stop), "akl-actions"),
            *(self._progress, self._status, self._details),
        ]
        self.view = classed(widgets.VBox(parts), "akl", "akl-models")
        show(self._progress, False)
        show(self._question, False)

    def _made(self, text: str, tip: str, act: Any, style: str = "") -> widgets.Button:
        return button(self._home, text, tip, act, style=style)

    @property
    def _shelf(self) -> Shelf:
        return self._shelves[int(self._place.value)]

    # -- what the buttons do --------------------------------------------------------

    def _moved(self) -> None:
        # What is shown is of the other place until this one has answered.
        self.rows = []
        self._model.options = []
        put(self._listed, "")
        put(self._details, "")
        self._ask(False)
        self._lister.cancel()
        self._lister = BackgroundTask(self._failed)
        self._lister.start(self._list)
        self._enable(is_busy=self._work.is_busy)

    def _show(self) -> None:
        name = str(self._model.value)
        self._run("reading…", lambda: self._shown(name))

    def _pull(self) -> None:
        name = self._name.value.strip()
        if name:
            self._run("Stop keeps what came.", lambda: self._pulled(name))
        else:
            self._say("Name the model to pull, such as smollm2:135m.")

    def _ask(self, is_asked: bool) -> None:
        found = next((each for each in self.rows if each.name == self._model.value), None)
        is_asked = is_asked and found is not None
        self._asked = (self._shelf, found.name) if is_asked and found else None
        if found is not None:
            self._yes.description = f"Delete {found.name}, {megabytes(found.size_bytes)}"
        show(self._question, is_asked)
        show(self._delete, not is_asked)
        self._model.disabled = is_asked  # the question is about this one

    def _confirmed(self) -> None:
        if self._asked is None:
            return
        shelf, name = self._asked
        self._ask(False)
        self._run(f"deleting {name}…", lambda: self._deleted(shelf, name))

    # -- how it is done -------------------------------------------------------------

    def _run(self, said: str, work: Callable[[], Awaitable[None]]) -> None:
        if self._work.start(work):
            self._say(said)
        else:
            self._say("Something is under way: stop it, or wait for its end.")

    def _busy(self, is_busy: bool) -> None:
        self._enable(is_busy=is_busy)

    async def _list(self) -> None:
        self.rows = await self._shelf.listed()
        self._ask(False)
        names = [each.name for each in self.rows]
        chosen = self._model.value
        self._model.options = names
        if names:
            self._model.value = chosen if chosen in names else names[0]
        put(self._listed, page.list_page(self.rows, self._shelf.title))
        self._enable(is_busy=self._work.is_busy)

    async def _shown(self, name: str) -> None:
        put(self._details, page.details_page(await self._shelf.show(name)))
        self._say("")

    async def _deleted(self, shelf: Shelf, name: str) -> None:
        await shelf.delete(name)
        put(self._details, "")
        await self._list()
        self._say(f"{name} is deleted.")

    async def _pulled(self, name: str) -> None:
        self._pace = Pace()
        self._is_pulling = True
        self._enable(is_busy=True)
        self._pull_button.description = "Pull"
        show(self._progress, True)
        is_there = False
        try:
            async with ticking(self._paint, PAINT_S), aclosing(self._shelf.pull(name)) as steps:
                async for step in steps:
                    is_there = step == SUCCESS
                    if not is_there:
                        self._pace.see(step)
        except asyncio.CancelledError:
            self._pull_button.description = "Go on"
            self._say(f"Stopped: what came of {name} is kept, and a pull goes on from there.")
            return
        except ToolkitError:
            self._pull_button.description = "Go on"
            raise
        finally:
            self._is_pulling = False
        show(self._progress, False)
        await self._list()
        self._say(f"{name} is here." if is_there else f"{name} did not come.")

    def _paint(self) -> None:
        self._bar.value = round(1000 * self._pace.share)
        put(self._said, board.text(str(self._pace)))

    def _enable(self, *, is_busy: bool) -> None:
        has_models = bool(self.rows)
        for each in (self._pull_button, self._place):
            each.disabled = is_busy
        for each in (self._show_button, self._delete, self._yes):
            each.disabled = is_busy or not has_models
        self._stop.disabled = not self._is_pulling
        place = self._shelf.title
        count = f"{len(self.rows)} model{'' if len(self.rows) == 1 else 's'}"
        put(self._head, board.head("Models", place, "working" if is_busy else count))

    def _say(self, text: str) -> None:
        put(self._status, html.escape(text))

    def _failed(self, error: ToolkitError) -> None:
        put(self._status, notice(error.message, error.hint))
