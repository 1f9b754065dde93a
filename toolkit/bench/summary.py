"""One level in figures."""

from collections.abc import Sequence

import msgspec

from toolkit.bench import metrics, saturation, slo, spoilers, throughput
from toolkit.bench.arrival import Load
from toolkit.bench.config import BenchConfig
from toolkit.bench.distribution import Spread, spread
from toolkit.bench.records import Level, Outcome
from toolkit.bench.slo import Verdict

NOT_MANY_MESSAGES = 10
OVERDUE = "no answer when even the grace had passed"


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One level in figures; rates are per second of its window.

    `goodput_per_s` and what follows from it are there with objectives, prices with a price.
    `excluded` were sent in the warm-up or cool-down. `notices` are what spoils the figures.
    """

    load: Load
    asked: int | None
    ok: int
    short: int
    errors: int
    unfinished: int
    excluded: int
    window_s: float
    output_tokens_per_s: float | None
    total_tokens_per_s: float | None
    requests_per_s: float | None
    offered_per_s: float | None
    peak_in_flight: int
    peak_tokens_per_s: float | None
    tokens_per_chunk: float | None
    error_rate: float | None
    usd_per_million_tokens: float | None
    usd_per_million_total_tokens: float | None
    goodput_per_s: float | None
    good_share: float | None
    good_per_usd: float | None
    is_saturated: bool
    spreads: dict[str, Spread]
    messages: dict[str, int]
    verdicts: tuple[Verdict, ...]
    notices: tuple[str, ...]
    ended_by: str = ""

    @property
    def concurrency(self) -> int:
        """The open requests of a closed loop; of an open one, the most that there were."""
        return self.load.concurrency or self.peak_in_flight

    @property
    def is_good(self) -> bool:
        """Whether it answered, without too many errors, and met every objective."""
        told = any(verdict.slo.startswith("error_rate") for verdict in self.verdicts)
        is_sound = told or (self.error_rate or 0.0) <= slo.MOST_ERRORS
        return self.ok > 0 and is_sound and all(verdict.is_met for verdict in self.verdicts)


def summarize(
    level: Level, config: BenchConfig | None = None, *, with_intervals: bool = True
) -> Summary:
    """The figures of one level; whether a closed loop is saturated its neighbours tell.

    Without intervals it is quick enough to be asked for while the level is measured."""
    config = config or BenchConfig()
    rates = _rates(level, config.usd_per_hour)
    found = {
        metric.tag: spread(metric.values(level), with_intervals=with_intervals)
        for metric in metrics.ALL
    }
    spreads = {tag: one for tag, one in found.items() if one is not None}
    goodput = slo.goodput_per_s(level, config.slos) if config.slos else None
    price = config.usd_per_hour
    return Summary(
        load=level.load,
        asked=level.asked,
        ok=len(level.having(Outcome.OK)),
        short=len(level.having(Outcome.SHORT)),
        errors=len(level.having(Outcome.ERROR)) + len(level.overdue),
        unfinished=len(level.having(Outcome.UNFINISHED)) - len(level.overdue),
        excluded=len(level.records) - len(level.measured),
        window_s=throughput.window_s(level),
        total_tokens_per_s=rates.pop("total_tokens_per_s"),
        usd_per_million_total_tokens=rates.pop("usd_per_million_total_tokens"),
        offered_per_s=throughput.offered_per_s(level),
        peak_in_flight=throughput.peak_in_flight(level),
        peak_tokens_per_s=throughput.peak_tokens_per_s(level),
        tokens_per_chunk=throughput.tokens_per_chunk(level),
        goodput_per_s=goodput,
        good_share=slo.good_share(level, config.slos) if config.slos else None,
        good_per_usd=goodput * 3600 / price if goodput is not None and price else None,
        is_saturated=saturation.grows(level),
        spreads=spreads,
        messages=_messages(level),
        verdicts=tuple(slo.verdict(one, level, rates) for one in config.slos),
        notices=tuple(spoilers.found(level, config.workload, spreads)),
        ended_by=level.ended_by,
        **rates,
    )


def marked(summaries: Sequence[Summary]) -> tuple[Summary, ...]:
    """The same, closed loops marked from where more open requests bring hardly more on: a load
    that brings little before one that brings more was held up by something else."""
    closed = [
        (one.load.at, one.output_tokens_per_s, at)
        for at, one in enumerate(summaries)
        if not one.load.is_open and one.output_tokens_per_s is not None
    ]
    closed.sort()
    done = list(summaries)
    is_over = True
    for before, (load, rate, at) in reversed(list(zip([None, *closed], closed, strict=False))):
        is_over = (
            is_over and before is not None and saturation.gains_little(before[:2], (load, rate))
        )
        done[at] = msgspec.structs.replace(done[at], is_saturated=is_over)
    return tuple(done)


def _rates(level: Level, usd_per_hour: float | None) -> dict[str, float | None]:
    output = throughput.output_tokens_per_s(level)
    total = throughput.total_tokens_per_s(level)
    return {
        "output_tokens_per_s": output,
        "total_tokens_per_s": total,
        "requests_per_s": throughput.requests_per_s(level),
        "error_rate": throughput.error_rate(level),
        "usd_per_million_tokens": throughput.usd_per_million(output, usd_per_hour),
        "usd_per_million_total_tokens": throughput.usd_per_million(total, usd_per_hour),
    }


def _messages(level: Level) -> dict[str, int]:
    """The commonest errors, and how often each was met."""
    counts: dict[str, int] = {OVERDUE: len(level.overdue)} if level.overdue else {}
    for record in level.having(Outcome.ERROR):
        counts[record.error] = counts.get(record.error, 0) + 1
    most = sorted(counts, key=lambda text: -counts[text])[:NOT_MANY_MESSAGES]
    return {text: counts[text] for text in most}
