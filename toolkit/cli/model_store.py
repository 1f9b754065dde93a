"""How the commands about models show one."""

import json
from typing import Any

import click
import msgspec

from server.models.stored import StoredModel
from toolkit import paths

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


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
