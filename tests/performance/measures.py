"""What is measured of a running server. A seed makes prompts that were never seen before."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from statistics import median

from tests.performance.load import (
    Answer,
    ask,
    attempt,
    attempt_together,
    prompt_of,
    prompts_of,
    together,
    until_text,
)
from tests.performance.running import Broken, Running

Figures = dict[str, float]

PROMPT_WORDS, OUTPUT_TOKENS = 100, 64
# As many answers in every figure, however many run at once: one alone is over too soon.
LEAST_ANSWERS = 8
PREFIX_WORDS, TAIL_WORDS, PREFIX_STREAMS, PREFIX_TOKENS = 300, 40, 8, 16
PROMPTS, PROMPT_TOKENS = 3, 900
FILLED_TOKENS, FILLS = 100, 3
RUNNING, LONG_TOKENS, LONG_PROMPTS, ENDLESS_TOKENS = 4, 1500, 2, 2500
GOES_ON = 4  # texts after which a stream is taken to run
CPU_TOKENS = {1: 512, 8: 256, 16: 128}

_MIB = 1 << 20
_PAUSE_S = 0.2


async def warm_up(server: Running) -> None:
    """One request that is not measured."""
    await ask(server, prompt_of(PROMPT_WORDS, 7), 4)


class Throughput:
    """Generated tokens per second of independent prompts, by the number of streams."""

    def __init__(self, *streams: int) -> None:
        self._streams = streams

    async def __call__(self, server: Running, seed: int) -> Figures:
        await warm_up(server)
        figures = {}
        for streams in self._streams:
            figures[f"{streams}"] = await _tokens_per_s(server, streams, seed + 1000 * streams)
            await asyncio.sleep(_PAUSE_S)
        return figures


async def _tokens_per_s(server: Running, streams: int, seed: int) -> float:
    tokens, wall_s = 0, 0.0
    for at in range(0, max(LEAST_ANSWERS, streams), streams):
        prompts = prompts_of(streams, PROMPT_WORDS, seed + at)
        batch = await together(server, prompts, OUTPUT_TOKENS)
        tokens += batch.tokens
        wall_s += batch.wall_s
    return tokens / wall_s


async def prefix(server: Running, seed: int) -> Figures:
    """Time to first token when all share the beginning of a prompt that is new."""
    await warm_up(server)
    shared = prompt_of(PREFIX_WORDS, seed)
    tails = prompts_of(PREFIX_STREAMS, TAIL_WORDS, seed + 1)
    batch = await together(server, [f"{shared} {tail}" for tail in tails], PREFIX_TOKENS)
    return {"p95": batch.first_s(0.95), "p50": batch.first_s(0.5)}


async def survival(server: Running, seed: int) -> Figures:
    """Tokens per second and failed requests; a request that fails is a figure, not an end."""
    await warm_up(server)
    tokens, failed, wall_s = 0, 0, 0.0
    for at in (0, 8):
        batch = await attempt_together(server, prompts_of(8, PROMPT_WORDS, seed + at), 64)
        tokens += batch.tokens
        failed += batch.num_failed
        wall_s += batch.wall_s
        await asyncio.sleep(_PAUSE_S)
    return {"tokens": tokens / wall_s, "failed": float(failed)}


async def prompt_speed(server: Running, seed: int) -> Figures:
    """Prompt tokens per second of one prompt at a time, and tokens per second of 8 streams."""
    words = await words_of(server, PROMPT_TOKENS)
    read, took_s = 0, 0.0
    for prompt in prompts_of(PROMPTS, words, seed):
        answer = await ask(server, prompt, 1)
        read += _prompt_tokens(answer)
        took_s += answer.first_s
    return {"prompt": read / took_s, "tokens": await _tokens_per_s(server, 8, seed + 1000)}


async def long_prompts(server: Running, seed: int) -> Figures:
    """What long prompts and the streams that run meanwhile do to each other."""
    words = await words_of(server, LONG_TOKENS)
    times: list[list[float]] = [[] for _ in range(RUNNING)]
    prompts = prompts_of(RUNNING, PROMPT_WORDS, seed)
    tasks = [
        asyncio.create_task(attempt(server, prompt, ENDLESS_TOKENS, seen))
        for prompt, seen in zip(prompts, times, strict=True)
    ]
    firsts, gaps, texts, span_s = [], [], 0, 0.0
    try:
        for prompt in prompts_of(LONG_PROMPTS, words, seed + 100):
            await _more_text(tasks, times)
            answer = await ask(server, prompt, 1)
            await _more_text(tasks, times)
            end_s = answer.times_s[0]
            firsts.append(answer.first_s)
            gaps.append(longest_gap(times, answer.begun_s, end_s))
            texts += sum(answer.begun_s < at <= end_s for seen in times for at in seen)
            span_s += answer.first_s
    finally:
        await end_answers(*tasks)
    return {"first": median(firsts), "gap": max(gaps), "tokens": texts / span_s}


async def _more_text(tasks: Sequence["asyncio.Task[Answer]"], times: Sequence[list[float]]) -> None:
    """Wait until every stream goes on."""
    wanted = [len(seen) + GOES_ON for seen in times]
    for task, seen, count in zip(tasks, times, wanted, strict=True):
        await until_text(task, seen, count)


def longest_gap(times: Sequence[Sequence[float]], begin_s: float, end_s: float) -> float:
    """The longest time between two texts of one stream that touches the span."""
    return max(
        after - before
        for seen in times
        for before, after in itertools.pairwise(seen)
        if after > begin_s and before < end_s
    )


async def memory(server: Running, seed: int) -> Figures:
    """Memory after one token, and after every window was filled several times over."""
    await ask(server, "Hello", 1)
    fresh = server.memory()
    words = await words_of(server, PROMPT_TOKENS)
    for fill in range(FILLS):
        prompts = prompts_of(16, words, seed + 100 * fill)
        await together(server, prompts, FILLED_TOKENS)
    loaded = server.memory()
    figures = {"fresh rss": fresh.rss / _MIB, "loaded rss": loaded.rss / _MIB}
    if fresh.pss:
        figures |= {"fresh pss": fresh.pss / _MIB, "loaded pss": loaded.pss / _MIB}
    return figures


async def http_cpu(server: Running, seed: int) -> Figures:
    """Microseconds of CPU that the first process spends on a streamed token."""
    await warm_up(server)
    figures = {}
    for streams, num_tokens in CPU_TOKENS.items():
        prompts = prompts_of(streams, PROMPT_WORDS, seed + 1000 * streams)
        before_s = server.cpu_s()
        batch = await together(server, prompts, num_tokens)
        figures[f"{streams}"] = 1e6 * (server.cpu_s() - before_s) / batch.tokens
    return figures


async def end_answers(*tasks: "asyncio.Task[Answer]") -> None:
    """Close their connections."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


async def words_of(server: Running, num_tokens: int) -> int:
    """How many words make so many tokens; the request that finds out is the warm-up too."""
    answer = await ask(server, prompt_of(PROMPT_WORDS, 7), 4)
    return num_tokens * PROMPT_WORDS // _prompt_tokens(answer)


def _prompt_tokens(answer: Answer) -> int:
    if answer.usage is None or not answer.usage.prompt_tokens:
        raise Broken("the server does not say how long a prompt was")
    return answer.usage.prompt_tokens
