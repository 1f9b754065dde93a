"""A notebook as one web page that loads nothing, runs nothing and goes nowhere.

nbconvert's own pages fetch scripts from other hosts, even to show an executed notebook without
widgets. This one is its plain body, without what acts (`body`), in a page of ours, whose policy
lets a browser load nothing.
"""

from functools import cache
from importlib import resources
from pathlib import Path

import jinja2

from toolkit.automation.params import read_cells, title_of
from toolkit.safetext import well_formed

_TEMPLATE = "page.html"


def as_page(notebook: Path) -> bytes:
    """A notebook with its outputs as HTML. Raises `ConfigError` for what is none."""
    title = title_of(read_cells(notebook)) or notebook.stem
    body, style = _body(notebook)
    return well_formed(_template(_TEMPLATE).render(title=title, body=body, style=style)).encode()


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
    from pygments.formatters import HtmlFormatter

    from toolkit.automation.body import body_of

    body = body_of(nbformat.read(notebook, as_version=4))
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return body, f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


@cache
def _template(name: str) -> jinja2.Template:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text)
