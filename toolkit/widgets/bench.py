"""The benchmark panel: a form, a table and a plot that grow while it runs, and Stop.

What was measured when it is stopped stays and is a result like any other.
"""

import asyncio
import html
import time
from typing import Any

import ipywidgets as widgets

from toolkit.bench import report
from toolkit.bench.config import BenchConfig
from toolkit.bench.result import Result
from toolkit.bench.runner import Run
from toolkit.bench.workload import Workload
from toolkit.client import Endpoint
from toolkit.errors import ToolkitError, UsageError
from toolkit.safetext import cleaned
from toolkit.widgets.notice import notice
from toolkit.widgets.style import classed, sheet
from toolkit.widgets.task import BackgroundTask, HomeLoop, ticking

PAINT_S = 0.25
PLOT_EVERY_S = 1.0


class BenchPanel:
    """A benchmark of `endpoint`; show `view` (or the panel itself) in a cell.

    `result` is that of the last run, whole or partial; `run` starts one from code.
    """

    def __init__(self, endpoint: Endpoint, config: BenchConfig | None = None) -> None:
        self.endpoint = endpoint
        self._home = HomeLoop()
        self._task = BackgroundTask(self._failed)
        self._run: Run | None = None
        self._error: ToolkitError | None = None
        self._plotted: tuple[float, int] = (0.0, -1)
        self._build(config or BenchConfig())
        self._show_busy(False)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    @property
    def result(self) -> Result | None:
        """What was measured so far; None before the first run."""
        return self._run.result() if self._run is not None and self._run.has_measured else None

    def config(self) -> BenchConfig:
        """The form. Raises `UsageError` for what cannot be meant."""
        return BenchConfig(
            concurrency=_counts(str(self._concurrency.value)),
            requests=self._requests.value,
            workload=Workload(
                prompt_words=self._prompt_words.value, output_tokens=self._output_tokens.value
            ),
            usd_per_hour=self._price,
        ).checked()

    async def run(self) -> Result:
        """Run what the form says and wait for its end; shown as it goes.

        Raises what ended it, when nothing was measured.
        """
        if self._task.is_running:
            raise UsageError("A benchmark is under way.", hint="Stop it, or wait for its end.")
        self._start()
        await self._task.wait()
        if self._error is not None:
            raise self._error
        result = self.result
        if result is None:
            raise UsageError("The benchmark was stopped before it began.")
        return result

    def stop(self) -> None:
        """End the run; what was measured stays. Does not block."""
        self._task.cancel()

    def _build(self, config: BenchConfig) -> None:
        self._price = config.usd_per_hour
        self._concurrency = widgets.Text(
            description="Open requests", value=", ".join(map(str, config.concurrency))
        )
        self._requests = _number("Requests each", config.requests or 8, 100_000)
        self._prompt_words = _number("Prompt words", config.workload.prompt_words, 100_000)
        self._output_tokens = _number("Output tokens", config.workload.output_tokens, 100_000)
        fields = (self._concurrency, self._requests, self._prompt_words, self._output_tokens)
        for field in fields:
            field.style.description_width = "104px"
            field.layout = widgets.Layout(width="auto")
        self._run_button = widgets.Button(description="Run", tooltip="Start the benchmark")
        self._stop_button = widgets.Button(
            description="Stop", tooltip="End the benchmark and keep what was measured"
        )
        for button, act in ((self._run_button, self._start), (self._stop_button, self.stop)):
            button.layout = widgets.Layout(width="84px", flex="0 0 auto")
            button.on_click(lambda _, act=act: self._home.do(act))
        self._status = classed(widgets.HTML(), "akl-status")
        self._table = classed(widgets.HTML(), "akl-pad")
        self._plot = classed(widgets.HTML(), "akl-plot", "akl-pad")
        self._head = widgets.HTML()
        form = widgets.VBox(
            [
                widgets.GridBox(
                    list(fields),
                    layout=widgets.Layout(
                        grid_template_columns="repeat(2, 1fr)", grid_gap="0 12px"
                    ),
                ),
                widgets.HBox([self._run_button, self._stop_button]),
            ]
        )
        self.view = classed(
            widgets.VBox(
                [
                    sheet(),
                    self._head,
                    classed(form, "akl-settings"),
                    self._status,
                    self._table,
                    self._plot,
                ]
            ),
            "akl",
            "akl-bench",
        )

    def _start(self) -> None:
        if self._task.is_running:
            return
        self._error = None
        try:
            run = Run(self.config(), self.endpoint)
        except ToolkitError as error:
            self._failed(error)
            return
        self._run = run
        self._table.value = self._plot.value = ""
        self._plotted = (0.0, -1)
        self._task.start(lambda: self._measure(run))
        self._show_busy(True)

    async def _measure(self, run: Run) -> None:
        state = "stopped: what was measured is kept."
        try:
            async with ticking(lambda: self._paint(run), PAINT_S):
                await run.run()
            state = report.sentence(run.result())
        except asyncio.CancelledError:
            pass
        except ToolkitError as error:
            self._error = error
            raise
        finally:
            self._show_busy(False)
            self._plotted = (0.0, -1)
            self._paint(run)
            self._status.value = html.escape(state)

    def _paint(self, run: Run) -> None:
        self._status.value = html.escape(str(run.progress()))
        if not run.has_measured:
            return
        result = run.result()
        self._table.value = _table(result)
        at, count = self._plotted
        measured = sum(len(level.records) for level in result.levels)
        if measured != count and time.monotonic() - at >= PLOT_EVERY_S:
            self._plotted = (time.monotonic(), measured)
            self._draw(result)

    def _draw(self, result: Result) -> None:
        from toolkit.bench import plots

        if any(summary.output_tokens_per_s for summary in result.summaries):
            self._plot.value = plots.throughput_and_latency(result)

    def _failed(self, error: ToolkitError) -> None:
        self._error = error
        self._status.value = notice(error.message, error.hint)

    def _show_busy(self, is_busy: bool) -> None:
        self._run_button.disabled = is_busy
        self._run_button.button_style = "primary"
        self._stop_button.disabled = not is_busy
        self._stop_button.button_style = "warning" if is_busy else ""
        name = html.escape(self.endpoint.name or "endpoint")
        model = html.escape(cleaned(self.endpoint.model))
        state = "measuring" if is_busy else "ready"
        self._head.value = (
            f'<div class="akl-head"><b>Benchmark</b><span>{name} · {model}</span>'
            f'<span class="akl-state">{state}</span></div>'
        )


def _number(label: str, value: int, top: int) -> widgets.BoundedIntText:
    return widgets.BoundedIntText(description=label, value=value, min=1, max=top)


def _counts(text: str) -> tuple[int, ...]:
    """Counts between commas or spaces."""
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(
            f"{text!r} is not a list of counts.", hint="Give how many at once, such as 1, 2, 4."
        )
    return tuple(int(part) for part in parts)


def _table(result: Result) -> str:
    headings, rows = report.rows(result)
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    formulas = "".join(
        f"<li>{html.escape(label)}: <code>{html.escape(formula)}</code></li>"
        for label, formula in report.FORMULAS
    )
    return (
        f'<table class="akl-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"<details><summary>Formulas</summary><ul>{formulas}</ul>"
        f"<p>{html.escape(report.SYMBOLS)}.</p></details>"
    )
