"""Ledger against reality, both ways: rows with nothing behind them, and the reverse.

Looking and settling are two steps, so that a person can look first. What another
program is working on right now is left alone. A deployment that is past a limit is ended
as well, so that a scheduler that calls the doctor keeps the limits which need a watcher.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from toolkit.deploy.base import Finding, Health, Record, State, Status, SupportsInventory, Target
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.watching import over
from toolkit.errors import ToolkitError

# One look is no proof that nothing runs: containers begin anew now and then.
LOOKS = 3
LOOK_AGAIN_S = 15.0


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """One disagreement, and what settles it: nothing where `remedy` is empty. `finding` is set
    when no row knows of it, `record` as it was looked at when one does."""

    target: str
    name: str | None = None
    uid: str | None = None
    what: str
    remedy: str = ""
    finding: Finding | None = None
    record: Record | None = None


async def diagnose(keeper: Keeper, *, look_again_s: float = LOOK_AGAIN_S) -> list[Diagnosis]:
    """Where ledger and reality disagree; changes nothing."""
    found = [await _row(keeper, record, look_again_s) for record in keeper.ledger.open_records()]
    rows = [diagnosis for diagnosis in found if diagnosis is not None]
    strays = [stray for target in keeper.targets() for stray in await _strays(keeper, target)]
    return rows + strays


async def settle(keeper: Keeper, diagnosis: Diagnosis) -> None:
    """Do what the diagnosis proposes; silent if it has settled itself."""
    if not diagnosis.remedy:
        return
    if diagnosis.finding is not None:
        await keeper.discard(diagnosis.finding, diagnosis.target)
    elif diagnosis.record is not None:
        record = diagnosis.record
        await keeper.close(record.name, error=diagnosis.what, only=record)


async def _row(keeper: Keeper, record: Record, look_again_s: float) -> Diagnosis | None:
    if keeper.is_busy(record.name):
        return None
    target = keeper.target(record.target)
    status = await target.status(record)
    what = await _wrong(target, record, status, look_again_s)
    if not what:
        return None
    return Diagnosis(
        target=record.target,
        name=record.name,
        uid=record.uid,
        what=what,
        remedy="close it",
        record=record,
    )


async def _wrong(target: Target, record: Record, status: Status, look_again_s: float) -> str:
    if status.health is Health.GONE:
        return f"the ledger says {record.state}, but {status.detail}"
    if record.state is not State.READY:
        return f"it was left {record.state}: whoever did that has gone"
    if status.health is Health.IDLE and await _stays_idle(target, record, look_again_s):
        return status.detail
    return await over(record, status)


async def _stays_idle(target: Target, record: Record, look_again_s: float) -> bool:
    for _ in range(LOOKS - 1):
        await asyncio.sleep(look_again_s)
        if (await target.status(record)).health is not Health.IDLE:
            return False
    return True


async def _strays(keeper: Keeper, target: Target) -> Sequence[Diagnosis]:
    if not isinstance(target, SupportsInventory):
        return ()
    try:
        findings = await target.inventory()
    except ToolkitError as error:
        return (Diagnosis(target=target.name, what=f"it cannot be looked at: {error.message}"),)
    # The ledger is asked after reality: rows come first, so a new deployment is known.
    return [
        Diagnosis(
            target=target.name,
            name=finding.name or None,
            uid=finding.uid,
            what=finding.what if finding.remedy else f"{finding.what}, and no open row",
            remedy=finding.remedy or "end it",
            finding=finding,
        )
        for finding in findings
        if not _is_known(keeper, finding)
    ]


def _is_known(keeper: Keeper, finding: Finding) -> bool:
    if finding.is_stray or finding.remedy:
        return bool(finding.name) and keeper.is_busy(finding.name)
    record = keeper.ledger.get(finding.uid)
    return record is not None and record.is_open
