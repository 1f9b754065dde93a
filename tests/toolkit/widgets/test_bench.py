"""The benchmark panel against a scripted server: what is left when a run ends early."""

import asyncio

from tests.support.benching import paced
from tests.support.endpoint import MODEL, Answer, Gate, Received, ScriptedEndpoint
from tests.support.panels import buttons, shown
from toolkit.bench import BenchConfig, Workload
from toolkit.client import Endpoint
from toolkit.widgets.bench import BenchPanel


async def test_a_run_that_is_stopped_before_it_measures_leaves_the_one_before_it() -> None:
    never, is_held = asyncio.Event(), False

    def script(received: Received) -> Answer:
        return Answer([Gate(never)]) if is_held else paced(received)

    config = BenchConfig(concurrency=(1,), requests=2, workload=Workload(output_tokens=4))
    async with ScriptedEndpoint(script) as server:
        panel = BenchPanel(Endpoint.open(url=server.url, model=MODEL, name="test"), config)
        first = await panel.run()
        is_held = True
        second = asyncio.create_task(panel.run())
        await server.until(lambda s: s.active == 1)
        buttons(panel)["Stop"].click()
        await asyncio.wait([second])
        assert panel.result == first and len(panel.results) == 1
        text = shown(panel)
        assert "Stopped before anything was measured" in text and "1 open" in text
        assert not buttons(panel)["Run"].disabled
