"""The deploy panel: a form, its plan, a confirmation that names the amount, and what runs.

It never deploys by itself: a click on the button that says the amount does, or `deploy` from
code. What is there under the name is shown and adopted. No key is asked for or shown: that of
an account lies in the environment, that of an endpoint in its file.
"""

import asyncio
import html
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from toolkit.client import Endpoint
from toolkit.deploy.access import endpoint_of
from toolkit.deploy.agreed import refusal
from toolkit.deploy.base import Action, Intent, Plan, Progress, Record, Update
from toolkit.deploy.keeper import Keeper
from toolkit.errors import EndpointError, ToolkitError, UsageError
from toolkit.models.local import LocalModels
from toolkit.widgets import deploy_page as page
from toolkit.widgets.controls import put
from toolkit.widgets.deploy_form import DeployForm, observed
from toolkit.widgets.deploy_phases import DONE, FAILED, STOPPED, Phases
from toolkit.widgets.deploy_view import DeployView, Stage
from toolkit.widgets.deploy_watch import Watch
from toolkit.widgets.notice import notice
from toolkit.widgets.task import BackgroundTask, HomeLoop, ticking
from toolkit.widgets.work import Work

PAINT_S = 0.25


class DeployPanel:
    """Deploy, watch, change and close one endpoint; show `view` (or the panel itself) in a cell.

    With a `plan` it begins at that plan; else with the form, filled from `name` and `intent`
    (what `toolkit.plan` takes). What is open under the name is shown at once.
    """

    def __init__(
        self,
        plan: Plan | None = None,
        *,
        name: str = "",
        target: str = "local",
        keeper: Keeper | None = None,
        **intent: Any,
    ) -> None:
        self.keeper = keeper or Keeper()
        self._intent = plan.intent if plan else Intent(name=name or target, target=target, **intent)
        self._plan = plan
        self._home = HomeLoop()
        self._work = Work(
            busy=self._busy, stopped=lambda: self._say("Stopped."), failed=self._failed
        )
        self._models = BackgroundTask(lambda _error: None)  # without the list one can type
        self._phases = Phases()
        self._watch = Watch(self.keeper, self._paint, self._said_ended, self._failed)
        self.form = DeployForm(self._intent)
        self._view = DeployView(self._home, self.form.view, self)
        self.view = self._view.view
        observed(self._home, self.form, self.make_plan)
        self._stage = Stage.FORM
        self._home.do(self._begin)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    # -- from code ------------------------------------------------------------------

    @property
    def record(self) -> Record | None:
        """The row of what is open under the name."""
        return self.keeper.ledger.find(self._intent.name)

    async def deploy(
        self,
        *,
        replace: bool = False,
        deadline_s: float | None = None,
        progress: Progress | None = None,
    ) -> Endpoint:
        """What the button that names the amount does, for the plan that is shown (or, where none
        is, the form's); waits for the end, and shows it as it goes.

        Returns the client. Raises what the panel shows. Cancelled, it closes what it began.
        """
        self._work.check_idle()
        if self._plan is None:
            self.make_plan()
            await self._work.finished()
        plan = self._plan
        if plan is None:
            raise UsageError("There is no plan to carry out.", hint="Make one in the panel.")
        self._open(plan, replace=replace, deadline_s=deadline_s, progress=progress)
        await self._work.finished()
        record = self.record
        if record is None:
            raise EndpointError("It was stopped, and what was begun is closed.")
        return endpoint_of(record, ledger=self.keeper.ledger)

    async def close(self) -> None:
        """End what is open under the name, and wait for it."""
        self._work.check_idle()
        self.end()
        await self._work.finished()

    def stop(self) -> None:
        """Give up what is under way: what an opening has begun is closed. Does not block."""
        if self._work.is_busy and not self._view.is_stopping:
            self._view.stopping()
            self._work.cancel()

    # -- what the buttons do --------------------------------------------------------

    def make_plan(self) -> None:
        """Plan what the form says."""
        self._run("planning…", self._planned)

    def back(self) -> None:
        """To the form, or to what runs: the plan is dropped."""
        if not self._work.is_busy:
            self._plan = None
            self._settle("")

    def confirm(self) -> None:
        """Carry out the plan whose amount the button has named."""
        if self._plan is not None and not self._view.confirm.disabled:
            is_told = self._plan.action in (Action.UPDATE, Action.REPLACE)
            self._open(self._plan, replace=is_told)

    def change(self) -> None:
        """Fill the form with what runs, to plan something else for it."""
        record = self.record
        if record is not None and not self._work.is_busy:
            self.form.fill(record.intent, is_open=True)
            self._show(Stage.FORM, "Change what shall be another way, then plan it.")

    def go_on(self) -> None:
        """Carry on an opening that somebody left half way, by the plan that it was made of."""
        record = self.record
        if record is not None:
            self.form.fill(record.intent, is_open=True)
            self.make_plan()

    def look(self) -> None:
        """Look now, without waiting for the next time."""
        self._run("", self._watch.look)

    def follow(self, is_followed: bool, service: str) -> None:
        """Read the log while it is looked at: of one service, or (empty) of all."""
        self._watch.follow(is_followed, service)
        self._paint()

    def end(self) -> None:
        """Close it."""
        self._run("closing…", self._closed)

    # -- how it is done -------------------------------------------------------------

    def _begin(self) -> None:
        self._models.start(self._offer_models)
        if self._plan is not None:
            self._show_plan(self._plan, "")
        else:
            self._settle("")

    def _run(self, said: str, work: Callable[[], Awaitable[None]]) -> None:
        if self._work.start(work) and said:
            self._say(said)

    def _busy(self, is_busy: bool) -> None:
        self._view.enable(is_busy=is_busy)
        self._paint()

    async def _planned(self) -> None:
        self._intent = self.form.intent()
        plan = await self.keeper.plan(self._intent)
        self._show_plan(plan, "Nothing has started yet.")

    def _show_plan(self, plan: Plan, said: str) -> None:
        self._plan, self._intent = plan, plan.intent
        self._phases = Phases()
        self._view.show_plan(plan, self.record)
        self._show(Stage.PLAN, said)

    def _open(
        self,
        plan: Plan,
        *,
        replace: bool,
        deadline_s: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._phases = Phases()

        def see(update: Update) -> None:
            self._phases.see(update)
            if progress is not None:
                progress(update)

        async def work() -> None:
            await self._opened(plan, replace, deadline_s, see)

        self._show(Stage.OPENING, "")
        self._run("beginning…", work)

    async def _opened(
        self, plan: Plan, replace: bool, deadline_s: float | None, see: Progress
    ) -> None:
        plan = await self._still_agreed(plan)
        before, end = self.record, FAILED
        self._watch.start(plan.intent.name)
        try:
            async with ticking(self._paint, PAINT_S):
                await self.keeper.apply(plan, replace=replace, progress=see, deadline_s=deadline_s)
            end = DONE
            self._plan = None
            self._settle("It is ready.")
        except asyncio.CancelledError:
            end = STOPPED
            self._settle(self._stopped(plan, before))
            if self.record is None:
                await self._watch.stopped()
        except Exception:
            self._after_failure(plan)
            raise
        finally:
            self._phases.end(end)

    async def _still_agreed(self, plan: Plan) -> Plan:
        """The plan as it would be carried out now. Where that is more than the button said, it is
        shown, and nothing is done: raises what has changed."""
        with ExitStack() as undoing:
            undoing.callback(self._show, Stage.PLAN, "")
            made, found = await self.keeper.plan_again(plan)
            undoing.pop_all()
        if found:
            self._show_plan(made, "")
            raise refusal(found)
        return made

    def _stopped(self, plan: Plan, before: Record | None) -> str:
        """What is left after Stop, in a sentence."""
        latest = self.keeper.ledger.latest(plan.intent.name)
        spend = None if latest is None else self.keeper.spend(latest)
        return page.stopped_text(before, latest, spend)

    def _after_failure(self, plan: Plan) -> None:
        """To what is left: an endpoint, or the plan, which may be tried again."""
        if self.record is not None:
            self._settle("")
        else:
            self._watch.stop()
            self._show(Stage.PLAN, "")

    async def _closed(self) -> None:
        name = self._intent.name
        self._view.is_stopping = self._view.stop.disabled = True  # nothing ends an end
        await self._watch.stopped()
        self._phases = Phases()
        try:
            record = await self.keeper.close(name)
        finally:
            self._settle("")
        if record is None:
            self._say(f"{name} was closed already.")
        else:
            self._say(page.closed_text(record, self.keeper.spend(record)))

    def _said_ended(self, why: str) -> None:
        self._settle(why)

    async def _offer_models(self) -> None:
        self.form.offer([row.name for row in await LocalModels().listed()])

    # -- what is shown --------------------------------------------------------------

    def _settle(self, said: str) -> None:
        """Show what there is now: what is open under the name, or the form."""
        record = self.record
        if record is None:
            self._watch.stop()
            self.form.fill(self._intent)
            self._show(Stage.FORM, said)
        else:
            self._intent = record.intent
            self._watch.start(record.name)
            self._show(Stage.RUNNING, said)

    def _show(self, stage: Stage, said: str) -> None:
        self._stage = stage
        self._view.show(stage, has_record=self.record is not None)
        self._say(said)
        self._paint()

    def _paint(self) -> None:
        """Bring everything up to date that changes by itself."""
        record = self.record
        if record is None and self._stage is Stage.RUNNING and not self._work.is_busy:
            self._settle(f"{self._intent.name} is closed.")
            return
        place = page.PLACES.get(self._intent.target, self._intent.target)
        self._view.title(f"{self._intent.name} · {place}", self._state(record))
        is_past = self._stage is Stage.RUNNING and self._phases.is_done
        self._view.progress("" if is_past else page.phases_page(self._phases))
        if self._stage is Stage.OPENING and self._work.is_busy and not self._view.is_stopping:
            self._say(self._phases.sentence)
        if record is not None:
            self._view.running(record, self._watch.status, self.keeper.spend(record))
        self._view.following(self._watch)

    def _state(self, record: Record | None) -> str:
        if self._work.is_busy:
            return "working"
        if record is None:
            return "nothing runs"
        return page.state_of(record, self._watch.status)[0]

    def _say(self, text: str) -> None:
        put(self._view.status, html.escape(text))

    def _failed(self, error: ToolkitError) -> None:
        put(self._view.status, notice(error.message, error.hint))
