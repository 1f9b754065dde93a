"""Plans and endpoints as text and as an HTML table. Pure; every value is escaped."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape

from toolkit.deploy.base import Action, Plan

Row = tuple[str, str, str]

_ACTIONS = {
    Action.CREATE: "start a new endpoint",
    Action.ADOPT: "nothing: it is there already and stays",
    Action.UPDATE: "change the endpoint of that name in place",
    Action.REPLACE: "end the endpoint of that name and start this one",
}


def plan_rows(plan: Plan) -> list[Row]:
    """(what, amount, remark) for each line of a plan, in reading order."""
    intent = plan.intent
    return [
        ("endpoint", intent.name, _ACTIONS[plan.action]),
        *(("change", f"{c.field}: {c.now} → {c.then}", "") for c in plan.changes),
        ("where", intent.target, f"engine {intent.engine}"),
        *((r.what, r.amount, r.reason) for r in plan.resources),
        ("price", f"{usd(plan.price.usd_per_hour)} per hour", _longer(plan)),
        ("worst case", _worst(plan.worst_case_usd), "the most before a limit ends it"),
        *(("limit", limit.what, _holds(limit.holds_alone)) for limit in plan.limits),
        *(("privacy", sentence, "") for sentence in plan.privacy),
        *(("note", sentence, "") for sentence in plan.notices),
    ]


def plan_text(plan: Plan) -> str:
    """The plan for a terminal."""
    return columns(plan_rows(plan))


def plan_html(plan: Plan) -> str:
    """The plan for a notebook."""
    left = "style='text-align:left'"
    rows = "".join(
        f"<tr><th scope='row' {left}>{escape(what)}</th>"
        f"<td {left}>{escape(amount)}</td><td {left}>{escape(remark)}</td></tr>"
        for what, amount, remark in plan_rows(plan)
    )
    heads = "".join(f"<th scope='col' {left}>{name}</th>" for name in ("what", "how much", "why"))
    caption = f"<caption {left}>Plan</caption>"
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows of equally many cells, aligned, two spaces apart.

    A cell with nothing behind it may be as long as it likes without moving the others.
    """
    lines = [_without_empty_end(row) for row in rows]
    width: dict[int, int] = {}
    for line in lines:
        for index, cell in enumerate(line[:-1]):
            width[index] = max(width.get(index, 0), len(cell))
    return "\n".join(
        "  ".join([*(c.ljust(width[i]) for i, c in enumerate(line[:-1])), *line[-1:]])
        for line in lines
    )


def _without_empty_end(row: Sequence[str]) -> list[str]:
    cells = list(row)
    while cells and not cells[-1]:
        cells.pop()
    return cells


def usd(amount: Decimal) -> str:
    """Dollars with as many places as say something."""
    if amount == 0:
        return "$0"
    if amount >= 1:
        return f"${amount:.2f}"
    cents, rest = f"{amount:.4f}"[:4], f"{amount:.4f}"[4:].rstrip("0")
    return f"${cents}{rest}" if cents != "0.00" or rest else "under $0.0001"


def _longer(plan: Plan) -> str:
    price = plan.price
    return f"{usd(price.usd_per_day)} per day, {usd(price.usd_per_month)} per month"


def _worst(amount: Decimal | None) -> str:
    return "no limit" if amount is None else usd(amount)


def _holds(alone: bool) -> str:
    return "holds by itself" if alone else "holds only while akash-llm watches"
