"""How far a reply is that goes on from words of its own."""

from typing import NamedTuple


class Begun(NamedTuple):
    """`is_thinking`: inside an open thought. `answer` is what there is of the answer behind
    all thoughts; None if it has not begun, so that thoughts may still come."""

    is_thinking: bool = False
    answer: str | None = None
