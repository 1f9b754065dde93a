"""What spoils figures, looked for in a level and said: nobody sees it in a percentile."""

from collections.abc import Iterator

from toolkit.bench.distribution import Spread
from toolkit.bench.metrics import send_delay_ms, ttft_ms
from toolkit.bench.records import Level, Outcome, RequestRecord
from toolkit.bench.throughput import tokens_per_chunk, window_s
from toolkit.bench.workload import Workload

BUNDLED = 1.05
CLOCK_JUMP_S = 1.0
CLIENT_SHARE = 0.8
LATE_MS = 10.0
PAUSE_S = 0.05
LOADING_S = 0.1
CACHED_SHARE = 0.1
CONNECT_SHARE = 0.02
FEW, FEW_FOR_TAIL = 20, 100


def found(level: Level, workload: Workload, spreads: dict[str, Spread]) -> Iterator[str]:
    """Each thing that spoils the figures of a level, as a sentence."""
    ok = level.having(Outcome.OK)
    yield from _of_answers(level, ok)
    yield from _of_cache(ok, workload)
    yield from _of_connections(ok)
    yield from _of_client(level)
    timed = spreads.get("ttft_ms")
    if timed is not None and timed.n < FEW:
        yield f"only {timed.n} requests were measured: percentiles of so few say little"
    elif timed is not None and timed.n < FEW_FOR_TAIL:
        yield f"p99 of {timed.n} requests is little more than the slowest of them"


def _of_answers(level: Level, ok: list[RequestRecord]) -> Iterator[str]:
    if short := len(level.having(Outcome.SHORT)):
        yield (
            f"{short} short answers ended before the length asked for and are not in the"
            " latencies (the endpoint does not know ignore_eos, or its context is full)"
        )
    if cut := len(level.having(Outcome.UNFINISHED)):
        yield f"{cut} requests were open when the level was ended; they are in no figure"
    bundled = tokens_per_chunk(level)
    if bundled is not None and bundled > BUNDLED:
        yield (
            f"a chunk carries {bundled:.2f} tokens: the gaps are those of bundles; TPOT is per"
            " token"
        )
    if any(not record.is_counted for record in ok):
        yield "the server counts no tokens: n is the number of chunks"
    if cut := sum(record.truncated_tokens > 0 for record in level.measured):
        yield f"{cut} prompts were cut to the context of the endpoint"
    waited = [seconds for record in ok if (seconds := record.load_s or 0.0) > LOADING_S]
    if waited:
        yield (
            f"{len(waited)} prompts waited before they were read (up to {max(waited):.1f} s by the"
            " server's account): the model was loaded, or they queued"
        )


def _of_cache(ok: list[RequestRecord], workload: Workload) -> Iterator[str]:
    asked = sum(record.prompt_tokens or 0 for record in ok)
    cached = sum(record.cached_tokens or 0 for record in ok)
    if asked and cached > CACHED_SHARE * asked:
        wanted = workload.prefix_words or workload.turns > 1
        because = "as the workload wants" if wanted else "although no two prompts begin alike"
        if workload.file:
            because = "since prompts of the file begin alike, or come again"
        yield f"{cached / asked:.0%} of the prompt tokens came from a cache, {because}"


def _of_connections(ok: list[RequestRecord]) -> Iterator[str]:
    opened = [
        record.connect_s
        for record in ok
        if record.connect_s is not None
        and any(1e3 * record.connect_s > CONNECT_SHARE * ttft for ttft in ttft_ms(record))
    ]
    if opened:
        firsts = "1 first token" if len(opened) == 1 else f"{len(opened)} first tokens"
        most_ms = 1e3 * max(opened)
        yield f"{firsts} came after a connection was opened (up to {most_ms:.1f} ms)"


def _of_client(level: Level) -> Iterator[str]:
    client = level.client
    if abs(client.clock_jump_s) > CLOCK_JUMP_S:
        yield (
            f"the wall clock went {client.clock_jump_s:+.1f} s beside the steady one: the machine"
            " slept, or its time was set"
        )
    if client.cpu_share > CLIENT_SHARE and window_s(level) > 1:
        yield (
            f"the measuring process used {client.cpu_share:.0%} of a core: it may itself be what"
            " is slow"
        )
    if client.longest_pause_s > PAUSE_S:
        yield (
            f"the measuring process was held up for {1e3 * client.longest_pause_s:.0f} ms at most:"
            " chunks of meanwhile are noted late"
        )
    late = sorted(delay for record in level.measured for delay in send_delay_ms(record))
    if late and late[int(0.99 * (len(late) - 1))] > LATE_MS:
        yield f"requests were sent up to {late[-1]:.0f} ms later than they were due"
