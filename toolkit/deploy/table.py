"""Plans and endpoints as text and as an HTML table. Pure; every value is escaped.

A plan reads like an offer: what one gets, from whom, for how much, until when, and who can see
what. It is written for people who know neither the network nor this program.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from html import escape
from typing import NamedTuple

from toolkit.deploy.base import Action, Limit, Offer, Plan

Row = tuple[str, str, str]

ACTIONS = {
    Action.CREATE: "start a new endpoint",
    Action.ADOPT: "nothing: it is there already and stays",
    Action.UPDATE: "change the endpoint of that name in place",
    Action.REPLACE: "end the endpoint of that name and start this one",
}
_PLACES = {
    "local": "this machine",
    "compose": "containers on this machine, by Docker Compose",
    "console": "a provider of the Akash network, through the Akash Console",
}
_WIDTH = 100
_NARROWEST = 30


class Section(NamedTuple):
    """A part of a plan: rows of what, how much and why, and sentences."""

    title: str
    rows: tuple[Row, ...] = ()
    sentences: tuple[str, ...] = ()


def plan_sections(plan: Plan) -> list[Section]:
    """The parts of a plan that say something, in reading order."""
    sections = [
        Section("What is still missing", sentences=plan.missing),
        Section("What you get", tuple(_wanted(plan))),
        Section("Who could run it now", tuple(map(_offered, plan.offers)), plan.availability),
        Section("What it costs", tuple(_costs(plan))),
        Section("What limits it", sentences=tuple(map(_limit, plan.limits))),
        Section("Who can see what", sentences=plan.privacy),
        Section("Good to know", sentences=plan.notices),
    ]
    return [section for section in sections if section.rows or section.sentences]


def _wanted(plan: Plan) -> Iterator[Row]:
    intent = plan.intent
    yield "endpoint", intent.name, ACTIONS[plan.action]
    yield from (("change", f"{c.field}: {c.now} → {c.then}", "") for c in plan.changes)
    yield "where", _PLACES.get(intent.target, intent.target), ""
    yield "engine", intent.engine, ""
    yield from ((each.what, each.amount, each.reason) for each in plan.resources)


def _offered(offer: Offer) -> Row:
    where = ", ".join(filter(None, (offer.region, offer.gpu)))
    up = "" if offer.uptime is None else f"up {offer.uptime:.1%} of the time"
    return offer.name or offer.provider, where, "; ".join(filter(None, (up, offer.remark)))


def _costs(plan: Plan) -> Iterator[Row]:
    price = plan.price
    if price is None:
        yield "price", "not known", "only bids tell"
    elif price.usd_per_hour == 0:
        yield "price", "$0 per hour", ""
    else:
        about = "up to" if price.usd_per_hour == plan.intent.max_usd_per_hour else "about"
        longer = f"{usd(price.usd_per_day)} per day, {usd(price.usd_per_month)} per month"
        yield "price", f"{about} {usd(price.usd_per_hour)} per hour", longer
    if plan.intent.runtime_hours is not None:
        yield "for", in_hours(plan.intent.runtime_hours), ""
    if plan.worst_case_usd is None:
        yield "in all", "no limit", "nothing ends it but the money of the account"
    else:
        alone = "holds also with this machine switched off" if plan.worst_case_usd else ""
        yield "in all", f"at most {usd(plan.worst_case_usd)}", alone


def _limit(limit: Limit) -> str:
    holds = "holds by itself" if limit.holds_alone else "holds only while akash-llm watches"
    return f"{limit.what} ({holds})"


def plan_text(plan: Plan) -> str:
    """The plan for a terminal."""
    return "\n\n".join("\n".join(_section_lines(each)) for each in plan_sections(plan))


def _section_lines(section: Section) -> Iterator[str]:
    yield section.title
    yield from _wrapped(section.rows)
    for sentence in section.sentences:
        yield from _filled(sentence, "  - ")


def _wrapped(rows: Sequence[Row]) -> Iterator[str]:
    """Rows in three columns, the last of which goes on below itself. Where nothing follows, the
    second may be as long as it likes."""
    lines = [[" ".join(cell.split()) for cell in row] for row in rows]
    first = max((len(line[0]) for line in lines), default=0)
    second = max((len(line[1]) for line in lines if line[2]), default=0)
    for what, amount, remark in lines:
        head = f"  {what:<{first}}  {amount:<{second}}  "
        yield from _filled(remark, head) if remark else (head.rstrip(),)


def _filled(text: str, head: str) -> list[str]:
    """Lines of text after a head. Words stay whole: names and commands are copied out of it."""
    return textwrap.wrap(
        text,
        max(_WIDTH, len(head) + _NARROWEST),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def plan_html(plan: Plan) -> str:
    """The plan for a notebook."""
    body = "".join(_section_html(section) for section in plan_sections(plan))
    return f"<table><caption {_LEFT}>Plan</caption>{body}</table>"


_LEFT = "style='text-align:left'"


def _section_html(section: Section) -> str:
    title = f"<tr><th colspan='3' scope='rowgroup' {_LEFT}>{escape(section.title)}</th></tr>"
    rows = "".join(
        f"<tr><th scope='row' {_LEFT}>{escape(what)}</th>{_cells_html(amount, remark)}</tr>"
        for what, amount, remark in section.rows
    )
    told = "".join(
        f"<tr><td colspan='3' {_LEFT}>{escape(sentence)}</td></tr>"
        for sentence in section.sentences
    )
    return f"<tbody>{title}{rows}{told}</tbody>"


def _cells_html(amount: str, remark: str) -> str:
    """Where there is no remark the amount has its place, too."""
    if not remark:
        return f"<td colspan='2' {_LEFT}>{escape(amount)}</td>"
    return f"<td {_LEFT}>{escape(amount)}</td><td {_LEFT}>{escape(remark)}</td>"


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows of equally many cells, aligned, two spaces apart.

    A cell with nothing behind it may be as long as it likes without moving the others.
    """
    lines = [_without_empty_end([" ".join(cell.split()) for cell in row]) for row in rows]
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


def in_hours(hours: float) -> str:
    """A time in words."""
    return "1 hour" if hours == 1 else f"{hours:g} hours"


def usd(amount: Decimal) -> str:
    """Dollars with as many places as say something."""
    if amount == 0:
        return "$0"
    if amount >= 1:
        return f"${amount:.2f}"
    text = f"{amount:.4f}"
    cents, rest = text[:4], text[4:].rstrip("0")
    return f"${cents}{rest}" if cents != "0.00" or rest else "under $0.0001"
