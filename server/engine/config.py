"""How models are loaded and how much they may take: values, no behaviour."""

from typing import Literal

import msgspec


class FakeCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What a step of the fake backend takes: seconds per step and per row in it; and what
    loading it takes, and the memory that it says it takes (0: a byte a cell)."""

    step_s: float = 0.0
    row_s: float = 0.0
    load_s: float = 0.0
    memory_bytes: int = 0


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One set of load-time choices, the same for every model of a server.

    `context` is tokens per request; the memory pool is `context * parallel`.
    `threads` 0 means the physical cores this process may use. `batch` is the most
    rows of one decode step, `prompt_budget` the most prompt rows beside running
    streams. `queue` bounds the requests that wait for a slot.

    A load may take `load_timeout_s`, and wait `room_timeout_s` before for other models to
    become idle. A runner with work is asked every `ping_s` whether it lives; it has hung
    if it does not answer for `silence_s`, or if one step takes longer than `step_timeout_s`.
    """

    backend: Literal["llama", "fake"] = "llama"
    context: int = 2048
    parallel: int = 4
    threads: int = 0
    batch: int = 2048
    prompt_budget: int = 512
    queue: int = 512
    load_timeout_s: float = 300.0
    room_timeout_s: float = 120.0
    ping_s: float = 5.0
    silence_s: float = 30.0
    step_timeout_s: float = 120.0
    fake: FakeCosts = FakeCosts()
