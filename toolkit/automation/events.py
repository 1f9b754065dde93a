"""What the process that executes a notebook says to the one that started it.

One JSON object per line on the worker's standard output.
"""

from typing import Any

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to execute; the one line on the worker's standard input."""

    notebook: str
    output: str
    parameters: dict[str, Any]
    kernel_timeout_s: int
    cell_timeout_s: int | None


class CellStarted(msgspec.Struct, frozen=True, tag="cell"):
    """A code cell begins: the `number`-th `of` so many, below the heading `title`."""

    number: int
    of: int
    title: str


class Printed(msgspec.Struct, frozen=True, tag="printed"):
    """Text that a cell wrote to its standard output."""

    text: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The end, and not a good one. `error` names a class, `cell` counts code cells from 1."""

    error: str
    message: str
    cell: int | None = None


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """Every cell was executed."""


Event = CellStarted | Printed | Failed | Finished
End = Failed | Finished
