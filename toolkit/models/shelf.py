"""What a place with models can do, and what it says of them; the same here and elsewhere."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from server.models.pull import Progress
from toolkit.safetext import cleaned
from toolkit.tables import html_table

# A speed over less time than this says more about the clock than about the line.
MIN_SPEED_S = 0.2


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a list. `problem` is why it cannot be served, empty where it can."""

    name: str
    size_bytes: int
    parameters: str
    quantization: str
    capabilities: tuple[str, ...] = ()
    problem: str = ""


class Table(tuple[Row, ...]):
    """Models, as a list that prints as a table."""

    def __str__(self) -> str:
        lines = [("NAME", "SIZE", "PARAMETERS", "QUANTIZATION"), *map(_cells, self)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
        return "\n".join(line.rstrip() for line in text) if self else "no models"

    def _repr_html_(self) -> str:
        heads = ("name", "size", "parameters", "quantization", "what it can do")
        rows = [(*_cells(row), _can(row)) for row in self]
        return html_table("Models", heads, rows, below="" if self else "no models")


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one model. Texts are its maker's: escape them before a page."""

    row: Row
    digest: str = ""
    family: str = ""
    context_tokens: int = 0
    template: str = ""
    system: str = ""
    license: str = ""
    options: Mapping[str, Any] = {}
    info: Mapping[str, Any] = {}

    def __str__(self) -> str:
        facts = [(name, cleaned(value)) for name, value in self.facts()]
        width = max(len(name) for name, _ in facts)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in facts)

    def _repr_html_(self) -> str:
        return html_table(self.row.name, ("what", "value"), self.facts())

    def facts(self) -> list[tuple[str, str]]:
        """What fits a line each, as name and text; what is not known is left out."""
        license_line = self.license.strip().partition("\n")[0].strip()
        found = (
            ("name", self.row.name),
            ("size", megabytes(self.row.size_bytes)),
            ("parameters", self.row.parameters),
            ("quantization", self.row.quantization),
            ("architecture", self.family),
            ("context", f"{self.context_tokens:,} tokens" if self.context_tokens else ""),
            ("can do", ", ".join(self.row.capabilities)),
            ("license", license_line),
            ("digest", self.digest),
            ("cannot be served", self.row.problem),
        )
        return [(name, text) for name, text in found if text]


class Pace:
    """How a pull goes, from its steps: bytes of the file under way, and their speed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._from = 0
        self.step = Progress("starting")

    def see(self, step: Progress) -> None:
        """The next step."""
        if step.digest != self.step.digest:
            self._began, self._from = self._clock(), step.completed
        self.step = step

    @property
    def share(self) -> float:
        """Of the file under way, from 0 to 1."""
        return self.step.completed / self.step.total if self.step.total else 0.0

    def __str__(self) -> str:
        step = self.step
        if not step.total:
            return cleaned(step.status)
        told = [f"{cleaned(step.status)}: {of_bytes(step.completed, step.total)}"]
        took, came = self._clock() - self._began, step.completed - self._from
        if took >= MIN_SPEED_S and came and step.completed < step.total:
            speed = came / took
            told += [
                f"{speed / 1e6:.1f} MB/s",
                f"{(step.total - step.completed) / speed:.0f} s left",
            ]
        return ", ".join(told)


class Shelf(Protocol):
    """A place with models. All of it raises toolkit errors, each with the next step."""

    @property
    def title(self) -> str:
        """Where it is, in a few words."""

    async def listed(self) -> Sequence[Row]:
        """What there is, newest first."""

    async def show(self, name: str) -> Details:
        """All about one. `UsageError` or `EndpointError` for a name that no model has."""

    def pull(self, name: str) -> AsyncGenerator[Progress, None]:
        """Get one. Closing the generator stops it; asked again it goes on from there."""

    async def delete(self, name: str) -> None:
        """Remove one, with the files that no other model uses."""


def megabytes(size: int) -> str:
    """Bytes for people, in megabytes of a million."""
    return f"{size / 1e6:,.0f} MB" if size >= 1_000_000 else f"{size / 1e6:,.2f} MB"


def _speed(bytes_per_s: float) -> str:
    if bytes_per_s < 1e6:
        return f"{bytes_per_s / 1e3:.0f} kB/s"
    return f"{bytes_per_s / 1e6:.1f} MB/s"


def of_bytes(done: int, total: int) -> str:
    """How much of a file is there."""
    share = 100 * done / total if total else 0.0
    return f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB ({share:.0f} %)"


def _cells(row: Row) -> tuple[str, ...]:
    return row.name, megabytes(row.size_bytes), row.parameters, row.quantization


def _can(row: Row) -> str:
    return f"cannot be served: {row.problem}" if row.problem else ", ".join(row.capabilities)
