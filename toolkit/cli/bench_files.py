"""`akash-llm bench compare` and `report`: results that were kept."""

from pathlib import Path

import click

from toolkit import jsontext
from toolkit.bench import comparison, export
from toolkit.bench import report as reporting
from toolkit.bench.export import LIKES, Like
from toolkit.bench.result import Result

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def compare(before: Path, after: Path, as_json: bool) -> None:
    """Hold result AFTER against BEFORE, load by load.

    What was not asked the same is refused with the reasons; what else differs is listed.
    """
    found = comparison.compare(Result.load(before), Result.load(after))
    if as_json:
        click.echo(jsontext.encoded(found).decode())
    else:
        click.echo(comparison.text(found))


@click.command()
@click.argument("file", type=_FILE)
@click.option(
    "--out",
    type=_FILE,
    multiple=True,
    help="Write it, as the ending says: .json .jsonl .csv .md .html; may be repeated.",
)
@click.option("--like", type=click.Choice(LIKES), default="ours", show_default=True,
              help="Columns and formulas of a CSV.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The whole result as one JSON object.")
def report(file: Path, out: tuple[Path, ...], like: Like, as_json: bool) -> None:
    """Show the result in FILE, or write it in other forms."""
    result = Result.load(file)
    for path in out:
        export.check(path)
    for path in out:
        export.save(result, path, like)
        click.echo(f"written: {path}", err=as_json)
    if as_json:
        click.echo(jsontext.encoded(result).decode())
    elif not out:
        click.echo(reporting.terminal(result))
        click.echo(reporting.sentence(result))
