"""`akash-llm status`, `bids`, `logs`, `ledger`, `doctor`: what is there, and what the books say."""

import asyncio

import click
import msgspec

from toolkit import jsontext, paths
from toolkit.cli import loop
from toolkit.cli.intent import json_option
from toolkit.deploy import doctor as doctoring
from toolkit.deploy import lifecycle
from toolkit.deploy.base import Record, SupportsBids
from toolkit.deploy.books import Endpoints
from toolkit.deploy.keeper import Keeper
from toolkit.deploy.table import columns, usd
from toolkit.deploy.watching import end_if_over
from toolkit.errors import EndpointError, ToolkitError, UsageError
from toolkit.safetext import cleaned

WATCH_S = 30.0


@click.command()
@click.argument("name", required=False)
@click.option(
    "--watch", is_flag=True, help="Look again and again, and end what is past a limit of its own."
)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=1),
    default=WATCH_S,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: how often.",
)
@json_option
def status(name: str | None, watch: bool, every_s: float, as_json: bool) -> None:
    """Show open endpoints, as the ledger has them and as they are.

    With --watch it goes on until all of them have ended, and ends those that have cost what they
    may cost in all, or that nobody has asked for as long as was allowed. What has ended by itself
    is closed in the books.
    """
    loop.run(_watch(name, every_s, as_json) if watch else _look(name, as_json))


async def _look(name: str | None, as_json: bool) -> Endpoints:
    found = await lifecycle.status(name)
    if as_json:
        for one in found:
            click.echo(msgspec.json.encode(one))
    else:
        click.echo(str(found))
    return found


async def _watch(name: str | None, every_s: float, as_json: bool) -> None:
    keeper = Keeper()
    while keeper.ledger.open_records() and (name is None or keeper.ledger.find(name)):
        for record in keeper.ledger.open_records():
            if name in (None, record.name):
                await _watch_one(keeper, record, as_json)
        await asyncio.sleep(every_s)
    _say(as_json, "nothing is open any more", open=0)


async def _watch_one(keeper: Keeper, record: Record, as_json: bool) -> None:
    """Show it, and end it where that is due. What goes wrong is said, and tried again."""
    try:
        (seen,) = await _look(record.name, as_json)
        if why := await end_if_over(keeper, record, seen):
            _say(as_json, f"{record.name} is closed: {why}", name=record.name, closed=why)
    except ToolkitError as error:
        _say(as_json, f"{record.name}: {error.message}", name=record.name, error=error.message)


@click.command()
@click.argument("name", required=False)
@json_option
def bids(name: str | None, as_json: bool) -> None:
    """Show what providers offer for an endpoint, best first, and why an offer will not do."""
    keeper = Keeper()

    async def run() -> None:
        record = keeper.record(name)
        target = keeper.target(record.target)
        if not isinstance(target, SupportsBids):
            raise UsageError(f"nobody bids for what runs at {record.target!r}")
        found = await target.bids(record)
        if as_json:
            for one in found:
                click.echo(msgspec.json.encode(one))
        elif found:
            head = ("PROVIDER", "PER HOUR", "STATE", "GPU", "REMARK")
            rows = [(o.provider, usd(o.usd_per_hour), o.state, o.gpu, o.remark) for o in found]
            click.echo(cleaned(columns([head, *rows])))
        else:
            click.echo("no bids yet")

    loop.run(run())


@click.command()
@click.argument("name", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until the endpoint ends.")
@click.option("--tail", type=click.IntRange(min=0), default=100, show_default=True, help="Lines.")
@click.option(
    "--service", help="Of one of its parts only: server, or engine where one is behind it."
)
@json_option
def logs(name: str | None, follow: bool, tail: int, service: str | None, as_json: bool) -> None:
    """Show what an endpoint logged; of one on this machine also after it was closed."""

    async def run() -> None:
        async for line in lifecycle.logs(name, follow=follow, tail=tail, service=service):
            click.echo(jsontext.encoded({"line": line}) if as_json else cleaned(line))

    loop.run(run())


@click.command()
@click.option("--dry-run", is_flag=True, help="Only look.")
@json_option
def doctor(dry_run: bool, as_json: bool) -> int:
    """Hold the ledger against reality, both ways, and settle what disagrees.

    Endpoints past a limit of their own are ended, too: let a scheduler call this.
    """
    keeper = Keeper()

    async def run() -> list[tuple[doctoring.Diagnosis, str]]:
        found = await doctoring.diagnose(keeper)
        return [(one, "to do" if dry_run else await _settled(keeper, one)) for one in found]

    found = loop.run(run())
    for one, outcome in found:
        remedy = f" → {one.remedy}" if one.remedy else ""
        text = f"{one.name or one.uid or 'account'} ({one.target}): {one.what}{remedy} ({outcome})"
        fields = {field: getattr(one, field) for field in ("name", "uid", "target", "what")}
        is_settled = outcome == "done"
        _say(as_json, text, **fields, remedy=one.remedy, settled=is_settled, outcome=outcome)
    if not found and not as_json:
        click.echo("ledger and reality agree")
    is_left = any(outcome not in ("done", "to do") for _, outcome in found)
    return EndpointError.exit_code if is_left else 0


async def _settled(keeper: Keeper, diagnosis: doctoring.Diagnosis) -> str:
    """What became of it; one that cannot be settled keeps no other from it."""
    if not diagnosis.remedy:
        return "look again later"
    try:
        await doctoring.settle(keeper, diagnosis)
    except ToolkitError as error:
        return f"not settled: {error.message}"
    return "done"


@click.command()
@click.argument("name", required=False)
@json_option
def ledger(name: str | None, as_json: bool) -> None:
    """Show every endpoint that was ever opened from here, oldest first, and what it cost."""
    found = lifecycle.ledger(name)
    if as_json:
        for record, spend, _ in found:
            fields = msgspec.to_builtins(record) | {"spend": msgspec.to_builtins(spend)}
            click.echo(msgspec.json.encode(fields))
    else:
        click.echo(str(found) if found else f"{found.none} ({paths.ledger()})")


def _say(as_json: bool, text: str, **fields: object) -> None:
    click.echo(msgspec.json.encode(fields) if as_json else cleaned(text))
