"""The cells of a notebook as HTML, each of their texts and outputs made inert by itself."""

import re
import secrets
from typing import Any

from jinja2 import pass_context
from nbconvert import HTMLExporter

from toolkit.automation.glue import MIME
from toolkit.automation.inert import inert

_SCRIPT = "application/javascript"
_WIDGET = "application/vnd.jupyter.widget-view+json"


def body_of(document: Any) -> str:
    """The HTML of a notebook (nbformat 4), whose outputs this changes."""
    exporter = _Exporter(template_name="basic")
    document.metadata.pop("widgets", None)
    for cell in document.cells:
        if cell.cell_type == "raw":
            cell.source = exporter.held(cell.source)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_shown(output)]
            for output in (output for output in cell.outputs if "text/html" in _data(output)):
                output.data["text/html"] = exporter.held(output.data["text/html"])
                output.get("metadata", {}).pop("text/html", None)  # would put it into a frame
    body, _ = exporter.from_notebook_node(document)
    return exporter.with_held(inert(body, limited=False))


def _is_shown(output: Any) -> bool:
    """Whether it is more than a script, a live widget, or a value for programs
    (`toolkit.glue`)."""
    data = _data(output)
    data.pop(_WIDGET, None)
    return "data" not in output or (_SCRIPT not in data and bool(set(data) - {MIME}))


def _data(output: Any) -> dict[str, Any]:
    return output.get("data", {})  # type: ignore[no-any-return]  # nbformat has no types


class _Exporter(HTMLExporter):
    """Makes HTML of other people inert before it is put among that of others, which it could
    otherwise swallow: a word that nobody can guess stands in its place until all else is done."""

    def __init__(self, template_name: str) -> None:
        super().__init__(template_name=template_name)  # type: ignore[no-untyped-call]
        self._word = secrets.token_hex()
        self._parts = list[str]()
        # Of code with colours, which is well made; and slow.
        self.register_filter("clean_html", lambda html: html)  # type: ignore[no-untyped-call]

    def held(self, html: str) -> str:
        """What stands for it."""
        self._parts.append(inert(html))
        return f"{self._word}-{len(self._parts) - 1}-"

    def with_held(self, html: str) -> str:
        """The same with what was held."""
        return re.sub(rf"{self._word}-(\d+)-", lambda at: self._parts[int(at[1])], html)

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Of a Markdown cell, and of a `text/markdown` output."""
        return self.held(super().markdown2html(context, source))
