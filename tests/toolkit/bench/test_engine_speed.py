"""pp, tg and pg of an engine whose costs are known."""

import pytest

from tests.support.benching import asked, endpoint_of
from tests.support.endpoint import Answer, Received, ScriptedEndpoint
from toolkit.bench.engine_report import csv_lines, lines
from toolkit.bench.engine_speed import EngineConfig, EngineRun, Speed
from toolkit.errors import EndpointError, UsageError

WORD_TOKENS, TEMPLATE_TOKENS = 3, 11
READS_PER_S, WRITES_PER_S = 1000.0, 50.0


def engine(received: Received) -> Answer:
    """It reads a word as three tokens, each in a millisecond, and says what it took."""
    words = len(received.body["messages"][-1]["content"].split()) - 1
    prompt, output = words * WORD_TOKENS + TEMPLATE_TOKENS, asked(received)
    return Answer(
        ["w"] * output,
        final={
            "prompt_eval_count": prompt,
            "prompt_eval_duration": int(1e9 * prompt / READS_PER_S),
            "eval_count": output,
            "eval_duration": int(1e9 * output / WRITES_PER_S),
            "done_reason": "length",
        },
    )


async def test_tests_are_named_and_rated_as_llama_bench_does() -> None:
    config = EngineConfig(
        prompts=(128, 512), outputs=(16,), both=((128, 16),), depths=(0, 256), repetitions=3
    )
    told: list[Speed] = []
    async with ScriptedEndpoint(engine) as server, endpoint_of(server) as endpoint:
        run = EngineRun(config, endpoint, told.append)
        result = await run.run()
    assert result.complete and list(result.speeds) == told
    assert result.times == "the server's"
    found = {speed.test: speed for speed in result.speeds}
    assert list(found) == [
        "pp128", "pp512", "tg16", "pg128+16",
        "pp128 @ d256", "pp512 @ d256", "tg16 @ d256", "pg128+16 @ d256",
    ]  # fmt: skip
    for name, speed in found.items():
        assert len(speed.samples) == 3
        if name.startswith("pp"):
            assert speed.tokens == pytest.approx(int(name[2:5]), abs=WORD_TOKENS)
            assert speed.mean == pytest.approx(READS_PER_S, rel=1e-6)
        if name.startswith("tg"):
            assert speed.tokens == 16 and speed.mean == pytest.approx(WRITES_PER_S)
            assert speed.std == pytest.approx(0, abs=1e-6)
    prompts = [r.body["messages"][0]["content"] for r in server.generations()]
    assert len(set(prompts)) == len(prompts)
    table = lines(result)
    assert table[0][-1] == "t/s" and table[3][2:] == ["tg16", "16", "50.00 ± 0.00"]
    assert csv_lines(result)[1][-5:-3] == ["pp128", found["pp128"].tokens]


async def test_openais_api_is_timed_by_the_client() -> None:
    async with ScriptedEndpoint(engine) as server, endpoint_of(server) as endpoint:
        server.speaks_ollama = False
        config = EngineConfig(prompts=(64,), outputs=(8,), repetitions=1)
        result = await EngineRun(config, endpoint).run()
    assert result.times == "the client's" and result.complete
    assert all(speed.mean > 0 for speed in result.speeds)


async def test_an_answer_that_is_cut_ends_it_with_the_reason_and_keeps_the_rest() -> None:
    def script(received: Received) -> Answer:
        return Answer(["w"]) if asked(received) == 64 else engine(received)

    config = EngineConfig(prompts=(64,), outputs=(64,), repetitions=1)
    async with ScriptedEndpoint(script) as server, endpoint_of(server) as endpoint:
        run = EngineRun(config, endpoint)
        with pytest.raises(EndpointError, match="1 of 64 tokens"):
            await run.run()
    assert [speed.test for speed in run.result().speeds] == ["pp64"]
    assert not run.result().complete


@pytest.mark.parametrize("config", [EngineConfig(repetitions=0), EngineConfig(prompts=(-1,))])
def test_what_cannot_be_meant_is_refused(config: EngineConfig) -> None:
    with pytest.raises(UsageError):
        list(config.tests())
