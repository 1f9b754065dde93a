"""`akash-llm models`: what is in the model store of this machine, and changing it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from tqdm import tqdm

from server.models import garbage, verification
from server.models.extras import Extras
from server.models.stored import StoredModel
from server.models.wheel import EMBEDDED
from toolkit import paths
from toolkit.cli import model_making
from toolkit.cli.model_store import (
    JSON_OPTION,
    print_json,
    print_result,
    summary,
    to_json,
)
from toolkit.errors import ConfigError, UsageError
from toolkit.models.local import opened_store
from toolkit.safetext import cleaned


@click.group()
def models() -> None:
    """The models on this machine."""


@models.command("list")
@JSON_OPTION
def list_models(as_json: bool) -> None:
    """List the models, newest first."""
    with opened_store() as store:
        stored = store.list()
    if as_json:
        for model in stored:
            print_json(summary(model))
        return
    if not stored:
        click.echo(f"no models in {paths.models()}")
        click.echo(f"`akash-llm models pull {EMBEDDED}` gets a small one")
        return
    for line in _table(stored):
        click.echo(line)


@models.command()
@click.argument("name")
@click.option("--verbose", is_flag=True, help="With the vocabulary and the tensors.")
@JSON_OPTION
def show(name: str, verbose: bool, as_json: bool) -> None:
    """Show what is known of a model."""
    with opened_store() as store:
        model = store.get(name)
        description = _description(model, verbose)
    if as_json:
        print_json(description)
        return
    for key, value in description.items():
        if value:
            text = value if isinstance(value, str) else to_json(value)
            click.echo(f"{key:<14} {cleaned(text)}")  # the file's maker wrote some of it


@models.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--system", help="Its system prompt.")
@click.option("--license-file", type=click.Path(path_type=Path), help="Its license.")
@JSON_OPTION
def add(
    name: str, file: Path, system: str | None, license_file: Path | None, as_json: bool
) -> None:
    """Copy a GGUF FILE into the store under NAME."""
    with opened_store() as store:
        licenses = (_read_text(license_file),) if license_file else ()
        extras = Extras(system=system, licenses=licenses)
        with _progress_bar() as progress:
            model = store.add_file(name, file, extras=extras, progress=progress)
    print_result(model, as_json)


@models.command()
@click.argument("name")
@JSON_OPTION
def rm(name: str, as_json: bool) -> None:
    """Remove a model and the files that no other model uses."""
    with opened_store() as store:
        model = store.get(name)
        store.remove(name)
    shown = model.name.display()
    if as_json:
        print_json({"name": shown, "removed": True})
    else:
        click.echo(f"removed {shown}")


@models.command()
@click.argument("source")
@click.argument("destination")
@JSON_OPTION
def cp(source: str, destination: str, as_json: bool) -> None:
    """Give the model SOURCE another name as well."""
    with opened_store() as store:
        store.copy(source, destination)
        model = store.get(destination)
    print_result(model, as_json)


@models.command()
@click.argument("name")
@JSON_OPTION
def verify(name: str, as_json: bool) -> None:
    """Read every file of a model and tell whether it is what it should be."""
    with opened_store() as store:
        size = store.get(name).size
        with _progress_bar() as progress:
            found = verification.verify(store, name, lambda done: progress(done, size))
    for one in found:
        if as_json:
            print_json(msgspec.to_builtins(one))
        else:
            click.echo(f"{one.state:<8} {one.digest}  {cleaned(one.kind)}")
    bad = [one for one in found if one.state != verification.GOOD]
    if bad:
        raise ConfigError(
            f"{len(bad)} of {len(found)} files of {name} are missing or damaged",
            hint="`akash-llm models rm NAME`, then get it again",
        )


@models.command()
@JSON_OPTION
def gc(as_json: bool) -> None:
    """Remove files that no model needs and downloads that nobody goes on with."""
    with opened_store() as store:
        collected = garbage.collect(store)
    if as_json:
        print_json(msgspec.to_builtins(collected))
    elif collected.is_busy:
        click.echo("nothing removed: models are being pulled or made")
    else:
        click.echo(f"removed {collected.num_files} files, {collected.num_bytes / 1e6:,.0f} MB")


models.add_command(model_making.pull)
models.add_command(model_making.create)


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes for a person who watches; nothing in a pipe."""
    with tqdm(unit="B", unit_scale=True, disable=None, leave=False) as bar:

        def show(done: int, size: int) -> None:
            bar.total = size
            bar.update(done - bar.n)

        yield show


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}") from error


def _description(model: StoredModel, verbose: bool) -> dict[str, Any]:
    description = summary(model) | {
        "parameters": model.parameters,
        "system": model.system or "",
        "template": model.template_text,
        "license": model.license_text,
        "model_info": model.model_info(verbose=verbose),
    }
    return description | ({"tensors": model.tensors()} if verbose else {})


def _table(stored: list[StoredModel]) -> Iterator[str]:
    """One line per model; the reason below one that cannot be served."""
    width = max(len(model.name.display()) for model in stored)
    yield f"{'NAME':<{width}}  {'SIZE':>10}  {'PARAMETERS':>10}  QUANTIZATION"
    for model in stored:
        details = model.details
        size = f"{model.size / 1e6:,.0f} MB"
        yield (
            f"{model.name.display():<{width}}  {size:>10}  "
            f"{details.parameter_size:>10}  {details.quantization_level}"
        )
        if model.problem is not None:
            yield f"  cannot be served: {model.problem}"
