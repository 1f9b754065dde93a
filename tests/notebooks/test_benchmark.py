"""06_benchmark run by papermill: its result is kept, also when it misses what was asked for."""

import re
from pathlib import Path

import msgspec
import pytest

from tests.support.endpoint import MODEL, Answer, Pause, Received, ScriptedEndpoint, Step
from toolkit.automation.page import as_page
from toolkit.automation.run import run_notebook
from toolkit.bench import Result

# The first token takes 50 ms.
MET, MISSED = "error_rate<=0%", "ttft:p50<=10ms"


def answer(received: Received) -> Answer:
    steps: list[Step] = [Pause(0.05)]
    return Answer(steps + ["w "] * received.body["options"]["num_predict"])


@pytest.mark.goal(6, 8)
@pytest.mark.parametrize(("slo", "code"), [(MET, 0), (MISSED, 8)])
async def test_it_measures_and_is_held_to_an_objective(slo: str, code: int) -> None:
    async with ScriptedEndpoint(answer) as server:
        what = {"url": server.url, "model": MODEL, "concurrency": [1, 2], "requests": 2}
        done = await run_notebook("06_benchmark", {**what, "usd_per_hour": 0.36, "slos": [slo]})
    assert done.exit_code == code, done.error
    assert done.error is None or "misses ttft_ms:p50<=10" in done.error.message
    page = as_page(Path(done.output)).decode()
    assert re.search(r'<svg [^>]*aria-label="(Best|No level meets)', page)
    result = msgspec.convert(done.scraps["result"], Result)
    assert [len(level.records) for level in result.levels] == [2, 2]
    assert all(summary.usd_per_million_tokens for summary in result.summaries)


@pytest.mark.goal(8)
@pytest.mark.parametrize("slos", [["fast"], ["ttft<=soon"]])
async def test_an_objective_that_is_none_measures_nothing(slos: list[str]) -> None:
    async with ScriptedEndpoint(answer) as server:
        what = {"url": server.url, "model": MODEL, "slos": slos}
        done = await run_notebook("06_benchmark", what)
        assert server.generations() == []
    assert done.exit_code == 2 and done.error is not None
