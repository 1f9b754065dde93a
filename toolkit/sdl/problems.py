"""What can be wrong with an SDL, as values: a problem, a list of them, a report."""

from enum import StrEnum

import msgspec

from toolkit.safetext import cleaned
from toolkit.tables import html_table


class Level(StrEnum):
    """Who refuses the file.

    INVALID: the network's own SDL tools. REJECTED: only the chain or the provider, later
    and with less to go on. WARNING: nobody, but it will not do what it seems to.
    """

    INVALID = "invalid"
    REJECTED = "rejected"
    WARNING = "warning"


class Position(msgspec.Struct, frozen=True):
    """A place in the file; both count from 1."""

    line: int
    column: int


START = Position(1, 1)


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: where (`path` is a JSON pointer), what, and what to type."""

    level: Level
    path: str
    line: int
    column: int
    message: str
    hint: str = ""


class Report(msgspec.Struct, frozen=True):
    """The verdict on one file. `ok` unless something is invalid or rejected."""

    file: str
    ok: bool
    hash: str | None
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        lines = [f"{self.file}: {self.verdict}"]
        for each in self.problems:
            lines.append(f"{self.file}:{each.line}:{each.column}: {each.level}: {each.message}")
            lines += [f"  at {each.path}"] if each.path else []
            lines += [f"  = {each.hint}"] if each.hint else []
        return cleaned("\n".join(lines))

    def _repr_html_(self) -> str:
        rows = [(f"line {p.line}", p.path, str(p.level), p.message, p.hint) for p in self.problems]
        heads = ("place", "path", "level", "what is wrong", "what to do")
        return html_table(self.file, heads, rows, below=f"{self.file}: {self.verdict}")

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        count = len(self.problems)
        told = f"{count} problem{'' if count == 1 else 's'}" if count else "no problem"
        return f"{'ok' if self.ok else 'not ok'}, {told}"


class Log:
    """Collects the problems of one file, and remembers which paths they spoil.

    A value that could not be read is replaced by a placeholder. Whatever a later rule finds
    at, above or below such a path is a consequence of the first problem and is not reported.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._spoiled: set[str] = set()
        self._above_spoiled: set[str] = set()

    def add(
        self,
        path: str,
        position: Position,
        message: str,
        hint: str = "",
        *,
        level: Level = Level.INVALID,
        spoils: str | None = None,
    ) -> None:
        """Record a problem at `path`; `spoils` is the path of the value that is unusable."""
        problem = Problem(level, path, position.line, position.column, message, hint)
        self.problems.append(problem)
        if spoils is not None:
            self._spoiled.add(spoils)
            self._above_spoiled.update(_ancestors(spoils))

    def is_spoiled(self, *paths: str) -> bool:
        """Whether one of `paths` touches a value that could not be read."""
        return any(
            path in self._above_spoiled or not self._spoiled.isdisjoint((path, *_ancestors(path)))
            for path in paths
        )


def _ancestors(path: str) -> list[str]:
    """The paths of everything that holds the value at `path`."""
    return [path[:index] for index, char in enumerate(path) if char == "/"]


def child(path: str, key: str | int) -> str:
    """The JSON pointer of `key` below `path`."""
    return f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
