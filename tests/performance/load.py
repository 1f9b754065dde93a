"""Streams of one server, timed by the client: as little work per line as there can be.

The client shares the cores with the server that it measures, so it reads raw lines from
plain sockets and looks for a few bytes in each.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.performance.running import Broken, Running
from tests.performance.wires import Usage

ANSWER_S = 1800.0  # 16 long prompts of a large model on few cores
_TEXT = (
    "river stone market winter letter garden signal harbor copper window minute pattern "
    "forest engine silver number island question morning system paper valley answer bridge"
)
_WORDS = _TEXT.split()
_LOOK_S = 0.002


def prompt_of(words: int, seed: int) -> str:
    """A prompt of so many words that has no beginning in common with another seed's."""
    choose = random.Random(seed)
    return f"{seed} " + " ".join(choose.choice(_WORDS) for _ in range(words))


def prompts_of(count: int, words: int, seed: int) -> list[str]:
    """Prompts that have nothing in common; seeds a thousand apart give different ones."""
    return [prompt_of(words, seed + number) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Answer:
    """One stream: when it was asked for, when each piece of text came (of the same clock),
    and what was used, if it came to its end with as many tokens as were asked for."""

    begun_s: float
    times_s: Sequence[float]
    usage: Usage | None

    @property
    def tokens(self) -> int:
        """Generated tokens; of a stream that broke, the pieces of text that came."""
        return self.usage.output_tokens if self.usage else len(self.times_s)

    @property
    def first_s(self) -> float:
        """Seconds from the request to the first text."""
        return self.times_s[0] - self.begun_s


@dataclass(frozen=True, slots=True)
class Batch:
    """Streams that ran at once, over the time from the first request to the last line."""

    answers: Sequence[Answer]
    wall_s: float

    @property
    def num_failed(self) -> int:
        return sum(answer.usage is None for answer in self.answers)

    @property
    def tokens(self) -> int:
        return sum(answer.tokens for answer in self.answers)

    def first_s(self, quantile: float) -> float:
        """Time to first token, nearest rank."""
        ordered = sorted(answer.first_s for answer in self.answers)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


async def attempt(
    server: Running, prompt: str, num_tokens: int, times: list[float] | None = None
) -> Answer:
    """One completion, broken or whole. `times` is filled while it runs, for who watches it.
    Cancelling closes the connection."""
    times = [] if times is None else times
    begun = time.perf_counter()
    usage = None
    try:
        async with asyncio.timeout(ANSWER_S):
            usage = await _stream(server, prompt, num_tokens, times)
    except (OSError, EOFError, TimeoutError):
        pass  # an answer without an end: it is broken
    is_whole = usage is not None and usage.output_tokens == num_tokens and times
    return Answer(begun, times, usage if is_whole else None)


async def ask(
    server: Running, prompt: str, num_tokens: int, times: list[float] | None = None
) -> Answer:
    """One completion. Raises `Broken` unless exactly `num_tokens` were generated."""
    answer = await attempt(server, prompt, num_tokens, times)
    if answer.usage is None:
        raise Broken(f"{server.program.name} broke an answer after {answer.tokens} tokens")
    return answer


async def attempt_together(server: Running, prompts: Sequence[str], num_tokens: int) -> Batch:
    """All prompts at once, whatever becomes of them."""
    begun = time.perf_counter()
    answers = await asyncio.gather(*(attempt(server, prompt, num_tokens) for prompt in prompts))
    return Batch(answers, time.perf_counter() - begun)


async def together(server: Running, prompts: Sequence[str], num_tokens: int) -> Batch:
    """All prompts at once. Raises `Broken` if one of them got no whole answer."""
    batch = await attempt_together(server, prompts, num_tokens)
    if batch.num_failed:
        raise Broken(f"{server.program.name} broke {batch.num_failed} of {len(prompts)} answers")
    return batch


async def until_text(task: "asyncio.Task[Answer]", times: Sequence[float], count: int = 1) -> None:
    """Wait until a running answer has so many pieces of text. Raises what it raised."""
    while len(times) < count:
        if task.done():
            raise Broken(f"an answer ended after {len(task.result().times_s)} pieces of text")
        await asyncio.sleep(_LOOK_S)


async def _stream(
    server: Running, prompt: str, num_tokens: int, times: list[float]
) -> Usage | None:
    wire = server.program.wire
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
    usage = None
    try:
        writer.write(_request(server.port, "POST", wire.path, wire.body(prompt, num_tokens)))
        while line := await reader.readline():
            if wire.has_text(line):
                times.append(time.perf_counter())
            usage = wire.usage(line, num_tokens) or usage
    finally:
        writer.close()
    return usage


async def exchange(
    server: Running, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """A request whose answer is one JSON document. Raises `Broken` on any status but 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(_request(server.port, method, path, body))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        content = await reader.readexactly(length)
    finally:
        writer.close()
    if head.split()[1] != b"200":
        raise Broken(f"{server.program.name}: {path} {content.decode(errors='replace')[:200]}")
    return json.loads(content)


def _request(port: int, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + content
