"""`akash-llm up`, `down`, `plan`, `deploy`, `update`, `close`: what changes something."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from toolkit import paths
from toolkit.cli import loop
from toolkit.cli.intent import (
    Wish,
    deadline_option,
    json_option,
    replace_option,
    target_option,
    wish_options,
)
from toolkit.deploy.agreed import Difference, refusal
from toolkit.deploy.base import Action, Plan, Record, Update
from toolkit.deploy.books import cost_text
from toolkit.deploy.keeper import Keeper
from toolkit.errors import UsageError
from toolkit.safetext import cleaned

yes_option = click.option("--yes", is_flag=True, help="Agree to the plan without being asked.")


@click.command()
@wish_options(rented=False)
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
@wish_options()
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
    click.echo(msgspec.json.encode(made) if as_json else cleaned(str(made)))


@click.command()
@target_option
@wish_options()
@click.option(
    "--plan", "plan_file", type=click.File("rb"), help="Deploy this plan ('-': standard input)."
)
@replace_option
@yes_option
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
            saved = Plan.from_json(plan_file.read())
            made, found = await Keeper().plan_again(saved)
        else:
            made, found = await wish.planned(target), ()
        _confirm(made, yes, found)
        return await _applied(made, replace, deadline_s)

    _print_opened(loop.run(run()), as_json)


@click.command()
@wish_options(named=True)
@yes_option
@deadline_option
@json_option
def update(wish: Wish, yes: bool, deadline_s: float | None, as_json: bool) -> None:
    """Change the endpoint NAME (the only one, if none is given) by what is said, and only by that.

    In place where that goes; else another one is opened first, and the old one ended when that
    answers.
    """
    keeper = Keeper()

    async def run() -> Record:
        record = keeper.record(wish.name)
        made = await keeper.plan(msgspec.structs.replace(record.intent, **wish.given))
        _confirm(made, yes)
        return await _applied(made, True, deadline_s)

    _print_opened(loop.run(run()), as_json)


def _confirm(made: Plan, is_agreed: bool, found: tuple[Difference, ...] = ()) -> None:
    """Show the plan and ask, where there is somebody to ask and something to ask about.

    With nobody there `--yes` agrees, and to no more than what was planned: `found` is what has
    come to that since. What costs nothing needs no agreement. What cannot be applied is not
    asked about: why not, applying it says.
    """
    click.echo(cleaned(str(made)), err=True)
    if made.action is Action.ADOPT or (made.missing and not found):
        return
    is_asked = sys.stdin.isatty() and not is_agreed
    if found and not is_asked:
        raise refusal(found)
    for each in found:
        click.echo(cleaned(f"Not as it was planned: {each.what}"), err=True)
    if is_asked:
        click.confirm("Go ahead?", abort=True, err=True)
    elif not is_agreed and made.worst_case_usd != 0:
        raise UsageError("it costs something, and nobody has agreed to that", hint="Say --yes.")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "is_all", is_flag=True, help="All endpoints.")
@json_option
def close(names: tuple[str, ...], is_all: bool, as_json: bool) -> None:
    """End an endpoint (the only one, if no NAME is given), and say what it cost.

    Its logs and key stay.
    """
    keeper = Keeper()

    async def run() -> list[Record]:
        wanted = list(names)
        if is_all:
            wanted = [record.name for record in keeper.ledger.open_records()]
        elif not wanted and keeper.ledger.open_records():
            wanted = [keeper.record(None).name]
        return await keeper.close_all(wanted)

    ended = loop.run(run())
    for record in ended:
        if as_json:
            told = {"name": record.name, "state": record.state, "spend": keeper.spend(record)}
            click.echo(msgspec.json.encode(told))
        else:
            click.echo(f"{record.name} is closed; {_cost(keeper, record)}")
    if not ended and not as_json:
        click.echo("nothing is open" + (f" by the name {', '.join(names)}" if names else ""))


def _cost(keeper: Keeper, record: Record) -> str:
    return cost_text(keeper.spend(record), is_closed=True)


async def _applied(made: Plan, replace: bool, deadline_s: float | None) -> Record:
    return await Keeper().apply(made, replace=replace, progress=_report, deadline_s=deadline_s)


def _report(change: Update) -> None:
    click.echo(cleaned(str(change)), err=True)


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
