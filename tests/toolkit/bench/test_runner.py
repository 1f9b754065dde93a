"""The closed loop against a server whose timing is known."""

import asyncio
from pathlib import Path

import pytest

from tests.support.endpoint import MODEL, Answer, Hold, Pause, Received, ScriptedEndpoint, Step
from toolkit.bench import BenchConfig, Result, Run, Workload, plots, report, run
from toolkit.client import Endpoint
from toolkit.errors import EndpointError, UsageError

SMALL = BenchConfig(
    concurrency=(1, 3), requests=6, workload=Workload(prompt_words=5, output_tokens=4)
)


def paced(received: Received) -> Answer:
    """As many tokens as asked for, 5 ms apart, the first after 20 ms."""
    steps: list[Step] = [Pause(0.02)]
    for _ in range(received.body["options"]["num_predict"]):
        steps += ["w ", Pause(0.005)]
    return Answer(steps)


def endpoint_of(server: ScriptedEndpoint) -> Endpoint:
    return Endpoint.open(url=server.url, model=MODEL, name="test")


async def test_every_level_keeps_its_number_of_requests_open() -> None:
    async with ScriptedEndpoint(paced) as server, endpoint_of(server) as endpoint:
        result = await run(SMALL, endpoint)
        assert server.peak == 3
    assert result.complete and not result.has_errors
    assert [(s.concurrency, s.ok, s.peak_in_flight) for s in result.summaries] == [
        (1, 6, 1),
        (3, 6, 3),
    ]
    assert len(server.generations()) == 1 + 6 + 6


async def test_no_two_prompts_are_alike_and_a_seed_repeats_them() -> None:
    async with ScriptedEndpoint(paced) as server, endpoint_of(server) as endpoint:
        await run(SMALL, endpoint)
        await run(SMALL, endpoint)
        prompts = [r.body["messages"][0]["content"] for r in server.generations()]
    assert len(set(prompts)) == 13 and sorted(prompts[:13]) == sorted(prompts[13:])
    assert server.generations()[0].body["options"]["ignore_eos"] is True


async def test_the_servers_times_are_found_again() -> None:
    config = BenchConfig(
        concurrency=(2,), requests=20, workload=Workload(prompt_words=5, output_tokens=8)
    )
    async with ScriptedEndpoint(paced) as server, endpoint_of(server) as endpoint:
        summary = (await run(config, endpoint)).summaries[0]
    # Never earlier than the server sent, whatever else this machine does.
    assert summary.spreads["ttft_ms"].minimum >= 19.5
    assert summary.spreads["tpot_ms"].p50 >= 4.0
    assert summary.tokens_per_chunk == 1.0


async def test_errors_and_short_answers_are_counted_apart() -> None:
    async with ScriptedEndpoint() as server, endpoint_of(server) as endpoint:
        seen = iter(range(100))

        def script(received: Received) -> Answer:
            match next(seen) % 3:
                case 0:
                    return paced(received)
                case 1:
                    return Answer(["one"])
            return Answer(status=503, error="busy")

        server.script = script
        config = BenchConfig(concurrency=(1,), requests=9, workload=SMALL.workload)
        result = await run(config, endpoint)
    summary = result.summaries[0]
    assert (summary.ok, summary.short, summary.errors) == (3, 3, 3)
    assert summary.messages == {"busy": 3} and summary.spreads["ttft_ms"].n == 3
    text = report.terminal(result)
    assert "3 × `busy`" in text and "Short answers at 1 open: 3" in text


async def test_a_cancelled_run_keeps_what_it_measured_and_closes_its_requests() -> None:
    async with ScriptedEndpoint() as server, endpoint_of(server) as endpoint:
        seen = iter(range(100))
        server.script = lambda r: paced(r) if next(seen) < 4 else Answer(["a", Hold()])
        going = Run(SMALL, endpoint)
        task = asyncio.create_task(going.run())
        await server.until(lambda s: len(s.generations()) == 5 and s.active == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda s: s.active == 0)
    result = going.result()
    assert not result.complete and result.summaries[0].ok == 3
    assert "partial result" in report.title(result)


async def test_a_warm_up_that_fails_ends_the_run_before_it_begins() -> None:
    async with (
        ScriptedEndpoint(lambda _: Answer(status=500, error="boom")) as server,
        endpoint_of(server) as endpoint,
    ):
        with pytest.raises(EndpointError, match="boom"):
            await run(SMALL, endpoint)


async def test_a_result_survives_its_file(tmp_path: Path) -> None:
    async with ScriptedEndpoint(paced) as server, endpoint_of(server) as endpoint:
        result = await run(SMALL, endpoint)
    path = tmp_path / "runs" / "result.json"
    result.save(path)
    assert Result.load(path) == result
    path.write_text("{}")
    with pytest.raises(UsageError, match="not a benchmark result"):
        Result.load(path)


async def test_reports_print_their_formulas_and_the_picture_is_plain_svg() -> None:
    async with ScriptedEndpoint(paced) as server, endpoint_of(server) as endpoint:
        result = await run(BenchConfig(usd_per_hour=1.0, requests=2), endpoint)
    for text in (report.terminal(result), report.markdown(result)):
        assert "(tN - t1) / (n - 1)" in text and "USD per 1M" in text and "p50" in text
    assert report.sentence(result).startswith("Best: ")
    svg = plots.throughput_and_latency(result)
    assert svg.startswith('<svg role="img" aria-label="Best: ')
    assert "<script" not in svg and "<style>.akl-plot svg *{" in svg and "#010203" not in svg


@pytest.mark.parametrize(
    "config",
    [
        BenchConfig(concurrency=()),
        BenchConfig(concurrency=(0,)),
        BenchConfig(requests=0),
        BenchConfig(workload=Workload(output_tokens=1)),
        BenchConfig(usd_per_hour=-1.0),
    ],
)
def test_what_cannot_be_meant_is_refused(config: BenchConfig) -> None:
    with pytest.raises(UsageError):
        config.checked()


def test_the_digest_names_the_workload() -> None:
    assert Workload().digest() == Workload().digest() != Workload(seed=2).digest()
