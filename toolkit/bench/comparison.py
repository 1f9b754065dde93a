"""Two results side by side: only what was asked the same, and what else differed."""

from collections.abc import Iterator, Sequence

import msgspec

from toolkit.bench import spoilers
from toolkit.bench.metrics import BY_TAG
from toolkit.bench.numbers import number
from toolkit.bench.report import aligned
from toolkit.bench.result import Result
from toolkit.bench.summary import Summary
from toolkit.errors import UsageError
from toolkit.safetext import cleaned

_SHOWN = ("ttft_ms", "tpot_ms", "itl_gap_ms", "e2e_ms")
_RATES = (
    ("output_tokens_per_s", "tok/s", True),
    ("requests_per_s", "requests/s", True),
    ("error_rate", "error rate", False),
    ("usd_per_million_tokens", "USD per 1M", False),
    ("goodput_per_s", "goodput/s", True),
)
# Of the subject, what makes the tokens of one not those of the other.
_TOKENS_DIFFER = ("model", "model_digest")


class Row(msgspec.Struct, frozen=True):
    """One figure of both. `num` is how many full answers it is made of, in the one that has fewer.
    `is_clear`: the intervals do not meet; None where there are none."""

    load: str
    figure: str
    unit: str
    before: float | None
    after: float | None
    more_is_better: bool
    num: int
    is_clear: bool | None = None

    @property
    def change(self) -> float | None:
        """After to before, less one."""
        return self.after / self.before - 1 if self.before and self.after is not None else None

    @property
    def verdict(self) -> str:
        """Which way it went, in a word."""
        change = self.change
        if not change:
            return ""
        if self.num < spoilers.FEW:
            return "too few to tell"
        if self.is_clear is False:
            return "within noise"
        return "better" if (change > 0) == self.more_is_better else "worse"


class Comparison(msgspec.Struct, frozen=True):
    """What differs between two results, and their figures at the loads that both have."""

    schema: int
    differences: tuple[str, ...]
    rows: tuple[Row, ...]


def compare(before: Result, after: Result) -> Comparison:
    """Hold two results against each other. Raises `UsageError` with every reason why that
    would compare what is not the same."""
    reasons = list(_reasons(before, after))
    if reasons:
        raise UsageError(
            f"These two cannot be compared: {'; '.join(reasons)}.",
            hint="Measure both with the same workload, seed, API and loads, until both answer.",
        )
    others = {summary.load: summary for summary in after.summaries}
    rows = [
        row
        for summary in before.summaries
        if summary.load in others
        for row in _rows(summary, others[summary.load])
    ]
    return Comparison(1, tuple(_differences(before, after)), tuple(rows))


def text(comparison: Comparison) -> str:
    """It for a terminal."""
    table = [["load", "figure", "unit", "before", "after", "change", ""]]
    for row in comparison.rows:
        change = "–" if row.change is None else f"{row.change:+.1%}"
        figures = (number(row.before), number(row.after), change, row.verdict)
        table.append([row.load, row.figure, row.unit, *figures])
    head = [f"differs: {difference}" for difference in comparison.differences]
    return cleaned("\n".join([*head, aligned(table, left=3)]))


def _reasons(before: Result, after: Result) -> Iterator[str]:
    """Why not, each a clause."""
    one, other = before.config, after.config
    if before.workload_digest != after.workload_digest:
        yield f"the workloads differ ({_changed(one.workload, other.workload)})"
    if before.subject.api != after.subject.api:
        yield f"one speaks {before.subject.api or 'an unknown API'}, the other {after.subject.api}"
    spans = ("warmup_s", "cooldown_s")
    if any(getattr(one, name) != getattr(other, name) for name in spans):
        yield "other parts of the levels were excluded as warm-up or cool-down"
    if before.remarks != after.remarks:
        yield "one was asked without ignore_eos"
    loads = {s.load for s in before.summaries} & {s.load for s in after.summaries}
    if not loads:
        yield (f"they have no load in common ({_loads(before)} and {_loads(after)})")
    elif not any(s.ok for s in before.summaries) or not any(s.ok for s in after.summaries):
        yield "one has no full answer"


def _differences(before: Result, after: Result) -> Iterator[str]:
    """What else is not the same: what the comparison may be about, or what spoils it."""
    old, new = (msgspec.structs.asdict(one.subject) for one in (before, after))
    for name in old:
        if name not in ("name", "url") and old[name] != new[name]:
            note = " (its tokens are others)" if name in _TOKENS_DIFFER else ""
            yield f"{name}: {old[name] or '–'} → {new[name] or '–'}{note}"
    if before.config.usd_per_hour != after.config.usd_per_hour:
        prices = (before.config.usd_per_hour, after.config.usd_per_hour)
        yield "price: " + " → ".join(number(price) for price in prices)
    if before.client != after.client:
        yield f"measured by: {before.client} → {after.client}"
    for label, one in (("before", before), ("after", after)):
        if not one.complete:
            yield f"{label} is a partial result"


def _rows(before: Summary, after: Summary) -> Iterator[Row]:
    load, num = str(before.load), min(before.ok, after.ok)
    for name, label, is_more in _RATES:
        old, new = getattr(before, name), getattr(after, name)
        if old is not None or new is not None:
            yield Row(load, label, "", old, new, is_more, num)
    for tag in _SHOWN:
        one, other = before.spreads.get(tag), after.spreads.get(tag)
        if one is None or other is None:
            continue
        for p in ("50", "99"):
            yield Row(
                load,
                f"{BY_TAG[tag].label} p{p}",
                BY_TAG[tag].unit,
                one.percentiles[p],
                other.percentiles[p],
                BY_TAG[tag].more_is_better,
                num,
                _are_apart(one.ci.get(p), other.ci.get(p)),
            )


def _are_apart(one: Sequence[float] | None, other: Sequence[float] | None) -> bool | None:
    if one is None or other is None:
        return None
    return one[1] < other[0] or other[1] < one[0]


def _changed(one: msgspec.Struct, other: msgspec.Struct) -> str:
    old, new = msgspec.structs.asdict(one), msgspec.structs.asdict(other)
    return ", ".join(f"{n}: {old[n]} and {new[n]}" for n in old if old[n] != new[n]) or "content"


def _loads(result: Result) -> str:
    return ", ".join(str(summary.load) for summary in result.summaries) or "none"
