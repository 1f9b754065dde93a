"""The table of what differs between the engines: data that probes gave, and the Markdown of it."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from tests.engines.subject import Outcome

DATA: Final = Path(__file__).with_name("engines.json")
README: Final = Path(__file__).resolve().parents[2] / "README.md"
BEGIN: Final = "<!-- engines: made by make engines -->"
END: Final = "<!-- /engines -->"


class Column(msgspec.Struct, frozen=True):
    """What one engine showed: which version, on which day, and each probe's outcome."""

    version: str
    date: date
    outcomes: dict[str, Outcome]


Columns = Mapping[str, Column]


def load(path: Path = DATA) -> Columns:
    """The stored columns, by engine."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Column])


def merged(stored: Columns, found: Columns) -> Columns:
    """Those found instead of those stored. One that shows what it did keeps its day."""
    columns = dict(stored)
    for engine, column in found.items():
        known = stored.get(engine)
        if known is None or msgspec.structs.replace(column, date=known.date) != known:
            columns[engine] = column
    return columns


def store(columns: Columns, path: Path = DATA) -> None:
    """Write the columns, one outcome a line."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(columns), indent=1) + b"\n")


def markdown(columns: Columns) -> str:
    """The table, and in a line what it was made with. Each text that a server said stands once,
    below."""
    said: list[str] = []
    names = list(dict.fromkeys(name for column in columns.values() for name in column.outcomes))
    rows = [["", *(f"`{engine}`" for engine in columns)], ["---"] * (len(columns) + 1)]
    for name in names:
        outcomes = (column.outcomes.get(name) for column in columns.values())
        rows.append([name, *(_cell(outcome, said) for outcome in outcomes)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "\n".join(f"{number}. {text}" for number, text in enumerate(said, start=1))
    made = "; ".join(
        f"`{engine}`: {column.version} ({column.date})" for engine, column in columns.items()
    )
    return "\n\n".join(part for part in (table, notes, f"Tried with {made}.") if part)


def _cell(outcome: Outcome | None, said: list[str]) -> str:
    """`said` grows by what is not in it yet."""
    if outcome is None or outcome.result == "untried":
        return "–"
    if not outcome.said:
        return outcome.result
    text = outcome.said.replace("|", "\\|").replace("<", "&lt;")
    if text not in said:
        said.append(text)
    return f"{outcome.result} ({said.index(text) + 1})"


def placed(text: str, columns: Columns) -> str:
    """The text with the table between its two marks. Raises ValueError if they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} … {END} in it")
    return f"{before}{begin}\n{markdown(columns)}\n{end}{after}"
