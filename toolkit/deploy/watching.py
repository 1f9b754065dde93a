"""Limits that hold while somebody watches: total cost, hours, and nobody asking.

Nothing here runs by itself. `akash-llm status --watch`, a panel and a matrix end what is past a
limit as long as they run, a scheduler that calls `akash-llm doctor` does when it calls; the limits
that hold with all of them gone are the target's own.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from toolkit.deploy.access import endpoint_of
from toolkit.deploy.base import Health, Record, State, Status
from toolkit.deploy.keeper import EndpointStatus, Keeper
from toolkit.errors import EndpointError, ToolkitError

Seen = Status | EndpointStatus
"""What somebody has just seen of it: there is no need to look again."""

# So much later than asked for, an end that the target keeps by itself will do: a lease begins some
# minutes after its row.
_ALONE = timedelta(minutes=30)
_IDLE = "akash_llm_idle_seconds"
# Of a reply that long, the rest is not read.
_MOST_LINES = 20_000


async def end_if_over(keeper: Keeper, record: Record, status: Seen) -> str:
    """End what was just seen, where that is due: it is past a limit, has ended by itself, or its
    end had begun. Why, in words; empty where it goes on.

    What somebody is working on is left alone, and so is what has changed since `record` was read;
    of an opening that nobody works on the limits hold. Raises `EndpointError` where it could not
    be closed: whoever watches on tries again.
    """
    if keeper.is_busy(record.name):
        return ""
    if not (why := await _due(record, status)):
        return ""
    try:
        closed = await keeper.close(record.name, error=why, only=record)
    except ToolkitError as error:
        raise EndpointError(
            f"it has to end ({why}) and could not be closed: {error.message}",
            hint=f"It is tried again. {error.hint}".strip(),
        ) from error
    return why if closed else ""


async def _due(record: Record, status: Seen) -> str:
    if record.state is State.CLOSING:
        return "its end had begun"
    if status.health is Health.GONE and record.state is not State.OPENING:
        return "it had ended by itself"
    return await over(record, status)


async def over(record: Record, status: Seen, now: datetime | None = None) -> str:
    """Why it has to end now, in words; empty while every limit holds."""
    now = now or datetime.now(UTC)
    return _cost(record, status) or _hours(record, status, now) or await _idle(record, status, now)


def _cost(record: Record, status: Seen) -> str:
    most = record.intent.max_usd_total
    if most is None or status.spend is None or status.spend.spent_usd < most:
        return ""
    return f"it has cost ${status.spend.spent_usd:.4f}, and ${most} were allowed in all"


def _hours(record: Record, status: Seen, now: datetime) -> str:
    """Where the target does not end it by itself, or only after whole hours."""
    hours = record.intent.runtime_hours
    if hours is None or status.spend is None:
        return ""
    due = record.opened_at + timedelta(hours=hours)
    if status.spend.ends_at is not None and status.spend.ends_at <= due + _ALONE:
        return ""
    ran = (now - record.opened_at).total_seconds() / 3600
    return f"it has run for {ran:.1f} h, and {hours:g} were allowed" if now >= due else ""


async def _idle(record: Record, status: Seen, now: datetime) -> str:
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
