"""What was measured: one record per request, as it came, before any formula."""

from enum import StrEnum
from functools import cached_property

import msgspec

from toolkit.bench.arrival import Load


class Outcome(StrEnum):
    """How a request ended. Only OK ones are measured for latency."""

    OK = "ok"
    SHORT = "short"  # complete, with fewer tokens than were asked for
    ERROR = "error"
    UNFINISHED = "unfinished"  # still open when its level was ended


class Phase(StrEnum):
    """Where in its level a request was sent. Only the measured part counts."""

    WARMUP = "warmup"
    MEASURED = "measured"
    COOLDOWN = "cooldown"


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request. Moments are seconds since the level began, on the client's clock.

    `sent_s` is t0, `due_s` when an open loop wanted it sent. `text_s` are the arrivals of
    the chunks that carried text or thinking: the first is t1, the last tN; `answer_s` is
    the first of the answer proper. `first_chunk_s` and `last_chunk_s` are of any chunk of
    the answer, one without text too. `end_s` is E. `connect_s` is how long opening a
    connection took, None where one was at hand.

    `output_tokens` is n, by the server's count, or the number of chunks where it gave none
    (`is_counted` False). `server_prompt_s` and `server_output_s` are its own times. The
    texts are kept only if that was asked for.
    """

    index: int
    outcome: Outcome
    phase: Phase = Phase.MEASURED
    turn: int = 0
    due_s: float | None = None
    sent_s: float
    end_s: float
    first_byte_s: float | None = None
    first_chunk_s: float | None = None
    last_chunk_s: float | None = None
    text_s: tuple[float, ...] = ()
    answer_s: float | None = None
    connect_s: float | None = None
    asked_tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    is_counted: bool = True
    truncated_tokens: int = 0
    load_s: float | None = None
    server_prompt_s: float | None = None
    server_output_s: float | None = None
    finish_reason: str = ""
    error: str = ""
    prompt: str = ""
    reply: str = ""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """How the measuring side fared during a level: what could spoil the figures.

    `cpu_share` is the part of one core that this process used (its event loop has one),
    `longest_pause_s` how long that loop did nothing else at most, `clock_jump_s` how far the
    wall clock went beside the steady one.
    """

    cpu_share: float = 0.0
    cpu_us_per_chunk: float | None = None
    longest_pause_s: float = 0.0
    clock_jump_s: float = 0.0


class Level(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All requests that ran under one load.

    `window` is the measured part in seconds since it began; None: from the first request
    to the end of the last. `ended_by` says what ended it before all `asked` were sent.
    """

    load: Load
    asked: int | None
    records: tuple[RequestRecord, ...]
    window: tuple[float, float] | None = None
    ended_by: str = ""
    client: Client = Client()

    @cached_property
    def measured(self) -> list[RequestRecord]:
        """The records that are neither warm-up nor cool-down."""
        return [record for record in self.records if record.phase is Phase.MEASURED]

    @property
    def overdue(self) -> list[RequestRecord]:
        """Those still open when the level's time and the grace after it had passed: to who asked
        they are no better than errors."""
        return self.having(Outcome.UNFINISHED) if self.ended_by == "duration" else []

    def having(self, *outcomes: Outcome) -> list[RequestRecord]:
        """The measured records that ended so."""
        return [record for record in self.measured if record.outcome in outcomes]
