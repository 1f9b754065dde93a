"""Measuring an endpoint: `await bench.run(bench.BenchConfig(…), endpoint)`."""

from toolkit.bench import plots, report
from toolkit.bench.result import BenchConfig, Result
from toolkit.bench.runner import Run, run
from toolkit.bench.workload import Workload

__all__ = ["BenchConfig", "Result", "Run", "Workload", "plots", "report", "run"]
