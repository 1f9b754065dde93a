"""What a benchmark found, in the few figures that combinations are compared by."""

from collections.abc import Mapping
from typing import Any

import msgspec

from toolkit.bench.best import best
from toolkit.bench.numbers import number
from toolkit.bench.result import Result

SCRAP = "result"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of the best level of a benchmark: see `toolkit.bench.best`. Times in milliseconds.

    `workload` is a digest: figures of two are comparable only if it is the same.
    """

    load: str
    output_tokens_per_s: float
    requests_per_s: float | None
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    tpot_p50_ms: float | None
    usd_per_million_tokens: float | None
    error_rate: float
    workload: str

    def __str__(self) -> str:
        price = self.usd_per_million_tokens
        text = f"{number(self.output_tokens_per_s)} tok/s at {self.load}"
        return text if price is None else f"{text}, {number(price)} USD per million tokens"


def figures_of(scraps: Mapping[str, Any]) -> Figures | None:
    """Those of the benchmark that a notebook has glued; None without one."""
    try:
        result = msgspec.convert(scraps.get(SCRAP), Result)
    except msgspec.ValidationError:
        return None
    found = best(result)
    if found is None:
        return None
    ttft, tpot = found.spreads.get("ttft_ms"), found.spreads.get("tpot_ms")
    return Figures(
        load=str(found.load),
        output_tokens_per_s=found.output_tokens_per_s or 0.0,
        requests_per_s=found.requests_per_s,
        ttft_p50_ms=ttft.p50 if ttft else None,
        ttft_p99_ms=ttft.p99 if ttft else None,
        tpot_p50_ms=tpot.p50 if tpot else None,
        usd_per_million_tokens=found.usd_per_million_tokens,
        error_rate=found.error_rate or 0.0,
        workload=result.workload_digest,
    )
