"""The figures of a level as a whole: rates over its measured window, peaks, prices.

Tokens count where they arrive: those of the window are counted, whoever sent the request,
and with no warm-up and no cool-down that is the sum of n over the whole level.
"""

from collections.abc import Iterator
from itertools import accumulate

from toolkit.bench.records import Level, Outcome, RequestRecord

FORMULAS = (
    ("window", "last E - first t0; with warm-up or cool-down, what is between them [s]"),
    ("tok/s", "output tokens that arrived in the window / window [tok/s]"),
    ("requests/s", "full answers that ended in the window / window [1/s]"),
    ("peak tok/s", "most tokens within one second from the start [tok/s]"),
    ("peak in flight", "most requests open at one moment, exactly"),
    ("error rate", "errors / (all measured but unfinished ones)"),
    ("USD per 1M", "USD per hour / (tok/s × 3600) × 1e6, of output tokens"),
    ("USD per 1M, all", "the same of prompt and output tokens together"),
)


def window(level: Level) -> tuple[float, float]:
    """The measured part of a level, in seconds since it began."""
    if level.window is not None:
        return level.window
    if not level.records:
        return 0.0, 0.0
    return min(r.sent_s for r in level.records), max(r.end_s for r in level.records)


def window_s(level: Level) -> float:
    """How long the window is, in s; failed requests are in it, too."""
    start, end = window(level)
    return end - start


def output_tokens_per_s(level: Level) -> float | None:
    """Output tokens that arrived in the window over it, in tokens/s."""
    start, end = window(level)
    if end <= start:
        return None
    return sum(weight for moment, weight in _arrivals(level) if start <= moment <= end) / (
        end - start
    )


def total_tokens_per_s(level: Level) -> float | None:
    """The same with the prompts that were read, whose tokens count where t1 is."""
    output = output_tokens_per_s(level)
    start, end = window(level)
    if output is None:
        return None
    prompts = sum(
        record.prompt_tokens or 0
        for record in _answered(level)
        if record.text_s and start <= record.text_s[0] <= end
    )
    return output + prompts / (end - start)


def requests_per_s(level: Level) -> float | None:
    """Full answers that ended in the window over it, in 1/s."""
    start, end = window(level)
    if end <= start:
        return None
    ended = sum(r.outcome is Outcome.OK and start <= r.end_s <= end for r in level.records)
    return ended / (end - start)


def offered_per_s(level: Level) -> float | None:
    """Requests sent in the window over the time in which they were, in 1/s."""
    sent = sorted(record.sent_s for record in level.measured)
    if len(sent) < 2 or sent[-1] <= sent[0]:
        return None
    return (len(sent) - 1) / (sent[-1] - sent[0])


def peak_tokens_per_s(level: Level) -> float | None:
    """The most output tokens within one of the seconds since the level began."""
    seconds: dict[int, float] = {}
    for moment, weight in _arrivals(level):
        seconds[int(moment)] = seconds.get(int(moment), 0.0) + weight
    return max(seconds.values(), default=None)


def peak_in_flight(level: Level) -> int:
    """The most requests that were open at one moment, by a sweep over sends and ends."""
    return max((count for _, count in in_flight(level)), default=0)


def in_flight(level: Level) -> Iterator[tuple[float, int]]:
    """Each moment at which a request was sent or ended, and how many were open after it."""
    moments = [(r.sent_s, 1) for r in level.records] + [(r.end_s, -1) for r in level.records]
    moments.sort()
    counts = accumulate(step for _, step in moments)
    return zip((moment for moment, _ in moments), counts, strict=True)


def tokens_per_chunk(level: Level) -> float | None:
    """Sum of n over sum of chunks with text; above 1 the gaps are those of bundles."""
    measured = level.having(Outcome.OK)
    chunks = sum(len(r.text_s) for r in measured)
    return sum(r.output_tokens or 0 for r in measured) / chunks if chunks else None


def error_rate(level: Level) -> float | None:
    """Errors and overdue requests over these and all measured ones that ended, of 1."""
    failed = [*level.having(Outcome.ERROR), *level.overdue]
    asked = [*level.having(Outcome.OK, Outcome.SHORT), *failed]
    return len(failed) / len(asked) if asked else None


def usd_per_million(rate: float | None, usd_per_hour: float | None) -> float | None:
    """Price of an hour over the tokens of an hour at `rate` tokens/s, times a million."""
    return usd_per_hour / (rate * 3600) * 1e6 if rate and usd_per_hour is not None else None


def _answered(level: Level) -> list[RequestRecord]:
    return [r for r in level.records if r.outcome in (Outcome.OK, Outcome.SHORT)]


def _arrivals(level: Level) -> Iterator[tuple[float, float]]:
    """Moments of chunks, and how many tokens each carried on average."""
    for record in _answered(level):
        if record.text_s:
            weight = (record.output_tokens or 0) / len(record.text_s)
            yield from ((moment, weight) for moment in record.text_s)
