"""Rounds of turns: every case, every side in it, from nothing each time.

The order of the sides is turned around from round to round. A side that is missing or
does not start is left out of the rest, with its reason; all else goes on.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.performance.cases import Case
from tests.performance.measures import Figures
from tests.performance.programs import Missing, Setting
from tests.performance.running import Broken, NotStarted
from tests.performance.sides import Side

# What the reply of a server that is not what it should be may end in.
_BREAKS = (Broken, OSError, EOFError, KeyError, ValueError, psutil.Error)


@dataclass
class Results:
    """All that a run found, as far as it came: by case and side, then by round."""

    figures: dict[str, dict[str, dict[int, Figures]]] = field(default_factory=dict)
    commands: dict[str, dict[str, str]] = field(default_factory=dict)
    kv: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, case: str, side: str, number: int, figures: Figures) -> None:
        self.figures.setdefault(case, {}).setdefault(side, {})[number] = figures


class Comparison:
    """Takes the turns. `say` gets a line of progress, `keep` is called after each turn."""

    def __init__(
        self,
        setting: Setting,
        scratch: Path,
        results: Results,
        say: Callable[[str], object],
        keep: Callable[[], None],
    ) -> None:
        self._setting = setting
        self._scratch = scratch
        self._results = results
        self._say = say
        self._keep = keep
        self._sides: dict[tuple[str, str], Side | None] = {}

    async def run(self, cases: Sequence[Case], rounds: int) -> None:
        """So many rounds of the cases."""
        for number, case, side in turns(cases, rounds):
            await self._turn(case, side, number)
            self._keep()

    async def _turn(self, case: Case, name: str, number: int) -> None:
        side = self._side(case, name)
        if side is None:
            return
        log = self._scratch / f"{case.name} {name}.log"
        try:
            figures = await side.turn(_seed(number), log)
        except NotStarted as error:
            self._sides[case.name, name] = None
            self._problem(case, str(error))
        except _BREAKS as error:
            self._problem(case, str(error) or type(error).__name__)
        else:
            self._results.add(case.name, name, number, figures)
            shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            self._say(f"round {number + 1} {case.name}, {name}: {shown}")

    def _side(self, case: Case, name: str) -> Side | None:
        """The side, found at its first turn. None if it is not here."""
        if (case.name, name) not in self._sides:
            self._sides[case.name, name] = self._find(case, name)
        return self._sides[case.name, name]

    def _find(self, case: Case, name: str) -> Side | None:
        try:
            side = case.sides[name](self._setting)
        except Missing as error:
            self._problem(case, str(error))
            return None
        command = shlex.join(side.command)
        self._results.commands.setdefault(case.name, {})[name] = command
        self._results.kv[name] = side.kv
        self._say(f"{case.name}, {name}: {command}")
        return side

    def _problem(self, case: Case, text: str) -> None:
        line = f"{case.name}: {' '.join(text.split())}"
        if line not in self._results.problems:
            self._results.problems.append(line)
            self._say(line)


def turns(cases: Sequence[Case], rounds: int) -> Iterator[tuple[int, Case, str]]:
    """Number of the round, case, side: round by round, every second one turned around."""
    for number in range(rounds):
        for case in cases:
            if case.most_rounds is None or number < case.most_rounds:
                names = list(case.sides)
                for name in names if number % 2 == 0 else reversed(names):
                    yield number, case, name


def _seed(number: int) -> int:
    return 1_000_000 * (number + 1)
