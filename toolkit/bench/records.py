"""What was measured: one record per request, as it came, before any formula."""

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How a request ended. Only OK ones are measured for latency."""

    OK = "ok"
    SHORT = "short"  # complete, with fewer tokens than were asked for
    ERROR = "error"


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Moments are seconds since the level began, on the client's clock.

    `sent_s` is t0, `text_s` are the arrivals of the chunks that carried text: the
    first is t1, the last tN. `output_tokens` is n, counted by the server.
    """

    index: int
    outcome: Outcome
    sent_s: float
    end_s: float
    first_byte_s: float | None = None
    text_s: tuple[float, ...] = ()
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str = ""
    error: str = ""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """All requests that ran at one concurrency."""

    concurrency: int
    asked: int
    records: tuple[RequestRecord, ...]

    def having(self, *outcomes: Outcome) -> list[RequestRecord]:
        """The records that ended so."""
        return [record for record in self.records if record.outcome in outcomes]
