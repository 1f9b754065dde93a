"""A result as one HTML file: everything in it, nothing loaded, nothing executed.

What an endpoint wrote (names, versions, errors) is escaped by the template, and the page's
own policy forbids scripts and requests, should anything ever get through.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.bench import plots, report
from toolkit.bench.result import Result
from toolkit.safetext import cleaned

if TYPE_CHECKING:
    from jinja2 import Template


def page(result: Result) -> str:
    """The whole document. Raises `ConfigError` without matplotlib."""
    headings, rows = report.rows(result)
    spread = report.spread_rows(result)
    return _template().render(
        title=cleaned(report.title(result)),
        sentence=cleaned(report.sentence(result)),
        facts=[(name, cleaned(value)) for name, value in report.facts(result)],
        headings=headings,
        rows=[[cleaned(cell) for cell in row] for row in rows],
        notices=[cleaned(notice) for notice in report.notices(result)],
        spread_headings=spread[0],
        spread_rows=spread[1:],
        verdicts=[(str(s.load), verdict) for s in result.summaries for verdict in s.verdicts],
        charts=plots.charts(result),
        formulas=report.FORMULAS,
        symbols=report.SYMBOLS,
    )


@cache
def _template() -> "Template":
    import jinja2  # takes long for who asks for --help

    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(source)
