"""The formulas: one function per metric, each saying its unit and where it comes from.

The same word means different things in different benchmarks, so every report prints
these formulas, and every variant is exported. n: output tokens, t0: request sent, t1:
first chunk with text, tN: last chunk with text, C1 and CN: first and last chunk of any
kind, E: end of the answer. Only complete answers of the full length are measured for
latency; errors, short and unfinished answers are counted apart.
"""

from collections.abc import Callable
from itertools import pairwise

import msgspec

from toolkit.bench.records import Level, Outcome, RequestRecord


class Metric(msgspec.Struct, frozen=True):
    """A metric as reports name it; `one` gives its samples of one request.

    `tools` names those that mean this by a word of theirs, such as "TTFT of vLLM".
    """

    tag: str
    label: str
    unit: str
    formula: str
    one: Callable[[RequestRecord], list[float]]
    tools: str = ""
    more_is_better: bool = False

    def values(self, level: Level) -> list[float]:
        """The samples of one level."""
        return [value for record in level.having(Outcome.OK) for value in self.one(record)]


def ttft_ms(record: RequestRecord) -> list[float]:
    """t1 - t0 in ms: to the first chunk *with text*, thinking too; an empty first chunk does
    not count (vLLM and aiperf count it, guidellm does not)."""
    return _between(record.sent_s, record.text_s[0] if record.text_s else None)


def ttfo_ms(record: RequestRecord) -> list[float]:
    """First chunk of the answer proper - t0 in ms: without the thinking before it."""
    return _between(record.sent_s, record.answer_s)


def first_byte_ms(record: RequestRecord) -> list[float]:
    """Head of the answer - t0 in ms: what the network and the queue cost."""
    return _between(record.sent_s, record.first_byte_s)


def first_chunk_ms(record: RequestRecord) -> list[float]:
    """C1 - t0 in ms: vLLM's and aiperf's TTFT, for which a chunk without text counts."""
    return _between(record.sent_s, record.first_chunk_s)


def second_token_ms(record: RequestRecord) -> list[float]:
    """t2 - t1 in ms: aiperf's time to second token."""
    return _between(*record.text_s[:2]) if len(record.text_s) > 1 else []


def tpot_ms(record: RequestRecord) -> list[float]:
    """(tN - t1) / (n - 1) in ms: guidellm's ITL, near to vLLM's TPOT and aiperf's ITL."""
    n = record.output_tokens or 0
    if n < 2 or len(record.text_s) < 2:
        return []
    return [1e3 * (record.text_s[-1] - record.text_s[0]) / (n - 1)]


def guidellm_tpot_ms(record: RequestRecord) -> list[float]:
    """(tN - t0) / n in ms: guidellm's TPOT, the first token included."""
    if not record.output_tokens or not record.text_s:
        return []
    return [1e3 * (record.text_s[-1] - record.sent_s) / record.output_tokens]


def vllm_tpot_ms(record: RequestRecord) -> list[float]:
    """(CN - C1) / (n - 1) in ms: vLLM's TPOT, whose end is the last chunk with choices."""
    n = record.output_tokens or 0
    if n < 2 or record.first_chunk_s is None or record.last_chunk_s is None:
        return []
    return [1e3 * (record.last_chunk_s - record.first_chunk_s) / (n - 1)]


def aiperf_itl_ms(record: RequestRecord) -> list[float]:
    """(E - C1) / (n - 1) in ms: aiperf's ITL."""
    n = record.output_tokens or 0
    if n < 2 or record.first_chunk_s is None:
        return []
    return [1e3 * (record.end_s - record.first_chunk_s) / (n - 1)]


def itl_gap_ms(record: RequestRecord) -> list[float]:
    """Every gap between chunks with text in ms, pooled over requests: aiperf's inter chunk
    latency, and vLLM's ITL where no chunk is without text."""
    return [1e3 * (later - earlier) for earlier, later in pairwise(record.text_s)]


def vllm_itl_ms(record: RequestRecord) -> list[float]:
    """The same with C1 and CN, which may be without text: vLLM's ITL, for which a chunk that
    only says why the answer ended makes a gap, too."""
    ends = (record.first_chunk_s, record.last_chunk_s)
    chunks = sorted({*record.text_s, *(moment for moment in ends if moment is not None)})
    return [1e3 * (later - earlier) for earlier, later in pairwise(chunks)]


def e2e_ms(record: RequestRecord) -> list[float]:
    """E - t0 in ms: the whole request."""
    return _between(record.sent_s, record.end_s)


def vllm_e2el_ms(record: RequestRecord) -> list[float]:
    """CN - t0 in ms: vLLM's E2EL, which ends with the last chunk with choices."""
    return _between(record.sent_s, record.last_chunk_s)


def user_tokens_per_s(record: RequestRecord) -> list[float]:
    """1 / TPOT in tokens/s: how fast text comes to one reader."""
    return [1e3 / value for value in tpot_ms(record) if value > 0]


def aiperf_user_tokens_per_s(record: RequestRecord) -> list[float]:
    """1 / aiperf's ITL in tokens/s: aiperf's output token throughput per user."""
    return [1e3 / value for value in aiperf_itl_ms(record) if value > 0]


def guidellm_user_tokens_per_s(record: RequestRecord) -> list[float]:
    """n / (E - t0) in tokens/s: guidellm's, the wait for the first token included."""
    lasted = record.end_s - record.sent_s
    return [record.output_tokens / lasted] if record.output_tokens and lasted > 0 else []


def send_delay_ms(record: RequestRecord) -> list[float]:
    """t0 - when an open loop was due to send, in ms: the client's own lateness."""
    return [] if record.due_s is None else _between(record.due_s, record.sent_s)


def prompt_tokens(record: RequestRecord) -> list[float]:
    """The prompt's tokens, counted by the server."""
    return [] if record.prompt_tokens is None else [float(record.prompt_tokens)]


def output_tokens(record: RequestRecord) -> list[float]:
    """n, counted by the server."""
    return [] if record.output_tokens is None else [float(record.output_tokens)]


def _between(start: float, end: float | None) -> list[float]:
    return [] if end is None else [1e3 * (end - start)]


METRICS = (
    Metric("ttft_ms", "first token", "ms", "t1 - t0", ttft_ms, "TTFT of guidellm"),
    Metric("ttfo_ms", "first of the answer", "ms", "first chunk without thinking - t0", ttfo_ms),
    Metric("first_byte_ms", "first byte", "ms", "head of the answer - t0", first_byte_ms),
    Metric("tpot_ms", "time per token", "ms", "(tN - t1) / (n - 1)", tpot_ms, "ITL of guidellm"),
    Metric("itl_gap_ms", "gap between chunks", "ms", "all gaps, pooled", itl_gap_ms,
           "ICL of aiperf"),
    Metric("e2e_ms", "whole request", "ms", "E - t0", e2e_ms,
           "latency of guidellm and aiperf"),
    Metric("user_tokens_per_s", "tok/s per user", "tok/s", "1 / TPOT", user_tokens_per_s,
           more_is_better=True),
    Metric("prompt_tokens", "prompt tokens", "tokens", "by the server's count", prompt_tokens),
    Metric("output_tokens", "output tokens", "tokens", "n", output_tokens),
)  # fmt: skip
VARIANTS = (
    Metric("first_chunk_ms", "first chunk", "ms", "C1 - t0", first_chunk_ms,
           "TTFT of vLLM and aiperf"),
    Metric("second_token_ms", "second token", "ms", "t2 - t1", second_token_ms, "TTST of aiperf"),
    Metric("guidellm_tpot_ms", "guidellm's TPOT", "ms", "(tN - t0) / n", guidellm_tpot_ms,
           "TPOT of guidellm"),
    Metric("vllm_tpot_ms", "vLLM's TPOT", "ms", "(CN - C1) / (n - 1)", vllm_tpot_ms,
           "TPOT of vLLM"),
    Metric("vllm_itl_ms", "vLLM's ITL", "ms", "all gaps, pooled, with C1 and CN", vllm_itl_ms,
           "ITL of vLLM"),
    Metric("aiperf_itl_ms", "aiperf's ITL", "ms", "(E - C1) / (n - 1)", aiperf_itl_ms,
           "ITL of aiperf"),
    Metric("vllm_e2el_ms", "vLLM's E2EL", "ms", "CN - t0", vllm_e2el_ms, "E2EL of vLLM"),
    Metric("aiperf_user_tokens_per_s", "aiperf's tok/s per user", "tok/s", "1 / aiperf's ITL",
           aiperf_user_tokens_per_s, "of aiperf", more_is_better=True),
    Metric("guidellm_user_tokens_per_s", "guidellm's tok/s per user", "tok/s", "n / (E - t0)",
           guidellm_user_tokens_per_s, "of guidellm", more_is_better=True),
    Metric("send_delay_ms", "sent late", "ms", "t0 - when it was due", send_delay_ms),
)  # fmt: skip
ALL = (*METRICS, *VARIANTS)
BY_TAG = {metric.tag: metric for metric in ALL}
