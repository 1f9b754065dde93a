"""`akash-llm up`, `down`, `plan`, `deploy`, `status`, `logs`, `close`, `doctor`, `ledger`."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import click
import msgspec

from toolkit import paths
from toolkit.cli import loop
from toolkit.deploy import doctor as doctoring
from toolkit.deploy import lifecycle
from toolkit.deploy.base import (
    DEFAULT_CONTEXT,
    DEFAULT_DEADLINE_S,
    DEFAULT_ENGINE,
    DEFAULT_MODEL,
    DEFAULT_PARALLEL,
    ENGINE_DEADLINE_S,
    Action,
    Part,
    Plan,
    Record,
    Update,
)
from toolkit.deploy.keeper import TARGETS, EndpointStatus, Keeper
from toolkit.deploy.table import columns
from toolkit.errors import UsageError
from toolkit.safetext import cleaned
from toolkit.sizing.demand import ENGINES

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
replace_option = click.option(
    "--replace", is_flag=True, help="End an endpoint of that name that was asked for otherwise."
)
deadline_option = click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Give up, and close, after this long."
    f"  [default: {DEFAULT_DEADLINE_S:.0f}; vllm, ollama: {ENGINE_DEADLINE_S:.0f}]",
)


class Wish(NamedTuple):
    """What the person said of the endpoint."""

    model: str
    engine: str
    name: str | None
    context: int
    parallel: int

    async def planned(self, target: str = "local") -> Plan:
        """The plan for it."""
        return await lifecycle.plan(
            self.model,
            name=self.name,
            target=target,
            engine=self.engine,
            context=self.context,
            parallel=self.parallel,
        )


def intent_options(command: F) -> F:
    """The argument and the options that say what is wanted; the command gets them as `wish`."""

    @functools.wraps(command)
    def wrapped(
        model: str | None,
        named_model: str | None,
        engine: str,
        name: str | None,
        context: int,
        parallel: int,
        **rest: Any,
    ) -> Any:
        wish = Wish(_one_model(model, named_model), engine, name, context, parallel)
        return command(wish=wish, **rest)

    for option in (
        click.argument("model", required=False),
        click.option("--model", "named_model", metavar="MODEL", help="The same as MODEL."),
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default=DEFAULT_ENGINE,
            show_default=True,
            help="What runs the model.",
        ),
        click.option("--name", help="Its name; asked for twice, it is opened once."),
        click.option(
            "--context",
            type=int,
            default=DEFAULT_CONTEXT,
            show_default=True,
            help="Tokens per request.",
        ),
        click.option(
            "--parallel",
            type=int,
            default=DEFAULT_PARALLEL,
            show_default=True,
            help="Requests answered at once.",
        ),
    ):
        wrapped = option(wrapped)
    return cast(F, wrapped)


def _one_model(model: str | None, named: str | None) -> str:
    if model and named and model != named:
        raise UsageError(f"two models are named: {model} and {named}", hint="Name one.")
    return model or named or DEFAULT_MODEL


target_option = click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    default="local",
    show_default=True,
    help="Where it runs.",
)


@click.command()
@intent_options
@replace_option
@deadline_option
@json_option
def up(
    wish: Wish,
    replace: bool,
    deadline_s: float | None,
    as_json: bool,
) -> None:
    """Start a private endpoint on this machine, or find the one that runs."""

    async def run() -> Record:
        made = await wish.planned()
        return await _applied(made, replace, deadline_s)

    _print_opened(loop.run(run()), as_json)


@click.command()
@target_option
@intent_options
@click.option("--out", type=click.Path(path_type=Path), help="Write the plan there, as JSON.")
@json_option
def plan(
    wish: Wish,
    target: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say what deploying MODEL would do, need and cost; start nothing."""
    made = loop.run(wish.planned(target))
    if out is not None:
        out.write_bytes(made.to_json() + b"\n")
    click.echo(msgspec.json.encode(made) if as_json else str(made))


@click.command()
@target_option
@intent_options
@click.option(
    "--plan", "plan_file", type=click.File("rb"), help="Deploy this plan ('-': standard input)."
)
@replace_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@deadline_option
@json_option
def deploy(
    wish: Wish,
    target: str,
    plan_file: Any,
    replace: bool,
    yes: bool,
    deadline_s: float | None,
    as_json: bool,
) -> None:
    """Plan, ask, and deploy MODEL; it keeps running."""

    async def run() -> Record:
        if plan_file is not None:
            made = Plan.from_json(plan_file.read())
        else:
            made = await wish.planned(target)
        _confirm(made, yes or as_json)
        return await _applied(made, replace, deadline_s)

    _print_opened(loop.run(run()), as_json)


def _confirm(made: Plan, is_agreed: bool) -> None:
    """Show the plan and ask, where there is somebody to ask and something to ask about."""
    click.echo(str(made), err=True)
    is_asked = made.action is not Action.ADOPT and sys.stdin.isatty()
    if is_asked and not is_agreed:
        click.confirm("Go ahead?", abort=True, err=True)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "is_all", is_flag=True, help="All endpoints.")
@json_option
def close(names: tuple[str, ...], is_all: bool, as_json: bool) -> None:
    """End an endpoint (the only one, if no NAME is given); its logs and key stay."""
    keeper = Keeper()

    async def run() -> list[Record]:
        wanted = list(names)
        if is_all:
            wanted = [record.name for record in keeper.ledger.open_records()]
        elif not wanted and keeper.ledger.open_records():
            wanted = [keeper.record(None).name]
        ended = [await keeper.close(name) for name in wanted]
        return [record for record in ended if record is not None]

    ended = loop.run(run())
    for record in ended:
        _say(as_json, f"{record.name} is closed", name=record.name, state=record.state)
    if not ended and not as_json:
        click.echo("nothing is open" + (f" by the name {', '.join(names)}" if names else ""))


@click.command()
@click.argument("name", required=False)
@json_option
def status(name: str | None, as_json: bool) -> None:
    """Show open endpoints, as the ledger has them and as they are."""
    found = loop.run(lifecycle.status(name))
    if as_json:
        for one in found:
            click.echo(msgspec.json.encode(one))
    elif found:
        click.echo(columns([_HEAD, *(row for one in found for row in _rows(one))]))
    else:
        click.echo("nothing is open; start a private endpoint with: akash-llm up")


_HEAD = ("NAME", "TARGET", "MODEL", "HEALTH", "OPENED (UTC)", "URL", "KEY FILE")


def _rows(one: EndpointStatus) -> list[tuple[str, ...]]:
    """The endpoint, and below it its parts where there are several."""
    opened = f"{one.opened_at:%Y-%m-%d %H:%M}"
    health = one.health if one.detail == "answers" else f"{one.health}: {one.detail}"
    row = (one.name, one.target, one.model, health, opened, one.url or "-", str(one.key_file))
    parts = one.parts if len(one.parts) > 1 else ()
    return [row, *(_part_row(part, one.engine) for part in parts)]


def _part_row(part: Part, engine: str) -> tuple[str, ...]:
    process = f" (process {part.pid})" if part.pid else ""
    health = f"runs{process}" if part.is_running else "has ended"
    what = engine if part.service == "engine" else ""
    log = f"log: {part.log}" if part.log else ""
    return (f"  {part.service}", "", what, health, "", "", log)


@click.command()
@click.argument("name", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until the endpoint ends.")
@click.option("--tail", type=click.IntRange(min=0), default=100, show_default=True, help="Lines.")
@click.option(
    "--service", help="Of one of its parts only: server, or engine where one is behind it."
)
@json_option
def logs(name: str | None, follow: bool, tail: int, service: str | None, as_json: bool) -> None:
    """Show what an endpoint logged, also after it was closed."""

    async def run() -> None:
        async for line in lifecycle.logs(name, follow=follow, tail=tail, service=service):
            click.echo(msgspec.json.encode({"line": line}) if as_json else cleaned(line))

    loop.run(run())


@click.command()
@click.option("--dry-run", is_flag=True, help="Only look.")
@json_option
def doctor(dry_run: bool, as_json: bool) -> None:
    """Hold the ledger against reality, both ways, and settle what disagrees."""
    keeper = Keeper()

    async def run() -> list[doctoring.Diagnosis]:
        found = await doctoring.diagnose(keeper)
        for diagnosis in found if not dry_run else ():
            await doctoring.settle(keeper, diagnosis)
        return found

    found = loop.run(run())
    for one in found:
        done = "to do" if dry_run else "done"
        text = f"{one.name or one.uid} ({one.target}): {one.what} → {one.remedy} ({done})"
        _say(
            as_json,
            text,
            name=one.name,
            uid=one.uid,
            target=one.target,
            what=one.what,
            remedy=one.remedy,
            settled=not dry_run,
        )
    if not found and not as_json:
        click.echo("ledger and reality agree")


@click.command()
@click.argument("name", required=False)
@json_option
def ledger(name: str | None, as_json: bool) -> None:
    """Show every endpoint that was ever opened from here, oldest first."""
    records = [r for r in Keeper().ledger.records() if name in (None, r.name)]
    if as_json:
        for record in records:
            click.echo(msgspec.json.encode(record))
    elif records:
        head = ("NAME", "TARGET", "MODEL", "STATE", "OPENED (UTC)", "CLOSED (UTC)", "WHY")
        click.echo(columns([head, *map(_history, records)]))
    else:
        click.echo(f"nothing was opened from here yet ({paths.ledger()})")


def _history(record: Record) -> tuple[str, ...]:
    closed = f"{record.closed_at:%Y-%m-%d %H:%M}" if record.closed_at else "-"
    opened = f"{record.opened_at:%Y-%m-%d %H:%M}"
    intent = record.intent
    return (
        record.name,
        record.target,
        intent.model,
        record.state,
        opened,
        closed,
        record.error or "-",
    )


async def _applied(made: Plan, replace: bool, deadline_s: float | None) -> Record:
    return await Keeper().apply(made, replace=replace, progress=_report, deadline_s=deadline_s)


def _report(update: Update) -> None:
    click.echo(str(update), err=True)


def _print_opened(record: Record, as_json: bool) -> None:
    key_file = paths.key_file(record.name)
    if as_json:
        seen = {
            "name": record.name,
            "url": record.url,
            "key_file": str(key_file),
            "model": record.served_model,
            "engine": record.intent.engine,
            "target": record.target,
            "state": record.state,
        }
        click.echo(msgspec.json.encode(seen))
        return
    click.echo(f"{record.name} answers at {record.url} with {record.served_model}")
    click.echo(f"its key is in {key_file}")
    click.echo(f"talk to it: akash-llm chat {record.name}   stop it: akash-llm close {record.name}")


def _say(as_json: bool, text: str, **fields: object) -> None:
    click.echo(msgspec.json.encode(fields) if as_json else text)
