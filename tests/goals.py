"""What the project promises of its notebooks, panels and benchmark: ten goals, each with tests.

A test says by `@pytest.mark.goal(3, 4)` which of them it shows, and by the fixture `measured`
what it measured. A time is never asserted, as machines are shared: it is written down beside
its bar. At the end of a run the goals are printed with their tests and figures, and written
to `build/goals.md` and `build/goals.json`.
"""

import json
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

GOALS = {
    1: "from an empty home to the first token in a notebook: at most 3 cells, 60 s (model present)",
    2: "Stop frees the slot within 300 ms, in JupyterLab and as a page of Voila",
    3: "no request of our pages to another host, no secret in anything that is written",
    4: "hostile model output runs nothing and loads nothing",
    5: "a plan names hour, day, month and its most; nothing is billed unknown to the ledger",
    6: "a benchmark with goodput, USD per million tokens, formulas and an offline page, "
    "for at most one more package",
    7: "p50 and p99 of a server with known times come back within 2 %",
    8: "every notebook runs without a browser, with typed parameters and exit codes of their own",
    9: "a mistake in an SDL is told with path, line and remedy, offline, within 100 ms",
    10: "panels are usable by keyboard alone and named for screen readers, as golden trees hold",
}
NOT_SHOWN = {2: "VS Code and Colab: not run here"}

_WORSE = ("passed", "skipped", "failed")

Measure = Callable[..., None]


class Figure(NamedTuple):
    """A measured value, the less the better, and the bar it is held against, if there is one."""

    goal: int
    what: str
    value: float
    unit: str
    at_most: float | None
    times: int = 1

    @property
    def is_met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        return None if self.at_most is None else self.value <= self.at_most

    def __str__(self) -> str:
        number = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3g}"
        told = f"{self.what}: {number} {self.unit}".rstrip()
        told += f", the worst of {self.times}" if self.times > 1 else ""
        if self.at_most is None:
            return told
        return f"{told} ({'meets' if self.is_met else 'misses'} {self.at_most:g})"


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measure:
    """A function that keeps a figure of a goal for the end of the report; it asserts nothing."""

    def keep(
        goal: int, what: str, value: float, unit: str = "ms", at_most: float | None = None
    ) -> None:
        figure = Figure(goal, what, value, unit, at_most)
        request.node.user_properties.append(("figure", list(figure)))

    return keep


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the mark."""
    config.addinivalue_line("markers", "goal(number, …): a test that shows these of the ten goals")
    config.pluginmanager.register(Goals(), "goals-report")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write into each test's report which goals it shows."""
    for item in items:
        goals = sorted({n for mark in item.iter_markers("goal") for n in mark.args})
        if unknown := set(goals) - set(GOALS):
            raise pytest.UsageError(f"{item.nodeid}: there is no goal {unknown}")
        item.user_properties.extend(("goal", number) for number in goals)


class Goals:
    """Gathers what the tests of a run tell of the goals."""

    def __init__(self) -> None:
        self._tests: dict[str, tuple[set[int], str]] = {}
        self._lost = 0
        self._figures: dict[tuple[int, str], list[Figure]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst that became of a test; take the figures when all that could tell one
        has ended."""
        told = report.user_properties
        if report.when not in ("setup", "call", "teardown"):  # its worker has ended
            self._lost += 1
        goals = {int(str(value)) for name, value in told if name == "goal"}
        if goals and (report.when == "call" or not report.passed):
            _, before = self._tests.get(report.nodeid, (goals, "passed"))
            self._tests[report.nodeid] = goals, max(before, report.outcome, key=_WORSE.index)
        if report.when == "teardown":
            for values in (value for name, value in told if name == "figure"):
                figure = Figure(*values)  # type: ignore[misc]
                self._figures.setdefault((figure.goal, figure.what), []).append(figure)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the goals that were tested, and write all of them down."""
        if not self._tests:
            return
        terminalreporter.section("the ten goals")
        for number in (number for number in GOALS if self._outcomes(number)):
            for line in self._lines(number):
                terminalreporter.write_line(line)
        if self._lost:
            terminalreporter.write_line(f"{self._lost} tests ended with their worker: in no goal")
        folder = terminalreporter.config.rootpath / "build"
        folder.mkdir(exist_ok=True)
        lines = [line for number in GOALS for line in self._lines(number)]
        text = "# The ten goals, as the last run of the tests showed them\n\n"
        (folder / "goals.md").write_text(text + "\n".join(lines) + "\n", "utf-8")
        document = json.dumps(list(self._entries()), indent=1, ensure_ascii=False)
        (folder / "goals.json").write_text(document + "\n", "utf-8")

    def _lines(self, number: int) -> Iterator[str]:
        counts = self._outcomes(number)
        told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in sorted(counts))
        yield f"{number}. {GOALS[number]}: {told or 'not run'}"
        for figure in self._of(number):
            yield f"   - {figure}"
        if number in NOT_SHOWN:
            yield f"   - {NOT_SHOWN[number]}"

    def _entries(self) -> Iterator[dict[str, object]]:
        for number, text in GOALS.items():
            figures = [f._asdict() | {"is_met": f.is_met} for f in self._of(number)]
            tests = dict(self._outcomes(number))
            yield {"goal": number, "text": text, "tests": tests, "figures": figures}

    def _outcomes(self, number: int) -> Counter[str]:
        return Counter(outcome for goals, outcome in self._tests.values() if number in goals)

    def _of(self, number: int) -> list[Figure]:
        """Of what was measured under one name the worst."""
        return [
            max(figures, key=operator.attrgetter("value"))._replace(times=len(figures))
            for (goal, _), figures in sorted(self._figures.items())
            if goal == number
        ]
