"""Limits that hold while somebody watches: total cost, hours, and nobody asking.

Nothing here runs by itself. `akash-llm status --watch`, a panel, or a scheduler that calls
`akash-llm doctor` ask for the verdict; the limits that hold with all of them gone are the
target's own.
"""

from datetime import UTC, datetime
from decimal import Decimal

from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import Health, Record, Status
from toolkit.errors import ToolkitError

_IDLE = "akash_llm_idle_seconds"
# Of a reply that long, the rest is not read.
_MOST_LINES = 20_000


async def over(record: Record, status: Status, now: datetime | None = None) -> str:
    """Why it has to end now, in words; empty while every limit holds."""
    now = now or datetime.now(UTC)
    return _cost(record, status) or _hours(record, status, now) or await _idle(record, status, now)


def _cost(record: Record, status: Status) -> str:
    most = record.intent.max_usd_total
    if most is None or status.spend is None or status.spend.spent_usd < most:
        return ""
    return f"it has cost ${status.spend.spent_usd:.4f}, and ${most} were allowed in all"


def _hours(record: Record, status: Status, now: datetime) -> str:
    """Where the target does not end it by itself."""
    hours = record.intent.runtime_hours
    if hours is None or status.spend is None or status.spend.ends_at is not None:
        return ""
    ran = (now - record.opened_at).total_seconds() / 3600
    return f"it has run for {ran:.1f} h, and {hours:g} were allowed" if ran >= hours else ""


async def _idle(record: Record, status: Status, now: datetime) -> str:
    minutes = record.intent.idle_minutes
    if minutes is None or status.health is not Health.READY:
        return ""
    since_opened = (now - record.updated_at).total_seconds()
    try:
        async with endpoint_of(record) as endpoint:
            told = idle_s(await endpoint.metrics())
    except ToolkitError:
        return ""  # it does not say: then it is not ended for it
    idle = since_opened if told is None else min(told, since_opened)
    if idle < minutes * 60:
        return ""
    return f"nobody has asked it for {idle / 60:.0f} min, and {minutes:g} were allowed"


def idle_s(metrics: str) -> float | None:
    """Seconds since any model was last asked; None where none ever was."""
    found = []
    for line in metrics.splitlines()[:_MOST_LINES]:
        name, _, rest = line.partition("{")
        if name != _IDLE:
            continue
        try:
            found.append(float(Decimal(rest.rpartition(" ")[2])))
        except ArithmeticError:
            continue
    return min(found, default=None)
