"""One request on its way through the server: what the edge tells the inside about it, and
what the inside tells the log.

It travels in a context variable, so that no dialect has to pass it on. Outside of a
request (a preload, a test of the core) there is none.
"""

import contextvars
from dataclasses import dataclass

from server.body_memory import Reservation

_current: "contextvars.ContextVar[Exchange | None]" = contextvars.ContextVar(
    "exchange", default=None
)


@dataclass(slots=True)
class Exchange:
    """`begun_s` is the monotonic clock; `heartbeat_s` how long a stream may be silent,
    `body_timeout_s` how long a body may take, or an upload may be silent.

    The inside fills in the rest: `model` as it is stored, the tokens of all its
    completions, `ttft_s` to the first token of the first, and `end`: why it ended
    (`stop`, `length`, `cancelled`, or the code of an error).
    """

    begun_s: float
    heartbeat_s: float
    body_timeout_s: float
    body: Reservation
    key: str = ""
    model: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    ttft_s: float | None = None
    end: str = ""


def begin(exchange: Exchange) -> None:
    """From here on `current` is this one, in this task and those that it starts."""
    _current.set(exchange)


def current() -> Exchange | None:
    """The request that this task works for."""
    return _current.get()
