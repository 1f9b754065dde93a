"""How soon a slot is free after its client has gone."""

import asyncio
import time
from statistics import median

from tests.performance.load import Answer, attempt, exchange, prompt_of, until_text
from tests.performance.measures import GOES_ON, LONG_TOKENS, Figures, end_answers, words_of
from tests.performance.running import Broken, Running

CANCELS, INTO_PROMPT_S = 10, 0.2
_FREE_WITHIN_S = 30.0


async def cancels(server: Running, seed: int) -> Figures:
    """Milliseconds from a closed connection to a free slot, in decode and in a prompt."""
    words = await words_of(server, LONG_TOKENS)
    decode = [await _cancel_decode(server, seed + at) for at in range(CANCELS)]
    prompt = [await _cancel_prompt(server, words, seed + 100 + at) for at in range(CANCELS)]
    return {
        "decode p50": median(decode),
        "decode max": max(decode),
        "prompt p50": median(prompt),
        "prompt max": max(prompt),
    }


async def _cancel_decode(server: Running, seed: int) -> float:
    times: list[float] = []
    task = asyncio.create_task(attempt(server, prompt_of(20, seed), 1000, times))
    await until_text(task, times, GOES_ON)
    return await _until_free(server, task)


async def _cancel_prompt(server: Running, words: int, seed: int) -> float:
    task = asyncio.create_task(attempt(server, prompt_of(words, seed), 64))
    while not await _num_running(server):
        if task.done():
            raise Broken("a prompt was computed before it was seen to run")
    await asyncio.sleep(INTO_PROMPT_S)
    return await _until_free(server, task)


async def _until_free(server: Running, task: "asyncio.Task[Answer]") -> float:
    if task.done():
        raise Broken("an answer ended before it was cancelled")
    begun = time.perf_counter()
    await end_answers(task)
    while await _num_running(server):
        if time.perf_counter() - begun > _FREE_WITHIN_S:
            raise Broken(f"a slot was not free {_FREE_WITHIN_S:.0f} s after a cancel")
    return 1e3 * (time.perf_counter() - begun)


async def _num_running(server: Running) -> int:
    models = (await exchange(server, "GET", "/api/ps"))["models"]
    return sum(int(model["num_running"]) for model in models)
