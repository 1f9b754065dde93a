"""Results out of a notebook: named values in its outputs, as scrapbook stores them.

The same MIME type and fields as scrapbook's `sb.glue`, so that its readers work too,
without its dependencies.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from toolkit import jsontext
from toolkit.automation.secrets import is_secret_value
from toolkit.errors import UsageError

MIME = "application/scrapbook.scrap.json+json"


class Scrap(msgspec.Struct, frozen=True):
    """One named value, in scrapbook's fields."""

    name: str
    data: Any
    encoder: str = "json"
    version: int = 1


def glue(name: str, value: object) -> None:
    """Put `value` under `name` into the outputs of the running cell; it shows nothing.

    Outside of a notebook it does nothing. `UsageError` for what JSON cannot hold, and
    for what looks like a secret.
    """
    if is_secret_value(value):
        raise UsageError(
            f"{name!r} looks like a secret and would be stored with the notebook",
            hint="Glue the file that holds it, not the secret.",
        )
    try:
        data = jsontext.decoded(jsontext.encoded(value, enc_hook=str))
    except (TypeError, msgspec.MsgspecError) as error:
        raise UsageError(f"{name!r} cannot be stored as JSON: {error}") from None
    _publish(Scrap(name, data))


def read_scraps(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All named values in the outputs of a notebook's cells; the last of a name counts."""
    found = {}
    for output in _outputs(cells):
        scrap = output.get("data", {}).get(MIME)
        if isinstance(scrap, Mapping) and "name" in scrap:
            found[str(scrap["name"])] = scrap.get("data")
    return found


def _outputs(cells: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for cell in cells:
        yield from cell.get("outputs", [])


def _publish(scrap: Scrap) -> None:
    try:
        from IPython.core.display_functions import publish_display_data
        from IPython.core.getipython import get_ipython
    except ImportError:  # the base install has no notebooks
        return
    if get_ipython() is None:
        return
    metadata = {"scrapbook": {"name": scrap.name, "data": True, "display": False}}
    data = {MIME: msgspec.to_builtins(scrap)}
    publish_display_data(data, metadata=metadata)  # type: ignore[no-untyped-call]
