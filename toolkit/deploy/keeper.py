"""The life of a deployment by its name, on any target: opened, adopted, looked at, ended.

Here is decided what a target does not know: whether the name exists and is adopted,
replaced or opened; that the ledger is written first; that one program at a time works on
a name; and that whatever fails half way is closed again.
"""

import asyncio
import importlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import filelock
import msgspec

from toolkit import paths
from toolkit.deploy.agreed import Difference, differences
from toolkit.deploy.base import (
    Action,
    Change,
    Finding,
    Health,
    Intent,
    Part,
    Plan,
    Progress,
    Record,
    Spend,
    State,
    Status,
    SupportsChanges,
    SupportsChecks,
    SupportsInventory,
    SupportsLogs,
    SupportsSpend,
    Target,
    Update,
    check_name,
)
from toolkit.deploy.keyfile import unwritable
from toolkit.deploy.ledger import Ledger
from toolkit.errors import DeadlineError, ToolkitError, UsageError

RUN_VARIABLE = "AKASH_LLM_RUN"
_opened_here: set[str] = set()
CLOSE_DEADLINE_S = 240.0  # an account that is asked may take its time
LOCK_POLL_S = 0.1

# target -> where its class is; one line is all that a new target needs here.
TARGETS: Mapping[str, str] = {
    "local": "toolkit.deploy.local:LocalTarget",
    "console": "toolkit.deploy.akash.target:ConsoleTarget",
    "compose": "toolkit.deploy.compose:ComposeTarget",
}

_COMPARED = tuple(name for name in Intent.__struct_fields__ if name != "name")


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint, as the ledger has it and as it is."""

    uid: str
    name: str
    target: str
    engine: str
    model: str
    state: State
    health: Health
    detail: str
    url: str | None
    key_file: str
    context: int
    parallel: int
    opened_at: datetime
    run_id: str | None
    parts: tuple[Part, ...] = ()
    spend: Spend | None = None

    @property
    def is_of_this_run(self) -> bool:
        """Whether this program has opened it, or the run of a notebook that it is part of."""
        is_of_run = self.run_id is not None and self.run_id == os.environ.get(RUN_VARIABLE)
        return is_of_run or self.uid in _opened_here


class Keeper:
    """All of it over one ledger and a set of targets. Holds no state of its own."""

    def __init__(
        self, *, targets: Mapping[str, Target] | None = None, ledger: Ledger | None = None
    ) -> None:
        self._targets = targets
        self.ledger = ledger or Ledger(paths.ledger())

    def target(self, name: str) -> Target:
        """The target of that name, or `UsageError`."""
        if self._targets is not None and name in self._targets:
            return self._targets[name]
        known = TARGETS if self._targets is None else {}
        if name not in known:
            names = ", ".join(self._targets or TARGETS)
            raise UsageError(f"there is no target {name!r}", hint=f"Targets: {names}")
        module, _, attribute = known[name].partition(":")
        made: Target = getattr(importlib.import_module(module), attribute)()
        return made

    def targets(self) -> list[Target]:
        """All of them."""
        return [self.target(name) for name in (self._targets or TARGETS)]

    # -- plan -----------------------------------------------------------------------

    async def plan(self, intent: Intent) -> Plan:
        """What applying the intent would do, given what is there under its name."""
        _check(intent)
        target = self.target(intent.target)
        record = self.ledger.find(intent.name)
        plan = await target.plan(intent)
        if record is None or record.state is State.CLOSING:
            return plan
        if (await self.target(record.target).status(record)).health is Health.GONE:
            return plan
        changes = changes_between(record.intent, plan.intent)
        action = self._action(record, plan) if changes else Action.ADOPT
        return msgspec.structs.replace(plan, action=action, changes=changes)

    async def plan_again(self, agreed: Plan) -> tuple[Plan, tuple[Difference, ...]]:
        """A plan that was made before, with what applying it would do and cost now, and in which
        ways that is more than it said. What is deployed stays what it says."""
        now = await self.plan(agreed.intent)
        return msgspec.structs.replace(now, sdl=agreed.sdl), differences(agreed, now)

    def _action(self, record: Record, plan: Plan) -> Action:
        """How another intent would be carried out on what is there."""
        changer = self._changer(record, plan)
        return Action.REPLACE if changer is None else changer.action(record, plan)

    def _changer(self, record: Record, plan: Plan) -> SupportsChanges | None:
        """What can carry the one over to the other: their target, if it is the same and can."""
        target = self.target(record.target)
        is_same = record.target == plan.intent.target
        return target if is_same and isinstance(target, SupportsChanges) else None

    # -- apply ----------------------------------------------------------------------

    async def apply(
        self,
        plan: Plan,
        *,
        replace: bool = False,
        progress: Progress | None = None,
        deadline_s: float | None = None,
    ) -> Record:
        """Carry out a plan and return the record of an endpoint that answers.

        What is there by that name and fits is adopted; what does not fit is ended only
        with `replace`. If anything fails, what this call opened is closed before the
        error goes on. `DeadlineError` after `deadline_s`, where that is left out after what
        the intent allows.
        """
        _check(plan.intent)
        if deadline_s is None:
            deadline_s = plan.intent.deadline_s
        report = _Reporter(progress or (lambda update: None), deadline_s)
        try:
            async with asyncio.timeout(deadline_s), self._lock(plan.intent.name, report):
                return await self._apply(plan, replace, report)
        except TimeoutError:
            raise DeadlineError(
                f"{plan.intent.name} was not ready within {deadline_s:.0f} s; the last phase was"
                f" {report.phase!r}",
                hint=f"Its log says more: akash-llm logs {plan.intent.name}",
            ) from None
        except OSError as error:
            raise unwritable(error) from None

    async def _apply(self, plan: Plan, replace: bool, report: "_Reporter") -> Record:
        record = await self._adopted(plan, replace)
        changer = None if record is None else self._changer(record, plan)
        if record is not None and changer and changes_between(record.intent, plan.intent):
            return await self._change(changer, record, plan, report)
        former = None
        if record is None:
            self._check(plan)
            run_id = os.environ.get(RUN_VARIABLE) or None
            former = self.ledger.latest(plan.intent.name)
            record = self.ledger.open(plan.intent, sdl=plan.sdl, run_id=run_id)
            _opened_here.add(record.uid)
        elif await self._answers(record):
            report("adopt", "it is there already")
            return self.ledger.move(record.uid, State.READY)
        opening = _Opening(self.ledger, record, report, former)
        try:
            await self.target(record.target).apply(opening)
            return self.ledger.move(record.uid, State.READY)
        except BaseException as error:
            # One that worked before may recover, and somebody may be using it.
            if record.state is not State.READY:
                await self._end(record, error=_reason(error, report))
                if report.left_s:  # else the phase that took too long is the one to name
                    report("close", "what was started is ended again")
            raise

    async def _adopted(self, plan: Plan, replace: bool) -> Record | None:
        """The open record to go on with; what stands in the way is closed."""
        record = self.ledger.find(plan.intent.name)
        if record is None:
            return None
        is_gone = (await self.target(record.target).status(record)).health is Health.GONE
        changes = changes_between(record.intent, plan.intent)
        if record.state is State.CLOSING or is_gone:
            await self._end(record, error="it had ended by itself" if is_gone else None)
            return None
        if not changes:
            return record
        if not replace:
            listed = ", ".join(f"{c.field} {c.now} → {c.then}" for c in changes)
            raise UsageError(
                f"{record.name} runs already, with another intent: {listed}",
                hint="Say that it shall be replaced (--replace, replace=True), or choose"
                " another name.",
            )
        self._check(plan)
        if record.state is State.READY and self._changer(record, plan):
            return record
        await self._end(record)
        return None

    def _check(self, plan: Plan) -> None:
        """Raises what keeps it from being applied, while nothing is written or ended yet."""
        target = self.target(plan.intent.target)
        if isinstance(target, SupportsChecks):
            target.check(plan)

    async def _change(
        self, changer: SupportsChanges, record: Record, plan: Plan, report: "_Reporter"
    ) -> Record:
        """Carry what runs over to another intent; if that fails it goes on as it was."""
        opening = _Opening(self.ledger, record, report)
        if changer.action(record, plan) is Action.UPDATE:
            await changer.update(opening, plan)
        else:
            await changer.replace(opening, plan)
        return self.ledger.move(record.uid, State.READY)

    async def _answers(self, record: Record) -> bool:
        status = await self.target(record.target).status(record)
        return record.state is State.READY and status.health is Health.READY

    # -- close ----------------------------------------------------------------------

    async def close(
        self,
        name: str,
        *,
        deadline_s: float = CLOSE_DEADLINE_S,
        error: str | None = None,
        only: Record | None = None,
    ) -> Record | None:
        """End the endpoint of that name; its row, or None if nothing was open.

        `error` is written down as the reason. With `only` nothing is ended but what is as it
        was then: somebody may have gone on with it meanwhile.
        """
        if self.ledger.find(check_name(name)) is None:
            return None
        async with self._closing(name, deadline_s):
            record = self.ledger.find(name)
            if record is None or (only is not None and record != only):
                return None
            return await self._end(record, error=error)

    async def close_all(self, names: Sequence[str]) -> list[Record]:
        """End each of them, also when one cannot be ended; that error is raised at the end."""
        closed, errors = list[Record](), list[ToolkitError]()
        for name in names:
            try:
                record = await self.close(name)
            except ToolkitError as error:
                errors.append(error)
            else:
                closed += [record] if record else []
        if errors:
            raise errors[0]
        return closed

    async def discard(self, diagnosed: Finding, target_name: str) -> None:
        """End what a target has found, if it is still as it was found."""
        target = self.target(target_name)
        if not isinstance(target, SupportsInventory):
            return
        if not diagnosed.name:
            await target.discard(diagnosed)
            return
        async with self._closing(diagnosed.name, CLOSE_DEADLINE_S):
            if any(found.key == diagnosed.key for found in await target.inventory()):
                await target.discard(diagnosed)

    @asynccontextmanager
    async def _closing(self, name: str, deadline_s: float) -> AsyncIterator[None]:
        """Hold the name while something of it is ended; `DeadlineError` if that takes longer."""
        report = _Reporter(lambda update: None, deadline_s)
        try:
            async with asyncio.timeout(deadline_s), self._lock(name, report):
                yield
        except TimeoutError:
            hint = "It may still cost something: akash-llm doctor"
            if report.phase == "wait":
                hint = "Another akash-llm is working on it: end that one, then try again."
            message = f"{name} could not be closed within {deadline_s:.0f} s"
            raise DeadlineError(message, hint=hint) from None

    async def close_runs(self, *run_ids: str) -> list[Record]:
        """End what notebook runs opened, all of it that can be ended; what they adopted stays."""
        found = (self.ledger.open_records(run_id=run_id) for run_id in run_ids)
        return await self.close_all([record.name for records in found for record in records])

    async def _end(self, record: Record, *, error: str | None = None) -> Record:
        self.ledger.move(record.uid, State.CLOSING, error=error)
        latest = self.ledger.get(record.uid) or record
        await self.target(record.target).close(latest)
        return self.ledger.move(record.uid, State.CLOSED)

    # -- look -----------------------------------------------------------------------

    async def status(self, name: str | None = None) -> list[EndpointStatus]:
        """Open endpoints, or the one of that name (`UsageError` if there is none)."""
        records = [self.record(name)] if name else self.ledger.open_records()
        return list(await asyncio.gather(*(self._status(record) for record in records)))

    async def _status(self, record: Record) -> EndpointStatus:
        seen: Status = await self.target(record.target).status(record)
        return EndpointStatus(
            uid=record.uid,
            name=record.name,
            target=record.target,
            engine=record.intent.engine,
            model=record.served_model,
            state=record.state,
            health=seen.health,
            detail=seen.detail,
            url=record.url,
            key_file=str(paths.key_file(record.name)),
            context=record.intent.context,
            parallel=record.intent.parallel,
            opened_at=record.opened_at,
            run_id=record.run_id,
            parts=seen.parts,
            spend=seen.spend,
        )

    def spend(self, record: Record) -> Spend | None:
        """What it costs and has cost, by the books; None where it costs nothing."""
        target = self.target(record.target)
        return target.spend(record) if isinstance(target, SupportsSpend) else None

    def record(self, name: str | None) -> Record:
        """The open record of that name; without a name, the only one there is."""
        records = self.ledger.open_records()
        if name is not None:
            records = [record for record in records if record.name == check_name(name)]
        if len(records) == 1:
            return records[0]
        if not records:
            which = f"named {name!r} " if name else ""
            raise UsageError(f"no endpoint {which}is open", hint="Start one here: akash-llm up")
        names = ", ".join(record.name for record in records)
        raise UsageError("several endpoints are open", hint=f"Say which: {names}")

    async def logs(
        self,
        name: str | None = None,
        *,
        follow: bool = False,
        tail: int = 100,
        service: str | None = None,
    ) -> AsyncIterator[str]:
        """What the endpoint said; also of one that is closed, if `name` says which.

        `service` is one of its parts, `server` or `engine`.
        """
        record = self.ledger.latest(check_name(name)) if name else self.record(None)
        if record is None:
            raise UsageError(f"no endpoint named {name!r} was ever opened here")
        target = self.target(record.target)
        if not isinstance(target, SupportsLogs):
            raise UsageError(f"the target {record.target!r} keeps no logs")
        async for line in target.logs(record, follow=follow, tail=tail, service=service):
            yield line

    def services(self, record: Record) -> Sequence[str]:
        """What the parts are called that `logs` knows; none where its target keeps no logs."""
        target = self.target(record.target)
        return target.services(record) if isinstance(target, SupportsLogs) else ()

    # -- one program at a time ------------------------------------------------------

    @asynccontextmanager
    async def _lock(self, name: str, report: "_Reporter") -> AsyncIterator[None]:
        """Hold the name. Waits; who waits sets the time."""
        lock = filelock.FileLock(_lock_path(name), thread_local=False)
        while True:
            try:
                lock.acquire(timeout=0)
                break
            except filelock.Timeout:
                if report.phase != "wait":
                    report("wait", f"another akash-llm is working on {name}")
                await asyncio.sleep(LOCK_POLL_S)
        try:
            yield
        finally:
            lock.release()

    def is_busy(self, name: str) -> bool:
        lock = filelock.FileLock(_lock_path(name), thread_local=False)
        try:
            with lock.acquire(timeout=0):
                return False
        except filelock.Timeout:
            return True


def changes_between(now: Intent, then: Intent) -> tuple[Change, ...]:
    """The fields in which another intent asks for another deployment."""
    return tuple(
        Change(field, _shown(getattr(now, field)), _shown(getattr(then, field)))
        for field in _COMPARED
        if getattr(now, field) != getattr(then, field)
    )


def _shown(value: object) -> str:
    """A field of an intent for people."""
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value in (None, "") else str(value)


class _Reporter:
    """Tells the person about phases, with the time since the beginning."""

    def __init__(self, progress: Progress, deadline_s: float) -> None:
        self._progress = progress
        self._start = time.monotonic()
        self._deadline_s = deadline_s
        self.phase = "begin"

    @property
    def left_s(self) -> float:
        return max(0.0, self._deadline_s - (time.monotonic() - self._start))

    def __call__(self, phase: str, text: str, usual_s: float | None = None) -> None:
        self.phase = phase
        try:
            self._progress(Update(phase, text, time.monotonic() - self._start, usual_s))
        except OSError:  # nobody reads any more; the work goes on, cleaning up most of all
            self._progress = lambda update: None


class _Opening:
    """The `Opening` that a target sees."""

    def __init__(
        self, ledger: Ledger, record: Record, report: _Reporter, former: Record | None = None
    ) -> None:
        self._ledger = ledger
        self._report = report
        self.record = record
        self.former = former

    @property
    def deadline_s(self) -> float:
        return self._report.left_s

    def note(self, *, url: str | None = None, **handle: str | int | float) -> None:
        self.record = self._ledger.note(self.record.uid, url=url, handle=handle)

    def revise(self, plan: Plan, *, url: str | None = None, **handle: str | int | float) -> None:
        self.record = self._ledger.revise(
            self.record.uid, plan.intent, sdl=plan.sdl, url=url, handle=handle
        )

    def report(self, phase: str, text: str, usual_s: float | None = None) -> None:
        self._report(phase, text, usual_s)


def _check(intent: Intent) -> None:
    check_name(intent.name)
    for field in ("context", "parallel"):
        if getattr(intent, field) < 1:
            raise UsageError(f"{field} must be at least 1", hint="Leave it out for the default.")


def _reason(error: BaseException, report: _Reporter) -> str:
    if not isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return "interrupted" if report.left_s else f"not ready in time (phase {report.phase!r})"


def _lock_path(name: str) -> Path:
    folder = paths.endpoint(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / ".lock"
