"""Measuring an endpoint: `await bench.run(bench.BenchConfig(…), endpoint)`.

`Run` is the same with `stop()`, `progress()` and partial results; both call back with a
`Progress` ten times a second at most. `save` and `Result.load` write and read files,
`compare` holds two results against each other, `page` and `plots` draw them.
"""

from toolkit.bench import plots, report
from toolkit.bench.arrival import Load
from toolkit.bench.comparison import Comparison, compare
from toolkit.bench.config import BenchConfig, Sweep
from toolkit.bench.export import save
from toolkit.bench.html_page import page
from toolkit.bench.progress import Progress
from toolkit.bench.result import Result
from toolkit.bench.runner import Run, run
from toolkit.bench.slo import SLO, parse
from toolkit.bench.subject import Facts
from toolkit.bench.summary import Summary
from toolkit.bench.workload import Workload

__all__ = [
    "SLO",
    "BenchConfig",
    "Comparison",
    "Facts",
    "Load",
    "Progress",
    "Result",
    "Run",
    "Summary",
    "Sweep",
    "Workload",
    "compare",
    "page",
    "parse",
    "plots",
    "report",
    "run",
    "save",
]
