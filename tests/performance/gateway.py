"""A gateway before a server, against that server alone.

The other server stands in for a vLLM, with a set time per token, or is one. Both sides are asked
with the same prompts; what ours answers later or slower is what it costs.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.performance.load import Batch, ask, prompts_of, together
from tests.performance.measures import Figures
from tests.performance.programs import Program, Setting, vllm
from tests.performance.running import Running, running
from tests.performance.sides import Measure
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


@dataclass(frozen=True)
class Overhead:
    """What a gateway adds to. `firsts`: answers one after the other whose first token is timed,
    in milliseconds; `tokens`: of each of the streams that then run at once."""

    firsts: int
    tokens: int

    async def __call__(self, server: Running, seed: int) -> Figures:
        await ask(server, prompts_of(1, _PROMPT_WORDS, seed)[0], 4)
        prompts = prompts_of(self.firsts, _PROMPT_WORDS, seed + 1000)
        alone = Batch([await ask(server, prompt, 2) for prompt in prompts], 0)
        before_s = server.cpu_s()
        batch = await together(server, prompts_of(STREAMS, _PROMPT_WORDS, seed), self.tokens)
        return {
            "first p50": 1000 * alone.first_s(0.5),
            "first p95": 1000 * alone.first_s(0.95),
            "tokens": batch.tokens / batch.wall_s,
            "cpu": 1e6 * (server.cpu_s() - before_s) / batch.tokens,
            "memory": server.memory().rss / _MIB,
        }


@dataclass(frozen=True)
class Behind:
    """A side: our gateway, measured before a server that is started with it."""

    upstream: Program
    home: Path
    wire: Wire
    measure: Measure

    @property
    def command(self) -> Sequence[str]:
        return self._gateway(0).command(0)

    @property
    def kv(self) -> str:
        return self.upstream.kv

    async def turn(self, seed: int, log: Path) -> Figures:
        port, before = free_port(), log.with_suffix(".upstream.log")
        async with (
            running(self.upstream, port, before),
            running(self._gateway(port), free_port(), log) as server,
        ):
            return await self.measure(server, seed)

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
