"""A gateway before a server, against that server alone.

The other server stands in for a vLLM, with a set time per token, or is one. Both are asked in
turns; what ours answers later or slower is what it costs.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tests.performance.load import Answer, Batch, ask, prompts_of, together
from tests.performance.measures import Figures
from tests.performance.programs import Program, Setting, vllm
from tests.performance.running import Running, running
from tests.performance.wires import MODEL, VllmWire, Wire
from tests.support.ports import free_port

STREAMS = 32
STEP_S = 0.01
_CONTEXT = 1024
_PROMPT_WORDS = 20
_MIB = 1 << 20
# What makes its counts and durations true, and without which there is no chat.
_TOLD = (
    "--enable-tokenizer-info-endpoint",
    "--enable-prompt-tokens-details",
    "--enable-per-request-metrics",
)


class Measure(Protocol):
    """What is measured of a gateway and of what is behind it, in one turn."""

    async def __call__(self, gateway: Running, bare: Running, seed: int) -> Figures: ...


@dataclass(frozen=True)
class Overhead:
    """What a gateway adds: both are asked in turns, the bare one's figures are called so.
    `firsts`: answers of each, one after the other, whose first token is timed in milliseconds;
    `tokens`: of each of the streams that run at once, twice of each."""

    firsts: int
    tokens: int

    async def __call__(self, gateway: Running, bare: Running, seed: int) -> Figures:
        for server in (gateway, bare):
            await ask(server, prompts_of(1, _PROMPT_WORDS, seed)[0], 4)
        ours, theirs = await self._alone(gateway, bare, seed + 1000)
        cpu_s, batches = 0.0, dict[Running, list[Batch]]({gateway: [], bare: []})
        for number, server in enumerate((gateway, bare, bare, gateway)):
            before_s = gateway.cpu_s()
            prompts = prompts_of(STREAMS, _PROMPT_WORDS, seed + 10_000 * (number + 1))
            batches[server].append(await together(server, prompts, self.tokens))
            cpu_s += gateway.cpu_s() - before_s if server is gateway else 0
        return {
            "first p50": 1000 * ours.first_s(0.5),
            "first p95": 1000 * ours.first_s(0.95),
            "tokens": _tokens_per_s(batches[gateway]),
            "cpu": 1e6 * cpu_s / sum(batch.tokens for batch in batches[gateway]),
            "memory": gateway.memory().rss / _MIB,
            "bare first p50": 1000 * theirs.first_s(0.5),
            "bare first p95": 1000 * theirs.first_s(0.95),
            "bare tokens": _tokens_per_s(batches[bare]),
        }

    async def _alone(self, gateway: Running, bare: Running, seed: int) -> tuple[Batch, Batch]:
        """One answer at a time, of both in turns."""
        answers: list[Answer] = []
        for prompt in prompts_of(2 * self.firsts, _PROMPT_WORDS, seed):
            server = bare if len(answers) % 2 else gateway
            answers.append(await ask(server, prompt, 2))
        return Batch(answers[::2], 0), Batch(answers[1::2], 0)


def _tokens_per_s(batches: Sequence[Batch]) -> float:
    return sum(batch.tokens for batch in batches) / sum(batch.wall_s for batch in batches)


@dataclass(frozen=True)
class Behind:
    """A side: our gateway before a server that is started with it, and that server alone. A round
    of its own for each would not do: on a shared machine they differ by more than the gateway
    adds."""

    upstream: Program
    home: Path
    wire: Wire
    measure: Measure

    @property
    def command(self) -> Sequence[str]:
        return [*self._gateway(0).command(0), "before", *self.upstream.command(0)]

    @property
    def kv(self) -> str:
        return self.upstream.kv

    async def turn(self, seed: int, log: Path) -> Figures:
        port, before = free_port(), log.with_suffix(".upstream.log")
        async with (
            running(self.upstream, port, before) as bare,
            running(self._gateway(port), free_port(), log) as gateway,
        ):
            return await self.measure(gateway, bare, seed)

    def _gateway(self, port: int) -> Program:
        argv = [sys.executable, "-m", "server", "--port", "{port}", "--preload", MODEL]
        argv += ["--engine", "vllm", "--upstream", f"http://127.0.0.1:{port}"]
        env = {"AKASH_LLM_HOME": str(self.home)}
        return Program("gateway", self.wire, argv, "/health/ready", env=env)


def stand_in(setting: Setting) -> Program:
    """What speaks vLLM's wire, a token each `STEP_S`."""
    argv = [sys.executable, "-m", "tests.support.vllm_stand_in", "{port}", str(STEP_S), MODEL]
    return Program("stand-in", VllmWire(), argv, "/health", kv="none")


def real(setting: Setting) -> Program:
    """vLLM as it is started behind a gateway. Raises `Missing`."""
    program = vllm(setting, STREAMS, _CONTEXT)
    return replace(program, argv=[*program.argv, *_TOLD])
