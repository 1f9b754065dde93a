"""What can be wrong with an SDL, as values: a problem, a list of them, a report."""

from enum import StrEnum

import msgspec


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


class Log:
    """Collects the problems of one file, and remembers which paths they spoil.

    A value that could not be read is replaced by a placeholder. Whatever a later rule finds
    at, above or below such a path is a consequence of the first problem and is not reported.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._spoiled: set[str] = set()

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

    def is_spoiled(self, *paths: str) -> bool:
        """Whether one of `paths` touches a value that could not be read."""
        return any(_touches(bad, path) for bad in self._spoiled for path in paths)


def _touches(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return longer == shorter or longer.startswith(f"{shorter}/")


def child(path: str, key: str | int) -> str:
    """The JSON pointer of `key` below `path`."""
    return f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
