"""What the commands about models share: the store of this machine, and how it is shown."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from server.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelUnusable,
    NotFound,
    ServerError,
    StorageFull,
)
from server.models.store import Store
from server.models.stored import StoredModel
from toolkit import paths
from toolkit.errors import CapacityError, ConfigError, ToolkitError, UsageError

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")

# The first class that fits decides the exit code.
_ERRORS: tuple[tuple[type[ServerError], type[ToolkitError]], ...] = (
    (InvalidRequest, UsageError),
    (ModelNotFound, UsageError),
    (NotFound, UsageError),
    (ModelUnusable, ConfigError),
    (StorageFull, CapacityError),
    (ServerError, ConfigError),
)


@contextmanager
def opened_store() -> Iterator[Store]:
    """The store of this machine; its errors become those of the command line."""
    try:
        yield Store(paths.models())
    except ServerError as error:
        kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
        raise kind(error.message, hint=error.hint) from error


def summary(model: StoredModel) -> dict[str, Any]:
    """A model as JSON."""
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


def print_result(model: StoredModel, as_json: bool) -> None:
    """Say that a model is there now."""
    if as_json:
        print_json(summary(model))
    else:
        click.echo(f"{model.name.display()} is in {paths.models()}")


def to_json(value: Any) -> str:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False)


def print_json(value: dict[str, Any]) -> None:
    """Print one line of JSON."""
    click.echo(to_json(value))
