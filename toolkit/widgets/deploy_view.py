"""The widgets of the deploy panel and how they are laid out; what they do is the panel's."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Protocol

import ipywidgets as widgets

from toolkit import paths
from toolkit.deploy.base import Plan, Record, Spend, State, Status
from toolkit.widgets import board
from toolkit.widgets import deploy_page as page
from toolkit.widgets.controls import button, choice, put, row, show, toggle
from toolkit.widgets.deploy_watch import Watch
from toolkit.widgets.style import classed, sheet
from toolkit.widgets.task import HomeLoop
from toolkit.widgets.typed import TEXT_GRACE_S

_ALL = ("all services", "")
STEPS = ("Choose", "Read the plan", "Open", "Use")


class Stage(IntEnum):
    """Where a person is; the values are the steps that are shown."""

    FORM = 0
    PLAN = 1
    OPENING = 2
    RUNNING = 3


class Actions(Protocol):
    """What the buttons do."""

    def make_plan(self) -> None: ...
    def back(self) -> None: ...
    def confirm(self) -> None: ...
    def stop(self) -> None: ...
    def change(self) -> None: ...
    def go_on(self) -> None: ...
    def look(self) -> None: ...
    def end(self) -> None: ...
    def follow(self, is_followed: bool, service: str) -> None: ...


class DeployView:
    """Sections, of which those are shown that belong to the stage."""

    def __init__(self, home: HomeLoop, form: widgets.Widget, actions: Actions) -> None:
        self.is_stopping = self._is_blocked = False
        self._head, self._steps = widgets.HTML(), widgets.HTML()
        self.status = classed(widgets.HTML(), "akl-status")
        self._build_buttons(home, actions)
        self._amounts, self._plan = widgets.HTML(), classed(widgets.HTML(), "akl-section")
        self._phases = classed(widgets.HTML(), "akl-section")
        self._tiles, self._facts = widgets.HTML(), classed(widgets.HTML(), "akl-section")
        # Tab leads to the lines, so that the arrow keys can move them.
        self._log_lines = widgets.HTML(layout=widgets.Layout(flex="0 0 auto"), tabbable=True)
        self._log = classed(
            widgets.Box([self._log_lines], layout=widgets.Layout(flex_flow="column-reverse")),
            "akl-console",
        )
        self._events = classed(widgets.HTML(), "akl-section")
        self._form = widgets.VBox([form, self._actions(self.plan, self.halt, self.keep)])
        self._planned = widgets.VBox(
            [self._amounts, self._plan, self._ask(self.confirm, self.back)]
        )
        self._opening = widgets.VBox([self._actions(self.stop)])
        self._running = widgets.VBox(
            [
                self._tiles,
                self._facts,
                self._actions(self.change, self.go_on, self.look, self.close),
                self._closing,
            ]
        )
        self._following = self._actions(self.log, self.events, self.service)
        parts = [
            *(sheet(), board.board_sheet(), self._head, self._steps),
            *(self._form, self._planned, self._phases, self._opening, self._running),
            *(self.status, self._following, self._log, self._events),
        ]
        self.view = classed(widgets.VBox(parts), "akl", "akl-deploy")
        show(self._log, False)
        show(self._events, False)

    def _build_buttons(self, home: HomeLoop, do: Actions) -> None:
        def made(text: str, tip: str, act: str, style: str = "") -> widgets.Button:
            return button(home, text, tip, lambda: getattr(do, act)(), style=style)

        self.plan = button(
            home,
            "Plan",
            "Say what it takes and costs; start nothing",
            do.make_plan,
            style="primary",
            after_s=TEXT_GRACE_S,
        )
        self.halt = made("Stop", "Give up planning", "stop")
        self.keep = made("Back", "Leave it as it is", "back")
        self.halt.disabled = True
        self.confirm = made("Deploy", "Do what the plan says", "confirm", "primary")
        self.back = made("Back", "Start nothing", "back")
        self.stop = made("Stop", "Give up, and close what was begun", "stop", "warning")
        self.change = made("Change…", "Plan something else for it", "change")
        self.go_on = made("Go on", "Plan the rest of an opening that was left", "go_on")
        self.look = made("Look now", "Ask how it is", "look")
        self.close = button(home, "Close…", "End it", lambda: self._show_ask(True))
        self.yes = made("Close it now", "Yes, end it", "end", "danger")
        self.no = button(home, "Keep it", "No, let it run", lambda: self._show_ask(False))
        self._refund = classed(widgets.HTML(), "akl-amount")
        self._closing = self._ask(self.yes, self.no, self._refund)
        self.log = toggle(home, "Log", "What it says", lambda _: self._look_at(do))
        self.events = toggle(home, "Events", "What happened", lambda _: self._look_at(do))
        self.service = choice("Log of", [_ALL], _ALL[1])
        self.service.layout.flex = "0 1 260px"
        self.service.observe(lambda _: home.do(lambda: self._look_at(do)), "value")
        show(self.service, False)

    def _look_at(self, do: Actions) -> None:
        show(self._log, self.log.value)
        show(self._events, self.events.value)
        show(self.service, self.log.value and len(self.service.options) > 2)
        do.follow(self.log.value, str(self.service.value or ""))

    def _offer_services(self, names: Sequence[str]) -> None:
        """Whose log there is to choose, where there are several; that of all to begin with."""
        options = (_ALL, *((name, name) for name in names))
        if self.service.options != options:
            self.service.options = options
            show(self.service, len(names) > 1)

    @staticmethod
    def _actions(*buttons: widgets.Widget) -> widgets.HBox:
        return classed(row(*buttons), "akl-actions")

    @staticmethod
    def _ask(*buttons: widgets.Widget) -> widgets.HBox:
        return classed(row(*buttons), "akl-ask")

    # -- stages ---------------------------------------------------------------------

    def show(self, stage: int, *, has_record: bool) -> None:
        """Show what belongs to a stage."""
        sections = (self._form, self._planned, self._opening, self._running)
        for at, section in enumerate(sections):
            show(section, at == stage)
        show(self.keep, has_record)
        show(self._following, stage >= 2)
        if stage < 2:
            self.log.value = self.events.value = False
        self._show_ask(False)
        put(self._steps, board.steps(STEPS, stage))

    def _show_ask(self, is_asked: bool) -> None:
        show(self._closing, is_asked)
        show(self.close, not is_asked)

    def show_plan(self, plan: Plan, record: Record | None) -> None:
        """A plan, and the button that agrees to it and names the amount."""
        put(self._amounts, page.amounts(plan))
        put(self._plan, page.plan_page(plan, record))
        self.confirm.description = page.confirm_text(plan)
        self._is_blocked = bool(plan.missing) or plan.worst_case_usd is None
        self.confirm.disabled = self._is_blocked

    def enable(self, *, is_busy: bool) -> None:
        """Offer what can be done while something is under way, or when nothing is."""
        self.is_stopping = False
        self.stop.description, self.stop.disabled = "Stop", not is_busy
        self.halt.disabled = not is_busy
        for each in (self.plan, self.keep, self.back, self.change, self.go_on, self.look):
            each.disabled = is_busy
        for each in (self.close, self.yes, self.no):
            each.disabled = is_busy
        self.confirm.disabled = is_busy or self._is_blocked

    def stopping(self) -> None:
        """Stop was asked for: once is enough."""
        self.is_stopping = True
        self.stop.disabled = self.halt.disabled = True
        self.stop.description = "Stopping…"
        put(self.status, "stopping: what was begun is being closed…")

    # -- what changes by itself -----------------------------------------------------

    def title(self, about: str, state: str) -> None:
        put(self._head, board.head("Deploy", about, state))

    def progress(self, phases: str) -> None:
        put(self._phases, phases)
        show(self._phases, bool(phases))

    def running(self, record: Record, status: Status | None, spend: Spend | None) -> None:
        """What runs; one that is half open can be gone on with."""
        is_half, refund = record.state is State.OPENING, page.refund_text(spend)
        put(self._tiles, page.running_tiles(record, status, spend, datetime.now(UTC)))
        put(self._facts, page.running_page(record, status, str(paths.key_file(record.name))))
        self.yes.description = page.close_text(spend)
        put(self._refund, board.text(refund))
        show(self._refund, bool(refund))
        show(self.go_on, is_half)
        show(self.change, not is_half)

    def following(self, watch: Watch) -> None:
        """The log and the events, as far as they are looked at."""
        if self.log.value:
            self._offer_services(watch.services())
            none = f"nothing yet: {watch.log_note}" if watch.log_note else "nothing yet"
            put(self._log_lines, board.console(watch.lines, none))
        if self.events.value:
            put(self._events, page.events_page(watch.events()))
