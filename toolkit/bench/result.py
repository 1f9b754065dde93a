"""The outcome of a benchmark as a file: schema 1, JSON, raw records included.

Texts are never in it. A result says what it was measured on, so that two of them can
be told comparable or not.
"""

from pathlib import Path
from typing import Literal, Self

import msgspec

from toolkit.bench.metrics import (
    METRICS,
    Spread,
    output_tokens_per_s,
    peak_in_flight,
    requests_per_s,
    spread,
    tokens_per_chunk,
    usd_per_million_tokens,
    window_s,
)
from toolkit.bench.records import Level, Outcome
from toolkit.bench.workload import Workload
from toolkit.errors import UsageError


class BenchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: a closed loop, `requests` at each concurrency, `warmup` before all."""

    concurrency: tuple[int, ...] = (1, 2, 4)
    requests: int = 8
    warmup: int = 1
    workload: Workload = Workload()
    usd_per_hour: float | None = None

    def checked(self) -> Self:
        """Itself. Raises `UsageError` for values that cannot be meant."""
        hint = "Give counts of at least one, such as 1,2,4."
        if not self.concurrency or min(self.concurrency) < 1 or max(self.concurrency) > 4096:
            raise UsageError("Each concurrency must be between 1 and 4096.", hint=hint)
        if self.requests < 1 or self.warmup < 0:
            raise UsageError("At least one request is needed at each concurrency.", hint=hint)
        if self.workload.prompt_words < 1 or self.workload.output_tokens < 2:
            raise UsageError(
                "A prompt needs a word, and an answer two tokens to be timed.",
                hint="Raise the prompt words or the output tokens.",
            )
        if self.usd_per_hour is not None and self.usd_per_hour < 0:
            raise UsageError("A price below zero cannot be meant.", hint="Give USD per hour.")
        return self


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, as the endpoint told it."""

    name: str
    url: str
    model: str
    target: str = ""
    server_version: str = ""
    model_digest: str = ""
    quantization: str = ""
    parameter_size: str = ""
    context: int | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One level in figures."""

    concurrency: int
    asked: int
    ok: int
    short: int
    errors: int
    window_s: float
    output_tokens_per_s: float | None
    requests_per_s: float | None
    peak_in_flight: int
    tokens_per_chunk: float | None
    usd_per_million_tokens: float | None
    spreads: dict[str, Spread]
    messages: dict[str, int]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run, or what there was of it when it was stopped (`complete` False)."""

    schema: Literal[1] = 1
    created_at: str
    complete: bool
    subject: Subject
    config: BenchConfig
    workload_digest: str
    levels: tuple[Level, ...]
    summaries: tuple[Summary, ...]

    @property
    def has_errors(self) -> bool:
        """Whether any request failed."""
        return any(summary.errors for summary in self.summaries)

    def to_json(self) -> str:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode()

    def save(self, path: Path) -> None:
        """Write the file, its folder too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote. Raises `UsageError` for another one."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(
                f"{path} is not a benchmark result: {error}",
                hint="Give a file that akash-llm bench run --out wrote.",
            ) from error


def summarize(level: Level, usd_per_hour: float | None = None) -> Summary:
    """The figures of one level."""
    messages: dict[str, int] = {}
    for record in level.having(Outcome.ERROR):
        messages[record.error] = messages.get(record.error, 0) + 1
    spreads = {metric.tag: spread(metric.values(level)) for metric in METRICS}
    return Summary(
        concurrency=level.concurrency,
        asked=level.asked,
        ok=len(level.having(Outcome.OK)),
        short=len(level.having(Outcome.SHORT)),
        errors=len(level.having(Outcome.ERROR)),
        window_s=window_s(level),
        output_tokens_per_s=output_tokens_per_s(level),
        requests_per_s=requests_per_s(level),
        peak_in_flight=peak_in_flight(level),
        tokens_per_chunk=tokens_per_chunk(level),
        usd_per_million_tokens=(
            None if usd_per_hour is None else usd_per_million_tokens(level, usd_per_hour)
        ),
        spreads={tag: found for tag, found in spreads.items() if found is not None},
        messages=messages,
    )
