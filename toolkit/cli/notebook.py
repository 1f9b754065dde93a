"""`akash-llm notebook run`, `params`, `list`: notebooks without a browser."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from toolkit import jsontext
from toolkit.automation.artefacts import write_whole
from toolkit.automation.book import make_book
from toolkit.automation.matrix import read_matrix
from toolkit.automation.matrix_report import preview, terminal
from toolkit.automation.matrix_run import MatrixRun
from toolkit.automation.page import as_page
from toolkit.automation.params import (
    find_notebook,
    list_notebooks,
    read_cells,
    read_parameters,
    title_of,
)
from toolkit.automation.run import KERNEL_TIMEOUT_S, run_notebook
from toolkit.automation.run_folder import RunResult
from toolkit.cli import loop
from toolkit.deploy.base import Update
from toolkit.deploy.table import columns
from toolkit.errors import UsageError
from toolkit.safetext import cleaned

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


@click.group()
def notebook() -> None:
    """Run notebooks from the command line."""


@notebook.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the notebooks that come with akash-llm."""
    found = [(path, title_of(read_cells(path))) for path in list_notebooks()]
    for path, title in found if as_json else ():
        _print({"name": path.stem, "title": title, "path": str(path)})
    if not as_json:
        click.echo(columns([("NAME", "TITLE"), *((path.stem, title) for path, title in found)]))


@notebook.command()
@click.argument("name")
@json_option
def params(name: str, as_json: bool) -> None:
    """Show the parameters of a notebook: name, type, default and meaning."""
    found = read_parameters(find_notebook(name))
    for one in found if as_json else ():
        _print(one)
    if not as_json:
        rows = [(one.name, one.type, one.default, one.help) for one in found]
        click.echo(columns([("NAME", "TYPE", "DEFAULT", "MEANING"), *rows]))


@notebook.command()
@click.argument("name")
@click.option(
    "-p", "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter (repeatable)."
)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Parameters from a YAML or JSON file (repeatable; -p wins).",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of this run, instead of a new one below AKASH_LLM_HOME/runs.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in --out: nothing is done again if it ended well, and what it opened"
    " is adopted.",
)
@click.option(
    "--html",
    "with_page",
    is_flag=True,
    help="Also as a web page beside the executed notebook, which loads and runs nothing.",
)
@click.option(
    "--timeout",
    "cell_timeout_s",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="Most time for one cell; without it there is no limit.",
)
@click.option(
    "--kernel-timeout",
    "kernel_timeout_s",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    default=KERNEL_TIMEOUT_S,
    show_default=True,
    help="Most time for the kernel to start.",
)
@json_option
def run(
    name: str,
    pairs: tuple[str, ...],
    files: tuple[Path, ...],
    out: Path | None,
    resume: bool,
    with_page: bool,
    cell_timeout_s: int | None,
    kernel_timeout_s: int,
    as_json: bool,
) -> int:
    """Run a notebook to its end; what its cells print is printed here.

    NAME is one of `akash-llm notebook list`, or a path. The exit code tells the error:
    2 usage, 3 configuration, 4 credentials, 5 capacity, 6 time, 7 endpoint, 8 SLO,
    9 budget, 130 interrupted, 1 any other.
    """
    if resume and out is None:
        raise UsageError("--resume needs the folder of a run", hint="Give it with --out DIR.")
    texts = dict(_pair(pair) for pair in pairs)
    values = {k: v for file in files for k, v in _read(file).items() if k not in texts}

    def echo(text: str) -> None:
        click.echo(text, nl=False, err=as_json)

    work = run_notebook(
        name,
        values,
        texts=texts,
        out=out,
        resume=resume,
        cell_timeout_s=cell_timeout_s,
        kernel_timeout_s=kernel_timeout_s,
        progress=_progress,
        echo=echo,
    )

    result = loop.run(work)
    if with_page and Path(result.output).exists():
        write_whole(Path(result.output).with_suffix(".html"), as_page(Path(result.output)))
    _report(result, as_json)
    return result.exit_code or 0


@notebook.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of all the runs, instead of a new one below AKASH_LLM_HOME/runs.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the matrix in --out: what ended well there is kept.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be run, and what it may cost.")
@json_option
def matrix(file: Path, out: Path | None, resume: bool, dry_run: bool, as_json: bool) -> int:
    """Measure every combination of some parameters, for one budget, and compare them.

    \b
    FILE says which, for example:
      matrix:
        model: [smollm2:135m, llama3.2:1b]
        parallel: [2, 4]
      exclude:
        - {model: llama3.2:1b, parallel: 4}
      parameters: {target: console, image: …, max_usd_per_hour: 0.40, runtime_hours: 1}
      budget_usd: 2

    For each, 04_deploy opens an endpoint, 06_benchmark measures it, and it is ended; other
    notebooks can be named (notebooks: […]). One that might cost more than is left of the budget
    is left out. The exit code is that of the first that failed, or 9 if one was left out.
    """
    if resume and out is None:
        raise UsageError("--resume needs the folder of a matrix", hint="Give it with --out DIR.")
    planned = read_matrix(file)
    if dry_run:
        for point in planned.points if as_json else ():
            _print(point)
        if not as_json:
            click.echo(cleaned(preview(planned)))
        return 0
    running = MatrixRun(planned, out=out, source=file, resume=resume, progress=_progress)
    result = loop.run(running.run())
    if as_json:
        _print(result)
    else:
        click.echo(terminal(result))
        click.echo(f"the comparison: {running.folder / 'matrix.html'}")
    return result.exit_code


@notebook.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the pages, and of the runs.",
)
@json_option
def book(out: Path, as_json: bool) -> int:
    """Run every notebook with its defaults, and make web pages of them.

    What they opened is closed at the end. It ends with the first that fails.
    """
    results = loop.run(make_book(out.expanduser().resolve(), progress=_progress))
    for result in results if as_json else ():
        _print(result)
    if results[-1].exit_code:
        _tell(results[-1])
        click.echo(_place(results[-1]), err=True)
    click.echo(f"the notebooks, as they ran: {out / 'index.html'}", err=True)
    return results[-1].exit_code or 0


def _report(result: RunResult, as_json: bool) -> None:
    if as_json:
        _print(result)
    _tell(result)
    if not as_json:
        click.echo(_place(result), err=result.error is not None)


def _tell(result: RunResult) -> None:
    """Why it failed, if it did."""
    error = result.error
    if error is not None:
        where = f" (code cell {error.cell})" if error.cell else ""
        click.echo(f"error: {error.name}{where}: {error.message}", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        for name in result.closed:
            click.echo(f"closed {name}, which this run had opened", err=True)


def _place(result: RunResult) -> str:
    """Where to look at it."""
    is_there = Path(result.output).exists()
    return f"executed notebook: {result.output}" if is_there else f"run: {result.folder}"


def _progress(update: Update) -> None:
    click.echo(str(update), err=True)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("a parameter is given as NAME=VALUE", hint="For example: -p model=smollm2")
    return name.strip(), value


def _read(file: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UsageError(f"{file} is not YAML", hint="One `name: value` a line.") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UsageError(f"{file} does not name parameters", hint="One `name: value` a line.")
    return values


def _print(value: object) -> None:
    click.echo(jsontext.encoded(value))
