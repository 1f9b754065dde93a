"""Plans and endpoints as text and as an HTML table. Pure; every value is escaped."""

import textwrap
from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape
from itertools import zip_longest

from toolkit.deploy.base import Action, Offer, Plan, Price

Row = tuple[str, str, str]

_WIDTH = 100
_MOST_AMOUNT = 44

_PLACES = {
    "local": "this machine; ",
    "console": "a machine rented on the Akash network; ",
    "compose": "Docker on this machine; ",
}
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
        ("where", intent.target, f"{_PLACES.get(intent.target, '')}engine {intent.engine}"),
        *((r.what, r.amount, r.reason) for r in plan.resources),
        *_offers(plan),
        ("price", *_price(plan.price)),
        ("worst case", _worst(plan.worst_case_usd), "the most before a limit ends it"),
        *(("limit", limit.what, _holds(limit.holds_alone)) for limit in plan.limits),
        *(("privacy", sentence, "") for sentence in plan.privacy),
        *(("note", sentence, "") for sentence in plan.notices),
    ]


def _offers(plan: Plan) -> list[Row]:
    """Who could take it now."""
    return [
        ("offered by", offer.name or offer.provider, ", ".join(filter(None, _about(offer))))
        for offer in plan.offers
    ]


def _about(offer: Offer) -> tuple[str, ...]:
    up = "" if offer.uptime is None else f"up {offer.uptime:.1%} of the last week"
    return (offer.region, up, f"has {offer.gpu}" if offer.gpu else "", offer.remark)


def plan_text(plan: Plan) -> str:
    """The plan for a terminal: long sentences go on below themselves."""
    rows = plan_rows(plan)
    label = max(len(what) for what, _, _ in rows)
    amount = min(_MOST_AMOUNT, max(len(amount) for _, amount, remark in rows if remark))
    lines: list[str] = []
    last = ""
    for what, *cells in rows:
        shown = "" if what == last else what
        last = what
        for line in _cells(cells, label, amount):
            lines.append(f"{shown:<{label}}  {line}".rstrip())
            shown = ""
    return "\n".join(lines)


def _cells(cells: Sequence[str], label: int, width: int) -> list[str]:
    """The lines of one row, without its label."""
    amount, remark = cells
    if not remark:
        return textwrap.wrap(amount, _WIDTH - label - 2) or [""]
    left = textwrap.wrap(amount, width) or [""]
    right = textwrap.wrap(remark, _WIDTH - label - width - 4)
    return [f"{a:<{width}}  {b}" for a, b in zip_longest(left, right, fillvalue="")]


def plan_html(plan: Plan) -> str:
    """The plan for a notebook."""
    left = "style='text-align:left'"
    rows = "".join(
        f"<tr><th scope='row' {left}>{escape(what)}</th>{_html_cells(amount, remark, left)}</tr>"
        for what, amount, remark in plan_rows(plan)
    )
    heads = "".join(f"<th scope='col' {left}>{name}</th>" for name in ("what", "how much", "why"))
    caption = f"<caption {left}>Plan</caption>"
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _html_cells(amount: str, remark: str, left: str) -> str:
    """A sentence without a remark has both columns."""
    if not remark:
        return f"<td {left} colspan='2'>{escape(amount)}</td>"
    return f"<td {left}>{escape(amount)}</td><td {left}>{escape(remark)}</td>"


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


def _price(price: Price | None) -> tuple[str, str]:
    if price is None:
        return "not known", "bids will tell"
    longer = f"{usd(price.usd_per_day)} per day, {usd(price.usd_per_month)} per month"
    return f"{usd(price.usd_per_hour)} per hour", longer


def _worst(amount: Decimal | None) -> str:
    return "no limit" if amount is None else usd(amount)


def _holds(alone: bool) -> str:
    return "holds by itself" if alone else "holds only while akash-llm watches"
