"""The benchmark panel: a form, figures and a table that grow while it runs, Stop, pictures at
the end, and earlier runs to compare with.

What was measured when it is stopped stays and is a result like any other. While it runs nothing
is computed here for long: that would hold up what is measured.
"""

import asyncio
import html
from datetime import datetime
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from toolkit.bench import export, report
from toolkit.bench.config import BenchConfig
from toolkit.bench.result import Result
from toolkit.bench.runner import Run
from toolkit.client import Endpoint
from toolkit.errors import ToolkitError, UsageError
from toolkit.lease_facts import facts_of
from toolkit.safetext import cleaned
from toolkit.widgets import bench_page as page
from toolkit.widgets import board
from toolkit.widgets.bench_form import BenchForm
from toolkit.widgets.controls import button, choice, fill, grid, line, put, row, show
from toolkit.widgets.notice import notice
from toolkit.widgets.style import classed, sheet
from toolkit.widgets.task import BackgroundTask, HomeLoop, ticking
from toolkit.widgets.typed import TEXT_GRACE_S

PAINT_S = 0.25
MOST_RUNS = 20
NOTHING = "nothing"


class BenchPanel:
    """A benchmark of `endpoint`; show `view` (or the panel itself) in a cell.

    `result` is that of the last run, whole or partial, `results` are those of all; `run` starts
    one from code.
    """

    def __init__(self, endpoint: Endpoint, config: BenchConfig | None = None) -> None:
        self.endpoint = endpoint
        self.results: list[Result] = []
        self._num_runs = 0
        self._home = HomeLoop()
        self._task = BackgroundTask(self._failed)
        self._drawing = BackgroundTask(self._failed)
        self._run: Run | None = None
        self._error: ToolkitError | None = None
        self._moments: list[page.Moment] = []
        self._charts: dict[str, str] = {}
        self._earlier: dict[str, Result] = {}
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
        return self.form.config()

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

    # -- how it is laid out ---------------------------------------------------------

    def _build(self, config: BenchConfig) -> None:
        self.form = BenchForm(config)
        self._begin = button(
            self._home, "Run", "Start the benchmark", self._start, after_s=TEXT_GRACE_S
        )
        self._end = button(
            self._home, "Stop", "End the benchmark and keep what was measured", self.stop
        )
        self._head = widgets.HTML()
        self._status = classed(widgets.HTML(), "akl-status")
        self._live = widgets.HTML()
        self._line = classed(widgets.HTML(), "akl-plot", "akl-section")
        self._table = classed(widgets.HTML(), "akl-section", "akl-sheet")
        self._chart = choice("Picture", [(NOTHING, NOTHING)], NOTHING)
        self._plot = classed(widgets.HTML(), "akl-plot", "akl-section")
        self._before = choice("Compare with", [(NOTHING, NOTHING)], NOTHING)
        self._compared = classed(widgets.HTML(), "akl-section", "akl-sheet")
        self._path = line("Save as", "benchmark.html")
        self._path.layout.flex = "1 1 320px"
        self._save = button(
            self._home, "Save", "Write the last run to this file", self._write,
            after_s=TEXT_GRACE_S,
        )  # fmt: skip
        self._chart.observe(lambda _: self._home.do(self._show_chart), "value")
        self._before.observe(lambda _: self._home.do(self._compare), "value")
        self._after = widgets.VBox(
            [
                classed(grid([self._chart, self._before]), "akl-actions"),
                self._plot,
                self._compared,
                classed(row(self._path, self._save), "akl-actions"),
            ]
        )
        running = [self._status, self._live, self._line, self._table, self._after]
        form = classed(widgets.VBox([self.form.view, row(self._begin, self._end)]), "akl-settings")
        parts = [sheet(), board.board_sheet(), self._head, form, *running]
        self.view = classed(widgets.VBox(parts), "akl", "akl-bench")
        self._clear()

    def _clear(self) -> None:
        """Show nothing of a run."""
        for shown in (self._live, self._line, self._table, self._plot, self._compared):
            fill(shown, "")
        show(self._after, False)

    # -- what the buttons do --------------------------------------------------------

    def _start(self) -> None:
        if self._task.is_running:
            return
        self._error = None
        try:
            config = self.config()
        except ToolkitError as error:
            self._failed(error)
            return
        former, self._run, self._moments, self._charts = self._run, None, [], {}
        self._clear()
        self._task.start(lambda: self._measure(config, former))
        self._show_busy(True)

    async def _measure(self, config: BenchConfig, former: Run | None) -> None:
        run: Run | None = None
        said, look = "Stopped before anything was measured.", ""
        try:
            run = self._run = Run(config, self.endpoint, facts=await facts_of(self.endpoint))
            async with ticking(lambda: self._paint(run), PAINT_S):
                await run.run()
            result = run.result()
            said, look = report.sentence(result), "akl-mark" if result.has_missed else ""
        except asyncio.CancelledError:
            if run is not None and run.has_measured:
                said = "Stopped: what was measured is kept."
        except ToolkitError as error:
            self._error, said = error, ""
            raise
        finally:
            self._show_busy(False)
            if run is not None and run.has_measured:
                self._finish(run.result())
            elif former is not None and former.has_measured:
                self._run = former
                self._show(former.result())
            if said:
                put(self._status, f'<span class="{look}">{html.escape(said)}</span>')

    def _paint(self, run: Run) -> None:
        """What there is of a run that goes on: nothing here takes long."""
        progress = run.progress()
        put(self._status, html.escape(str(progress)))
        if not progress.level:
            return
        fill(self._live, page.live(progress))
        elapsed = self._moments[-1][0] + PAINT_S if self._moments else 0.0
        self._moments.append((elapsed, progress.tokens_per_s or 0.0))
        fill(self._line, page.line(self._moments))
        if run.has_measured:
            fill(self._table, page.levels(run.result()))

    def _finish(self, result: Result) -> None:
        """Keep what was measured, and show it."""
        self._offer_earlier()
        self.results = [*self.results, result][-MOST_RUNS:]
        self._num_runs += 1
        stamp = f"{datetime.now().astimezone():%Y-%m-%d-%H%M%S}"
        self._path.value = f"benchmark-{stamp}.html"
        self._show(result)

    def _show(self, result: Result) -> None:
        """The whole of a result, with its pictures."""
        fill(self._live, "")
        fill(self._line, "")
        fill(self._table, page.levels(result))
        show(self._after, True)
        self._drawing.cancel()
        self._drawing = BackgroundTask(self._failed)
        self._drawing.start(lambda: self._draw(result))

    async def _draw(self, result: Result) -> None:
        from toolkit.bench import plots

        if not any(summary.output_tokens_per_s for summary in result.summaries):
            return
        drawn = await asyncio.to_thread(plots.charts, result)
        self._charts = {chart.title: chart.svg for chart in drawn}
        titles = [(title, title) for title in self._charts]
        self._chart.options = [*titles, (NOTHING, NOTHING)]
        self._chart.value = titles[0][1]
        self._show_chart()

    def _show_chart(self) -> None:
        fill(self._plot, self._charts.get(str(self._chart.value), ""))

    def _offer_earlier(self) -> None:
        """The runs before this one, the last of them first."""
        first = self._num_runs - len(self.results) + 1
        self._earlier = {page.run_name(at, one): one for at, one in enumerate(self.results, first)}
        names = [(name, name) for name in reversed(self._earlier)]
        self._before.options = [(NOTHING, NOTHING), *names]
        self._before.value = NOTHING

    def _compare(self) -> None:
        chosen, result = str(self._before.value), self.result
        if chosen == NOTHING or result is None:
            fill(self._compared, "")
            return
        try:
            fill(self._compared, page.compare(chosen, self._earlier[chosen], result))
        except UsageError as error:
            fill(self._compared, notice(error.message, error.hint))

    def _write(self) -> None:
        result = self.result
        if result is None:
            return
        path = Path(str(self._path.value)).expanduser()
        try:
            export.save(result, path)
        except ToolkitError as error:
            put(self._status, notice(error.message, error.hint))
        else:
            put(self._status, f"Saved as {board.text(str(path.resolve()))}")

    def _failed(self, error: ToolkitError) -> None:
        self._error = error
        put(self._status, notice(error.message, error.hint))

    def _show_busy(self, is_busy: bool) -> None:
        self.form.enable(is_busy=is_busy)
        self._begin.disabled, self._end.disabled = is_busy, not is_busy
        self._begin.button_style = "primary"
        self._end.button_style = "warning" if is_busy else ""
        about = f"{self.endpoint.name or 'endpoint'} · {cleaned(self.endpoint.model)}"
        put(self._head, board.head("Benchmark", about, "measuring" if is_busy else "ready"))
