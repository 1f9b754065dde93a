"""How models are loaded and how much they may take: values, no behaviour."""

from typing import Literal

import msgspec

# llama.cpp's own limit of sequences in one context.
MOST_SLOTS = 256


class FakeCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What a step of the fake backend takes: seconds per step and per row in it."""

    step_s: float = 0.0
    row_s: float = 0.0
    load_s: float = 0.0


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One set of load-time choices, the same for every model of a server.

    `context` is tokens per request. `pool` 0 gives each of `parallel` requests memory of
    its own for that; a number of tokens below `context * parallel` is one memory that all
    share. `parking_bytes` of the host's memory keep idle conversations.
    `threads` 0 means the physical cores this process may use. `batch` is the most
    rows of one decode step. `queue` bounds the requests that wait for a slot.
    """

    backend: Literal["llama", "fake"] = "llama"
    context: int = 2048
    parallel: int = 4
    pool: int = 0
    parking_bytes: int = 0
    speculate: Literal["off", "auto", "on"] = "off"
    threads: int = 0
    batch: int = 2048
    queue: int = 512
    load_timeout_s: float = 300.0
    fake: FakeCosts = FakeCosts()

    @property
    def num_cells(self) -> int | None:
        """Tokens of the memory that all requests share; None if each has its own."""
        return self.pool if 0 < self.pool < self.context * self.parallel else None

    @property
    def num_slots(self) -> int:
        """Sequence ids. Where they share memory, more of them keep more prefixes."""
        return self.parallel if self.num_cells is None else min(MOST_SLOTS, 2 * self.parallel)
