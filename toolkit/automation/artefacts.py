"""What a run leaves on disk: written whole or not at all, and without secrets."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from server.models.files import replace_file
from toolkit import jsontext, paths
from toolkit.automation.secrets import known_secrets, scrub
from toolkit.deploy import logfile
from toolkit.deploy.base import Record

LOG_LINES = 500
_PANEL = "A panel of widgets. It is there when this notebook is open and runs."
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def clean_notebook(document: dict[str, Any]) -> bytes:
    """A notebook as JSON, without widget state (it holds what was typed) and secrets."""
    document.get("metadata", {}).pop("widgets", None)
    for cell in document.get("cells", ()):
        if "outputs" in cell:
            cell["outputs"] = _joined(cell["outputs"])
        for output in cell.get("outputs", ()):
            if _WIDGET_VIEW in output.get("data", {}):
                output["data"] = {"text/plain": _PANEL}
    secrets = known_secrets()
    return as_json(_map_text(document, lambda text: scrub(text, secrets)))


def _joined(outputs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs with what was printed in pieces as one text.

    A streamed answer would be shown with a line for each token, and a secret printed in two
    pieces would not be found.
    """
    joined: list[dict[str, Any]] = []
    for output in outputs:
        if output.get("output_type") != "stream":
            joined.append(output)
            continue
        piece = output | {"text": "".join(output.get("text", ""))}
        last = joined[-1] if joined else {}
        if last.get("output_type") == "stream" and last["name"] == piece["name"]:
            last["text"] += piece["text"]
        else:
            joined.append(piece)
    return joined


def as_json(value: object) -> bytes:
    """Indented JSON with a newline at its end."""
    return msgspec.json.format(jsontext.encoded(value), indent=1) + b"\n"


def write_whole(path: str | Path, data: bytes) -> None:
    """Replace the file at once: who reads it sees the old or the new one."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, data, mode=0o600)


def clean_value(value: object) -> object:
    """Any value of builtins without the secrets that are known."""
    secrets = known_secrets()
    return _map_text(value, lambda text: scrub(text, secrets))


def keep_deployments(folder: Path, records: Iterable[Record]) -> None:
    """Beside the notebook: the SDL of each deployment, and the end of its log."""
    secrets = known_secrets()
    for record in records:
        write_whole(folder / f"{record.name}.sdl.yaml", scrub(record.sdl, secrets).encode())
        log = record.handle.get("log")
        path = Path(str(log)) if log else paths.endpoint(record.name) / "no.log"
        lines = logfile.last_lines(path, LOG_LINES)
        if lines:
            text = "".join(f"{line}\n" for line in lines)
            write_whole(folder / f"{record.name}.log", scrub(text, secrets).encode())


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_map_text(item, change) for item in value]
    if isinstance(value, dict):
        return {_map_text(key, change): _map_text(item, change) for key, item in value.items()}
    return value
