"""Known times come back within 2 %: of the fake engine behind our server, and of a script.

They are long against what servers and networks add. A busy machine may delay a measurement,
so one that is off is made again; a formula that is wrong is off each time. Where others load
the machine beyond its cores, nothing is concluded.
"""

import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest

from server.models.name import ModelName
from server.models.store import Store
from tests.goals import Measure
from tests.support.benching import asked, endpoint_of
from tests.support.endpoint import Answer, Mark, Pause, Received, ScriptedEndpoint, Step
from tests.support.ports import free_port
from tests.support.serving import ROW_VARIABLE, Serving, write_gguf
from tests.toolkit.bench.conftest import skip_if_busy
from toolkit.bench import BenchConfig, Summary, Workload, run
from toolkit.bench.distribution import percentile
from toolkit.client import Endpoint

WITHIN, TRIES = 0.02, 3
MODEL = "fake:1b"
# The fake engine: what a step takes, and each row in it. A prompt is read in one step.
STEP_S, ROW_S = 0.15, 0.001

Truth = dict[str, list[float]]


class Deviation(NamedTuple):
    """How far a percentile is from the true one, as a part of it."""

    tag: str
    p: str
    value_ms: float
    true_ms: float

    @property
    def share(self) -> float:
        return self.value_ms / self.true_ms - 1


def deviations(summary: Summary, truth: Truth) -> list[Deviation]:
    """Of p50 and p99 of each metric; the truth is in seconds."""
    return [
        Deviation(tag, p, summary.spreads[tag].percentiles[p], 1e3 * percentile(ordered, float(p)))
        for tag, ordered in ((tag, sorted(values)) for tag, values in truth.items())
        for p in ("50", "99")
    ]


async def recovered(
    name: str, measure: Callable[[], Awaitable[tuple[Summary, Truth]]], measured: Measure
) -> None:
    """One of some measurements is within the bound in all that it measured."""
    for _ in range(TRIES):
        found = deviations(*await measure())
        if all(abs(one.share) <= WITHIN for one in found):
            break
    for one in found:
        what = f"{name}: {one.tag} p{one.p}, {one.value_ms:.1f} ms, is off by"
        measured(7, what, 100 * abs(one.share), "%", 100 * WITHIN)
    if any(abs(one.share) > WITHIN for one in found):
        skip_if_busy()
    assert max(abs(one.share) for one in found) <= WITHIN


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Our server, with an engine whose steps take known times."""
    folder = tmp_path_factory.mktemp("serving")
    Store(folder / "models").add_file(ModelName.parse(MODEL), write_gguf(folder / "m.gguf"))
    args = ["--models", str(folder / "models"), "--preload", MODEL, "--parallel", "2"]
    with Serving(
        folder, free_port(), args=[*args, "--context", "4000"], step_s=STEP_S,
        env={ROW_VARIABLE: str(ROW_S)},
    ) as server:  # fmt: skip
        yield server


@pytest.mark.parametrize("api", ["ollama", "openai"])
@pytest.mark.goal(7)
@pytest.mark.alone
async def test_our_server_over_an_engine_of_known_costs(
    serving: Serving, api: str, measured: Measure
) -> None:
    """Prompts of different lengths make a distribution of first tokens."""
    work = Workload(prompt_words=40, prompt_words_to=120, output_tokens=5)
    config = BenchConfig(concurrency=(1,), requests=6, workload=work, api=api)

    async def measure() -> tuple[Summary, Truth]:
        async with Endpoint.open(url=serving.url, model=MODEL) as endpoint:
            result = await run(config, endpoint)
        (level,), (summary,) = result.levels, result.summaries
        assert summary.ok == 6
        firsts = [STEP_S + ROW_S * (record.prompt_tokens or 0) for record in level.records]
        assert max(firsts) > 1.3 * min(firsts)
        token = [STEP_S + ROW_S]
        return summary, {"ttft_ms": firsts, "itl_gap_ms": token, "tpot_ms": token}

    await recovered(f"our server, {api} API", measure, measured)


@pytest.mark.goal(7)
@pytest.mark.alone
async def test_distributions_of_first_tokens_and_gaps(measured: Measure) -> None:
    """Both log-normal, as those of servers under load are, and noted as they were sent; the
    first wave opens the connections, which is not the server's doing, and is left out."""
    work = Workload(prompt_words=5, output_tokens=12)
    config = BenchConfig(
        concurrency=(25,), requests=None, duration_s=4.0, warmup_s=0.5, workload=work, warmup=0
    )

    async def measure() -> tuple[Summary, Truth]:
        source = random.Random(11)
        sent: list[list[float]] = []

        def script(received: Received) -> Answer:
            moments = [time.perf_counter()]
            sent.append(moments)
            steps: list[Step] = []
            for number in range(asked(received)):
                median = 0.08 if number else 0.4
                wait = Pause(source.lognormvariate(math.log(median), 0.4))
                steps += [wait, Mark(moments), "w "]
            return Answer(steps)

        async with ScriptedEndpoint(script) as server, endpoint_of(server) as endpoint:
            (summary,) = (await run(config, endpoint)).summaries
        assert summary.ok > 40
        whole = sent[25:]
        firsts = [moments[1] - moments[0] for moments in whole]
        gaps = [b - a for moments in whole for a, b in pairwise(moments[1:])]
        return summary, {"ttft_ms": firsts, "itl_gap_ms": gaps}

    await recovered("log-normal times", measure, measured)
