"""What the deploy panel shows, as HTML of values: the amount, phases, money, changes. Pure."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from toolkit.deploy.base import Action, Health, Intent, Plan, Record, Spend, State, Status
from toolkit.deploy.books import cost_text
from toolkit.deploy.ledger import Event
from toolkit.deploy.table import in_hours, plan_html, usd
from toolkit.errors import ToolkitError
from toolkit.sdl.diff import Effect, diff
from toolkit.sdl.parse import parse
from toolkit.widgets import board
from toolkit.widgets.deploy_phases import Phases

_VERBS = {
    Action.CREATE: "Deploy",
    Action.ADOPT: "Use what is there",
    Action.UPDATE: "Update",
    Action.REPLACE: "Replace",
}
_EFFECTS = {
    Effect.NONE: "nothing",
    Effect.UPDATE: "the containers restart",
    Effect.NEW_LEASE: "a new lease",
}
_MOST_CHANGES = 40
PLACES = {"local": "this machine", "compose": "Docker here", "console": "Akash"}


def confirm_text(plan: Plan) -> str:
    """What the button says that agrees to a plan: the verb and the most that it can cost."""
    verb = _VERBS[plan.action]
    if plan.action is Action.ADOPT and plan.worst_case_usd == 0:
        return verb
    # What is there may have to be carried on, which may order and lease.
    if plan.worst_case_usd is None:
        return f"{verb}, without a limit on its cost"
    if plan.worst_case_usd == 0:
        return f"{verb}, it costs nothing"
    return f"{verb}, at most {usd(plan.worst_case_usd)}"


def amounts(plan: Plan) -> str:
    """The figures one decides by."""
    price, worst = plan.price, plan.worst_case_usd
    hourly = "not known" if price is None else usd(price.usd_per_hour)
    longer = (
        ""
        if price is None or not price.usd_per_hour
        else (f"{usd(price.usd_per_day)} a day, {usd(price.usd_per_month)} a month")
    )
    hours = plan.intent.runtime_hours
    alone = sum(limit.holds_alone for limit in plan.limits)
    return board.tiles(
        (
            ("Per hour", hourly, longer or "only power" if hourly == "$0" else longer),
            ("At most, in all", "no limit" if worst is None else usd(worst), ""),
            ("Ends by itself", "no" if hours is None else f"after {in_hours(hours)}", ""),
            ("Limits", str(len(plan.limits)), f"{alone} hold with this notebook gone"),
        )
    )


def plan_page(plan: Plan, record: Record | None) -> str:
    """What it changes in the file of what runs, and the whole plan."""
    changed = "" if record is None or not plan.changes else _changes(record, plan)
    return f'{changed}<div class="akl-sheet akl-plan">{plan_html(plan)}</div>'


def _changes(record: Record, plan: Plan) -> str:
    try:
        found = diff(parse(record.sdl).sdl, parse(plan.sdl).sdl)
    except ToolkitError:  # of another version, or none was kept
        return ""
    rows = [
        (change.path, change.old or "–", change.new or "–", _EFFECTS[change.effect])
        for change in found.changes[:_MOST_CHANGES]
    ]
    heads = ("where", "now", "then", "takes")
    return (
        f'<div class="akl-sheet">{board.table("Changes in its deployment file", heads, rows)}</div>'
    )


def phases_page(phases: Phases) -> str:
    """What has been done, how long it took, and how long that mostly takes."""
    rows = [
        (
            phase.name,
            phase.text,
            f"{phase.took_s:.1f} s",
            f"{phase.usual_s:.0f} s" if phase.usual_s else "–",
            phase.state,
        )
        for phase in phases.told()
    ]
    heads = ("phase", "what", "took", "usually", "state")
    made = board.table("Phases", heads, rows, numbers=(2, 3))
    return f'<div class="akl-sheet">{made}</div>' if made else ""


def running_tiles(record: Record, status: Status | None, spend: Spend | None, now: datetime) -> str:
    """How it is, what it costs and has cost, and when that ends."""
    state, detail = state_of(record, status)
    rate = spend.usd_per_hour if spend else Decimal(0)
    spent = spend.spent_usd if spend else Decimal(0)
    is_free = spend is None and record.target != "console"
    return board.tiles(
        (
            ("State", state, detail),
            ("Per hour, now", usd(rate), "only power" if is_free else _daily(rate)),
            ("Spent", usd(spent), f"since {record.opened_at:%H:%M} UTC"),
            ("Time left", *_time_left(spend, now)),
        )
    )


def state_of(record: Record, status: Status | None) -> tuple[str, str]:
    """The state in a word or two, and the rest of it."""
    if record.state is State.OPENING:
        return "opening", "begun, and not ready yet"
    if record.state is State.CLOSING:
        return "closing", "begun, and not closed yet: it may still cost something"
    if status is None:
        return "looking…", ""
    return str(status.health), "" if status.health is Health.READY else status.detail


def _daily(rate: Decimal) -> str:
    return f"{usd(rate * 24)} a day" if rate else ""


def _time_left(spend: Spend | None, now: datetime) -> tuple[str, str]:
    if spend is None or spend.ends_at is None:
        return "no end", "until it is closed"
    minutes = max(0, int((spend.ends_at - now).total_seconds() // 60))
    hours, minutes = divmod(minutes, 60)
    left = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
    return left, f"ends by itself at {spend.ends_at:%H:%M} UTC"


def running_page(record: Record, status: Status | None, key_file: str) -> str:
    """Where it is and which limits hold."""
    intent = record.intent
    facts = [
        ("address", record.url or "none yet"),
        ("key file", key_file),
        ("model", f"{record.served_model}, by {intent.engine}"),
        ("shape", f"{intent.parallel} requests of {intent.context:,} tokens at once"),
        ("where", PLACES.get(record.target, record.target)),
        *(("part", part) for part in _parts(status)),
        *(("limit", limit) for limit in limits_of(intent)),
    ]
    return f'<div class="akl-sheet">{board.table("Endpoint", ("what", "value"), facts)}</div>'


def _parts(status: Status | None) -> list[str]:
    parts = status.parts if status else ()
    return [
        f"{p.service}: {'runs' if p.is_running else 'has ended'}" for p in parts if len(parts) > 1
    ]


def limits_of(intent: Intent) -> list[str]:
    """The limits of what runs, each with what it takes to hold."""
    watched = "holds while this panel or akash-llm watches"
    found = []
    if intent.max_usd_per_hour is not None:
        found.append(f"at most {usd(intent.max_usd_per_hour)} an hour (holds by itself)")
    if intent.runtime_hours is not None:
        alone = intent.target == "console"
        whole = "holds by itself, after whole hours" if alone else watched
        found.append(f"ends {in_hours(intent.runtime_hours)} after it starts ({whole})")
    if intent.max_usd_total is not None:
        found.append(f"ends when it has cost {usd(intent.max_usd_total)} in all ({watched})")
    if intent.idle_minutes is not None:
        found.append(f"ends after {intent.idle_minutes:g} minutes without a request ({watched})")
    return found


def close_text(spend: Spend | None) -> str:
    """What the button says that ends it."""
    spent = None if spend is None else msgspec.structs.replace(spend, unused_usd=None)
    return f"Close it now, {cost_text(spent, is_closed=False)}"


def refund_text(spend: Spend | None) -> str:
    """What an end brings back; empty where nothing was set aside, or nobody knows how much."""
    if spend is None or spend.unused_usd is None:
        return ""
    return f"About {usd(spend.unused_usd)} of what was set aside for it comes back."


def closed_text(record: Record, spend: Spend | None) -> str:
    """What is said when it has been closed."""
    return f"{record.name} is closed; {cost_text(spend, is_closed=True)}."


def stopped_text(before: Record | None, latest: Record | None, spend: Spend | None) -> str:
    """What is left after Stop: of what was open `before`, and of the `latest` row of the name."""
    if latest is not None and latest.is_open:
        kept = "It goes on as it was." if before is not None else "It may still cost something."
        return f"Stopped. {kept}"
    if latest is None or latest == before:
        return "Stopped before anything was begun: nothing was opened, and nothing is billed."
    return f"Stopped. What was begun is closed; {cost_text(spend, is_closed=True)}."


def events_page(events: Sequence[Event]) -> str:
    """What the ledger has, the newest first."""
    rows = [(f"{e.at:%H:%M:%S}", e.what, e.detail) for e in reversed(events)]
    heads = ("when (UTC)", "what", "detail")
    return f'<div class="akl-sheet">{board.table("Events", heads, rows, none="none yet")}</div>'
