"""Ledger against reality, both ways: rows with nothing behind them, and the reverse.

Looking and settling are two steps, so that a person can look first. What another
program is working on right now is left alone.
"""

from collections.abc import Sequence

import msgspec

from toolkit.deploy.base import Finding, Health, Record, State, SupportsInventory, Target
from toolkit.deploy.keeper import Keeper


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """One disagreement, and what settles it. `finding` is set when no row knows of it."""

    target: str
    name: str | None = None
    uid: str | None = None
    what: str
    remedy: str
    finding: Finding | None = None


async def diagnose(keeper: Keeper) -> list[Diagnosis]:
    """Where ledger and reality disagree; changes nothing."""
    rows = [await _row(keeper, record) for record in keeper.ledger.open_records()]
    strays = [found for target in keeper.targets() for found in await _strays(keeper, target)]
    return [diagnosis for diagnosis in rows if diagnosis] + strays


async def settle(keeper: Keeper, diagnosis: Diagnosis) -> None:
    """Do what the diagnosis proposes; silent if it has settled itself."""
    if diagnosis.finding is None:
        if diagnosis.name is not None:
            await keeper.close(diagnosis.name)
        return
    target = keeper.target(diagnosis.target)
    if isinstance(target, SupportsInventory):
        await target.discard(diagnosis.finding)


async def _row(keeper: Keeper, record: Record) -> Diagnosis | None:
    if keeper.is_busy(record.name):
        return None
    status = await keeper.target(record.target).status(record)
    if status.health is Health.GONE:
        what = f"the ledger says {record.state}, but {status.detail}"
    elif record.state is State.READY:
        return None
    else:
        what = f"it was left {record.state}: whoever did that has gone"
    return Diagnosis(
        target=record.target, name=record.name, uid=record.uid, what=what, remedy="close it"
    )


async def _strays(keeper: Keeper, target: Target) -> Sequence[Diagnosis]:
    if not isinstance(target, SupportsInventory):
        return ()
    findings = await target.inventory()
    # The ledger is asked after reality: rows come first, so a new deployment is known.
    return [
        Diagnosis(
            target=target.name,
            uid=finding.uid,
            what=f"{finding.what}, and no open row",
            remedy="end it",
            finding=finding,
        )
        for finding in findings
        if not _is_known(keeper, finding)
    ]


def _is_known(keeper: Keeper, finding: Finding) -> bool:
    record = keeper.ledger.get(finding.uid)
    return record is not None and record.is_open
