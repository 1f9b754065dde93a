"""A notebook as one web page that loads nothing, runs nothing and goes nowhere.

nbconvert's own pages fetch scripts from other hosts, even to show an executed notebook without
widgets. This one is its plain body, without what acts (`inert`), in a page of ours, whose policy
lets a browser load nothing.
"""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from toolkit.automation.glue import MIME
from toolkit.automation.params import read_cells, title_of

_TEMPLATE = "page.html"


def as_page(notebook: Path) -> bytes:
    """A notebook with its outputs as HTML. Raises `ConfigError` for what is none."""
    title = title_of(read_cells(notebook)) or notebook.stem
    body, style = _body(notebook)
    return _template(_TEMPLATE).render(title=title, body=body, style=style).encode()


def index_page(pages: list[tuple[str, str]]) -> bytes:
    """A page that links others: (address, title)."""
    return _template("index.html").render(pages=pages).encode()


def table_page(title: str, text: str, rows: list[list[str]]) -> bytes:
    """A page with a text and a table, whose first row are its heads."""
    return _template("table.html").render(title=title, text=text, rows=rows).encode()


def _body(notebook: Path) -> tuple[str, str]:
    """The cells as HTML, and the style of code in them."""
    # Half a second that only those wait for who want a page.
    import nbformat
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    from toolkit.automation.inert import inert

    document: Any = nbformat.read(notebook, as_version=4)
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_scrap(output)]
            for data in (output.data for output in cell.outputs if "data" in output):
                if "text/html" in data:  # alone, so that what it leaves open swallows nothing
                    data["text/html"] = inert(data["text/html"])
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(document)
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return inert(body), f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _is_scrap(output: Any) -> bool:
    """Whether it is a value for programs (`toolkit.glue`), which nothing can show."""
    return set(output.get("data", ())) == {MIME}


@cache
def _template(name: str) -> jinja2.Template:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text)
