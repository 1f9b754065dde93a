"""Streams of one server, timed by the client: as little work per line as there can be.

The client shares the cores with the server that it measures, so it reads raw lines from
plain sockets and looks for a few bytes in each.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.performance.servers import Running

_TEXT = (
    "river stone market winter letter garden signal harbor copper window minute pattern "
    "forest engine silver number island question morning system paper valley answer bridge"
)
_WORDS = _TEXT.split()


def prompt_of(words: int, seed: int) -> str:
    """A prompt of so many words that has no beginning in common with another seed's."""
    choose = random.Random(seed)
    return f"{seed} " + " ".join(choose.choice(_WORDS) for _ in range(words))


@dataclass(frozen=True)
class Answer:
    """One stream: seconds from the request to the first and last text, and its tokens."""

    first_s: float
    last_s: float
    tokens: int


@dataclass(frozen=True)
class Batch:
    """Streams that ran at once, over the time from the first request to the last text."""

    answers: Sequence[Answer]
    wall_s: float

    @property
    def tokens_per_s(self) -> float:
        return sum(answer.tokens for answer in self.answers) / self.wall_s

    def first_s(self, quantile: float) -> float:
        """Time to first token, nearest rank."""
        ordered = sorted(answer.first_s for answer in self.answers)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


async def ask(server: Running, prompt: str, num_tokens: int) -> Answer:
    """One completion. Raises RuntimeError unless exactly `num_tokens` were generated."""
    wire = server.program.wire
    body = json.dumps(wire.body(prompt, num_tokens)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
    begun = time.perf_counter()
    first = last = 0.0
    tokens = None
    try:
        head = (
            f"POST {wire.path} HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        while line := await reader.readline():
            if wire.has_text(line):
                last = time.perf_counter()
                first = first or last
            tokens = wire.tokens(line) or tokens
    finally:
        writer.close()
    if tokens != num_tokens:
        raise RuntimeError(f"{server.program.name} generated {tokens} tokens, not {num_tokens}")
    return Answer(first - begun, last - begun, tokens)


async def together(server: Running, prompts: Sequence[str], num_tokens: int) -> Batch:
    """All prompts at once."""
    begun = time.perf_counter()
    answers = await asyncio.gather(*(ask(server, prompt, num_tokens) for prompt in prompts))
    return Batch(answers, time.perf_counter() - begun)
