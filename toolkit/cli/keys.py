"""`akash-llm keys`: who may use a server, and how much they did.

Without more it is about the state folder of this machine, which `akash-llm serve` uses; a
server that runs there sees a change within a second. With `--endpoint` or `--url` the same
is done over HTTP, with an admin key.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from server.grants import KeyInfo, Terms
from server.keys import Scope, write_key_file
from server.keystore import Change
from server.usage import Query, UsageRow
from toolkit import paths
from toolkit.cli.key_terms import SCOPES, change_options, terms_options
from toolkit.cli.loop import run
from toolkit.errors import UsageError
from toolkit.keybook import EndpointKeys, FolderKeys, Keybook, translated
from toolkit.safetext import cleaned
from toolkit.transport import Transport, read_key_file

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
_KEY_COLUMNS = ("name", "scope", "models", "limits", "expires_at", "revoked_at")


class Where(NamedTuple):
    """What the person said about the place of the keys."""

    state: Path | None
    endpoint: str | None
    url: str | None
    key_file: Path | None

    def opened(self) -> Keybook:
        """The keys there. Raises `ToolkitError`s."""
        if len([each for each in (self.state, self.endpoint, self.url) if each]) > 1:
            raise UsageError("Give one of --state, --endpoint and --url.")
        if self.key_file is not None and self.url is None:
            raise UsageError("--key-file goes with --url; an endpoint has its own key.")
        if self.url is not None:
            key = read_key_file(self.key_file) if self.key_file else None
            return EndpointKeys(Transport(self.url, key))
        if self.endpoint is not None:
            return EndpointKeys(_transport_of(self.endpoint))
        return FolderKeys(self.state or paths.state())


def _transport_of(name: str) -> Transport:
    from toolkit.deploy.access import address_of
    from toolkit.deploy.keeper import Keeper

    address = address_of(Keeper().record(name))
    return Transport(address.url, read_key_file(paths.key_file(name)), pin=address.pin)


def _where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that become `where`."""

    @click.option(
        "--state",
        type=click.Path(file_okay=False, path_type=Path),
        help="The state folder of a server on this machine.",
    )
    @click.option("--endpoint", metavar="NAME", help="Ask this endpoint of ours, with its key.")
    @click.option("--url", metavar="URL", help="Ask the server at this address.")
    @click.option(
        "--key-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="With --url: the file that holds an admin key.",
    )
    @functools.wraps(command)
    def wrapped(
        state: Path | None,
        endpoint: str | None,
        url: str | None,
        key_file: Path | None,
        **rest: Any,
    ) -> Any:
        return command(where=Where(state, endpoint, url, key_file), **rest)

    return wrapped


@click.group()
def keys() -> None:
    """Who may use a server, and how much they did."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    type=SCOPES,
    default="inference",
    show_default=True,
    help="What it may do; each includes what is below it.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Put the key into this file, for your eyes only, instead of showing it.",
)
@terms_options
@_where_options
@JSON_OPTION
def new(name: str, scope: str, out: Path | None, terms: Terms, where: Where, as_json: bool) -> None:
    """Make a key called NAME. It is shown once and kept nowhere."""
    key = run(_create(where, name, Scope(scope), terms))
    if out is not None:
        write_key_file(out, key)
    told = {"key_file": str(out)} if out else {"key": key}
    if as_json:
        click.echo(json.dumps({"name": name, "scope": scope, **told}))
    elif out is not None:
        click.echo(f"{name} is in {out}")
    else:
        click.echo(f"{name} is made; this is shown once:", err=True)
        click.echo(key)


@keys.command("list")
@_where_options
@JSON_OPTION
def list_keys(where: Where, as_json: bool) -> None:
    """List the keys, never what opens them."""

    async def work() -> Sequence[KeyInfo]:
        async with aclosing(where.opened()) as book:
            return await book.list()

    found = run(work())
    if not found and not as_json:
        click.echo("no keys")
    _print(found, as_json, _KEY_COLUMNS)


@keys.command()
@click.argument("name")
@change_options
@_where_options
@JSON_OPTION
def change(name: str, change: Change, where: Where, as_json: bool) -> None:
    """Change what the key called NAME may do. What is not said stays; `none` lifts a limit."""

    async def work() -> KeyInfo:
        async with aclosing(where.opened()) as book:
            return await book.change(name, change)

    _print([run(work())], as_json, _KEY_COLUMNS)


@keys.command()
@click.argument("name")
@_where_options
@JSON_OPTION
def revoke(name: str, where: Where, as_json: bool) -> None:
    """End the key called NAME, for good: its name is never given again."""

    async def work() -> None:
        async with aclosing(where.opened()) as book:
            await book.revoke(name)

    run(work())
    if as_json:
        click.echo(json.dumps({"name": name, "revoked": True}))
    else:
        click.echo(f"{name} is revoked")


@keys.command("show-usage")
@click.option("--key", metavar="NAME", help="Only of this key.")
@click.option("--model", metavar="NAME", help="Only of this model.")
@click.option("--since", metavar="DAY", help="From this day on, such as 2026-01-31.")
@_where_options
@JSON_OPTION
def show_usage(
    key: str | None, model: str | None, since: str | None, where: Where, as_json: bool
) -> None:
    """Show what was used, per key, model and day (UTC)."""
    with translated():
        query = Query.of(key=key, model=model, since=since)

    async def work() -> Sequence[UsageRow]:
        async with aclosing(where.opened()) as book:
            return await book.usage(query)

    columns = ("day", "key", "model", "requests", "failed", "prompt_tokens", "output_tokens")
    _print(run(work()), as_json, (*columns, "seconds"))


async def _create(where: Where, name: str, scope: Scope, terms: Terms) -> str:
    async with aclosing(where.opened()) as book:
        return await book.create(name, scope, terms)


def _print(
    found: Sequence[KeyInfo] | Sequence[UsageRow], as_json: bool, columns: Sequence[str]
) -> None:
    """One line per row; a server may have written some of it."""
    rows: list[dict[str, Any]] = msgspec.to_builtins(found)
    lines = map(_json, rows) if as_json else _table(rows, columns)
    for line in lines:
        click.echo(cleaned(line))


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    if not rows:
        return
    cells = [[column.upper() for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case list() | tuple():
            return ",".join(map(str, value)) or "none"
        case dict():
            return ",".join(f"{k}={v}" for k, v in value.items() if v is not None) or "-"
    return str(value)
