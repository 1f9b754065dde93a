"""Runs against a server whose timing is known: closed and open loops, ends, Stop, APIs."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.benching import asked, endpoint_of, in_turn, paced
from tests.support.endpoint import Answer, Hold, Pause, Received, ScriptedEndpoint
from toolkit.bench import (
    BenchConfig,
    Facts,
    Progress,
    Result,
    Run,
    Sweep,
    Workload,
    compare,
    parse,
    report,
    run,
)
from toolkit.bench.records import Outcome, Phase, RequestRecord
from toolkit.client import Endpoint
from toolkit.errors import CredentialsError, EndpointError, UsageError

TINY = Workload(prompt_words=5, output_tokens=4)
SMALL = BenchConfig(concurrency=(1, 3), requests=6, workload=TINY)


def but(config: BenchConfig = SMALL, **changes: Any) -> BenchConfig:
    return msgspec.structs.replace(config, **changes)


def slow(received: Received) -> Answer:
    """So that what a busy machine adds is little beside it."""
    return Answer([Pause(0.2), *["w "] * asked(received)])


def quick(received: Received) -> Answer:
    return Answer(["w "] * asked(received))


async def measured(config: BenchConfig, script: Any = paced, **given: Any) -> Result:
    async with ScriptedEndpoint(script) as server, endpoint_of(server) as endpoint:
        return await run(config, endpoint, **given)


def records_of(result: Result) -> list[RequestRecord]:
    return [record for level in result.levels for record in level.records]


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
    assert [r.phase for r in result.warmup] == [Phase.WARMUP]


async def test_no_two_prompts_are_alike_and_a_seed_repeats_them() -> None:
    async with ScriptedEndpoint(quick) as server, endpoint_of(server) as endpoint:
        await run(SMALL, endpoint)
        await run(SMALL, endpoint)
        prompts = [r.body["messages"][0]["content"] for r in server.generations()]
    assert len({prompt.split()[0] for prompt in prompts}) == 26
    first, second = (
        sorted(prompt.split()[1:] for prompt in half) for half in (prompts[:13], prompts[13:])
    )
    assert first == second
    assert server.generations()[0].body["options"]["ignore_eos"] is True


async def test_the_servers_times_are_found_again() -> None:
    config = but(concurrency=(2,), requests=20, workload=Workload(prompt_words=5, output_tokens=8))
    summary = (await measured(config)).summaries[0]
    # Never earlier than the server sent, whatever else this machine does.
    assert summary.spreads["ttft_ms"].minimum >= 19.5
    assert summary.spreads["tpot_ms"].p50 >= 4.0
    assert summary.tokens_per_chunk == 1.0


async def test_an_open_loop_sends_whatever_the_server_does() -> None:
    """Twenty in a burst of half a second, of which none is answered before all were sent."""

    def script(received: Received) -> Answer:
        return Answer([Pause(1.0), *["w "] * asked(received)])

    config = but(rates=(40.0,), arrival="constant", requests=20, warmup=0)
    result = await measured(config, script)
    (summary,) = result.summaries
    assert (summary.ok, summary.peak_in_flight) == (20, 20)
    assert summary.load.is_open
    for record in records_of(result):
        assert record.due_s == pytest.approx(record.index / 40)
        assert record.due_s is not None and record.sent_s >= record.due_s


async def test_poisson_and_gamma_repeat_their_moments_by_seed() -> None:
    config = but(rates=(200.0,), requests=10, warmup=0)
    for arrival in ("poisson", "gamma"):
        again = [await measured(but(config, arrival=arrival), quick) for _ in range(2)]
        first, second = ([r.due_s for r in records_of(result)] for result in again)
        assert sorted(map(str, first)) == sorted(map(str, second))


async def test_a_duration_ends_sending_and_what_is_open_gets_its_grace() -> None:
    config = but(concurrency=(2,), requests=None, duration_s=0.5, warmup=0)
    result = await measured(config)
    records = records_of(result)
    assert len(records) > 4 and all(record.outcome is Outcome.OK for record in records)
    # Both workers may have looked at the clock just before its end.
    assert sum(record.sent_s >= 0.5 for record in records) <= 2 and result.complete


async def test_what_is_open_after_the_grace_is_an_error_and_in_no_latency() -> None:
    script = in_turn(quick, lambda _: Answer(["a", Hold()]))
    config = but(concurrency=(2,), requests=None, duration_s=0.2, grace_s=0.1, warmup=0)
    async with ScriptedEndpoint(script) as server, endpoint_of(server) as endpoint:
        result = await run(config, endpoint)
        await server.until(lambda s: s.active == 0)
    (summary,) = result.summaries
    assert summary.unfinished == 0 and summary.errors == 2 and summary.ended_by == "duration"
    assert summary.spreads["ttft_ms"].n == summary.ok
    assert any("open when the level was ended" in notice for notice in summary.notices)


async def test_warm_up_and_cool_down_of_a_level_are_kept_and_not_counted() -> None:
    config = but(
        concurrency=(1,), requests=None, duration_s=0.9, warmup_s=0.3, cooldown_s=0.3, warmup=0
    )
    result = await measured(config)
    (level,), (summary,) = result.levels, result.summaries
    for record in level.records:
        first, last = record.sent_s < 0.3, record.sent_s > 0.6
        expected = Phase.WARMUP if first else Phase.COOLDOWN if last else Phase.MEASURED
        assert record.phase is expected
    assert {r.phase for r in level.records} == set(Phase)
    assert summary.excluded == len(
        level.records
    ) - summary.ok and summary.window_s == pytest.approx(0.3)
    assert "requests in no figure (the first 0.3 s of each level" in report.terminal(result)


async def test_a_ramp_is_reported_in_slices() -> None:
    config = but(
        rates=(60.0,), ramp_from=10.0, arrival="constant", requests=None, duration_s=1.2, warmup=0
    )
    result = await measured(config, quick)
    rates = [s.load.rate for s in result.summaries]
    assert rates == [pytest.approx(rate, abs=0.1) for rate in (14.2, 22.5, 30.8, 39.2, 47.5, 55.8)]
    assert sum(s.ok for s in result.summaries) == 42
    assert result.summaries[-1].ok > result.summaries[0].ok


async def test_errors_and_short_answers_are_counted_apart() -> None:
    script = in_turn(paced, lambda _: Answer(["one"]), lambda _: Answer(status=503, error="busy"))
    config = but(concurrency=(1,), requests=9, warmup=0)
    result = await measured(config, script)
    summary = result.summaries[0]
    assert (summary.ok, summary.short, summary.errors) == (3, 3, 3)
    assert summary.messages == {"busy": 3} and summary.spreads["ttft_ms"].n == 3
    text = report.terminal(result)
    assert "Errors at 1 open: 3 × `busy`" in text and "3 short answers" in text


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    script = in_turn(
        lambda _: Answer(["a"], finish=False),
        lambda _: Answer(["a", b'{"error": "no room"}\n']),
        lambda _: Answer(["a", b"junk\n"]),
    )
    config = but(concurrency=(1,), requests=3, warmup=0)
    summary = (await measured(config, script)).summaries[0]
    assert summary.errors == 3 and "no room" in summary.messages
    assert any("before it was complete" in text for text in summary.messages)
    assert any("not in the API ollama" in text for text in summary.messages)


async def test_an_endless_answer_is_cut_off() -> None:
    config = but(concurrency=(1,), requests=1, warmup=0)
    summary = (await measured(config, lambda _: Answer(["w"] * 1200))).summaries[0]
    assert summary.errors == 1 and "far more than was asked for" in next(iter(summary.messages))


async def test_too_many_errors_end_the_run() -> None:
    config = but(concurrency=(1, 2), requests=50, max_errors=2, warmup=0)
    result = await measured(config, lambda _: Answer(status=500, error="boom"))
    assert not result.complete and result.ended_by == "errors"
    assert [s.errors for s in result.summaries] == [3]
    assert "errors: partial result" in report.title(result)


async def test_a_saturated_open_loop_ends_by_itself() -> None:
    """Ten come each tenth of a second, and none is answered."""
    config = but(rates=(100.0, 200.0), requests=None, duration_s=60.0, until_saturated=True)
    hold = in_turn(quick, *[lambda _: Answer(["a", Hold()])] * 10_000)
    async with asyncio.timeout(30):
        result = await measured(config, hold)
    (summary,) = result.summaries
    assert summary.is_saturated and summary.ended_by == "saturation"
    assert result.complete


@pytest.mark.alone
async def test_a_sweep_finds_the_limit_of_a_server() -> None:
    """It answers two at a time, so four bring no more."""
    turn = asyncio.Semaphore(2)

    class Limited(ScriptedEndpoint):
        async def _generate(self, received: Received, writer: asyncio.StreamWriter) -> bool:
            async with turn:
                return await super()._generate(received, writer)

    config = but(sweep=Sweep(refine=0), requests=8)
    async with Limited(slow) as server, endpoint_of(server) as endpoint:
        result = await run(config, endpoint)
    assert [s.load.concurrency for s in result.summaries] == [1, 2, 4]
    assert [s.is_saturated for s in result.summaries] == [False, False, True]
    assert [row[0] for row in report.rows(result)[1]] == ["1 open", "2 open", "4 open"]
    assert "at 2 open" in report.sentence(result) and "4 open is saturated" in report.sentence(
        result
    )


async def test_a_conversation_has_all_of_it_so_far() -> None:
    config = but(
        concurrency=(2,), requests=8, warmup=0, workload=msgspec.structs.replace(TINY, turns=3)
    )
    async with ScriptedEndpoint(quick) as server, endpoint_of(server) as endpoint:
        result = await run(config, endpoint)
    sent = [r.body["messages"] for r in server.generations()]
    lengths = sorted(len(messages) for messages in sent)
    assert set(lengths) == {1, 3, 5}
    third = next(messages for messages in sent if len(messages) == 5)
    assert [m["role"] for m in third] == ["user", "assistant", "user", "assistant", "user"]
    assert third[1]["content"] == "w w w w "
    assert {r.turn for r in records_of(result)} == {0, 1, 2}
    assert all(not r.prompt and not r.reply for r in records_of(result))


async def test_texts_are_kept_only_when_asked_for() -> None:
    private = await measured(but(requests=2), quick)
    assert "w w" not in private.to_json() and not records_of(private)[0].prompt
    kept = await measured(but(requests=2, keep_text=True), quick)
    assert {r.reply for r in records_of(kept)} == {"w w w w "} and records_of(kept)[0].prompt


async def test_stop_keeps_what_was_measured_and_closes_its_requests() -> None:
    async with ScriptedEndpoint() as server, endpoint_of(server) as endpoint:
        server.script = in_turn(*[paced] * 4, *[lambda _: Answer(["a", Hold()])] * 100)
        going = Run(SMALL, endpoint)
        task = asyncio.create_task(going.run())
        await server.until(lambda s: len(s.generations()) == 5 and s.active == 1)
        going.stop()
        going.stop()
        result = await task
        await server.until(lambda s: s.active == 0)
    assert not result.complete and result.ended_by == "stopped"
    assert (result.summaries[0].ok, result.summaries[0].unfinished) == (3, 1)
    assert "partial result" in report.title(result)
    assert going.progress().stage == "done"


async def test_stop_ends_a_warm_up_that_hangs() -> None:
    async with (
        ScriptedEndpoint(lambda _: Answer([Hold()])) as server,
        endpoint_of(server) as endpoint,
    ):
        going = Run(SMALL, endpoint)
        task = asyncio.create_task(going.run())
        await server.until(lambda s: s.active == 1)
        going.stop()
        result = await task
        await server.until(lambda s: s.active == 0)
    assert result.levels == () and not going.has_measured


async def test_a_cancelled_run_keeps_what_it_measured_and_closes_its_requests() -> None:
    async with ScriptedEndpoint() as server, endpoint_of(server) as endpoint:
        server.script = in_turn(*[paced] * 4, *[lambda _: Answer(["a", Hold()])] * 100)
        going = Run(SMALL, endpoint)
        task = asyncio.create_task(going.run())
        await server.until(lambda s: len(s.generations()) == 5 and s.active == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda s: s.active == 0)
    result = going.result()
    assert not result.complete and result.summaries[0].ok == 3


async def test_progress_tells_rate_flight_errors_and_first_tokens() -> None:
    told: list[Progress] = []
    script = in_turn(paced, paced, lambda _: Answer(status=503, error="busy"))
    async with ScriptedEndpoint(script) as server, endpoint_of(server) as endpoint:
        await Run(but(warmup=1, requests=9), endpoint, told.append).run()
    assert told[-1].stage == "done" and {p.levels for p in told} == {2}
    assert {p.level for p in told} >= {0, 1, 2}
    last = [p for p in told if p.level == 2 and p.stage != "done"][-1]
    assert last.load == "3 open" and last.asked == 9 and last.in_flight <= 3
    shown = [p for p in told if p.ttft_p50_ms is not None and p.errors]
    assert shown and all(p.tokens_per_s and p.requests_per_s and p.ok for p in shown)
    assert "in flight" in str(shown[0]) and "first token p50" in str(shown[0])


async def test_a_run_can_be_looked_at_while_it_goes_on() -> None:
    """As a panel does, which paints its table; intervals come at the end."""
    async with ScriptedEndpoint() as server, endpoint_of(server) as endpoint:
        server.script = in_turn(*[paced] * 4, *[lambda _: Answer(["a", Hold()])] * 100)
        going = Run(SMALL, endpoint)
        task = asyncio.create_task(going.run())
        await server.until(lambda s: len(s.generations()) == 5 and s.active == 1)
        during = going.result()
        going.stop()
        after = await task
    assert not during.complete and during.summaries[0].ok == 3
    assert during.summaries[0].spreads["ttft_ms"].ci == {} and report.terminal(during)
    assert set(after.summaries[0].spreads["ttft_ms"].ci) == {"50", "99"}
    assert compare(during, after).rows


async def test_a_connection_that_was_opened_for_a_request_is_noted() -> None:
    """The first of three at once has the one of the warm-up; the others open theirs, once."""
    result = await measured(but(concurrency=(3,), requests=9))
    opened = [r.connect_s for r in records_of(result) if r.connect_s is not None]
    assert len(opened) == 2 and all(0 < seconds < 1 for seconds in opened)


async def test_a_client_that_is_held_up_says_so() -> None:
    def script(received: Received) -> Answer:
        time.sleep(0.2)  # on the loop of the client, too
        return quick(received)

    summary = (await measured(but(concurrency=(1,), requests=2, warmup=0), script)).summaries[0]
    assert any("held up for" in notice for notice in summary.notices)


async def test_openais_api_gives_the_same_figures() -> None:
    async with ScriptedEndpoint(paced) as server, endpoint_of(server) as endpoint:
        server.speaks_ollama = False
        result = await run(SMALL, endpoint)
        async with endpoint_of(server, "/v1") as other:
            based = await run(but(warmup=0, requests=1), other)
    assert result.subject.api == based.subject.api == "openai"
    assert result.subject.context == 2048
    assert [s.ok for s in result.summaries] == [6, 6]
    one = records_of(result)[0]
    assert (one.output_tokens, len(one.text_s), one.finish_reason) == (4, 4, "length")
    assert one.is_counted and one.last_chunk_s is not None and one.last_chunk_s > one.text_s[-1]


async def test_what_has_no_api_of_these_says_so() -> None:
    page = Answer(junk=b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>")

    class Web(ScriptedEndpoint):
        async def _answer(self, received: Received, writer: asyncio.StreamWriter) -> bool:
            writer.write(page.junk or b"")
            return True

    async with Web() as server, endpoint_of(server) as endpoint:
        with pytest.raises(EndpointError, match="neither in Ollama's nor in OpenAI's API"):
            await run(SMALL, endpoint)
        with pytest.raises(EndpointError, match="not Ollama's API"):
            await run(but(api="ollama"), endpoint)
    async with endpoint_of(server) as gone:
        with pytest.raises(EndpointError, match="Nothing answers"):
            await run(SMALL, gone)


async def test_a_wrong_key_is_one_whatever_the_api() -> None:
    async with ScriptedEndpoint(quick, key="right") as server:
        for api in ("auto", "ollama", "openai"):
            async with Endpoint.open(url=server.url, key="wrong", model="m") as endpoint:
                with pytest.raises(CredentialsError):
                    await run(but(api=api), endpoint)


async def test_a_server_of_both_apis_tells_what_it_is_whichever_is_measured() -> None:
    async with ScriptedEndpoint(quick) as server, endpoint_of(server) as endpoint:
        result = await run(but(api="openai", requests=1), endpoint)
    assert (result.subject.api, result.subject.server_version) == ("openai", "0.13.0")
    assert {r.path for r in server.generations()} == {"/v1/chat/completions"}


async def test_a_server_that_refuses_ignore_eos_is_asked_without_it() -> None:
    def script(received: Received) -> Answer:
        if "ignore_eos" in received.body:
            return Answer(status=400, error="Unrecognized request argument: ignore_eos")
        return quick(received)

    async with ScriptedEndpoint(script) as server, endpoint_of(server) as endpoint:
        server.speaks_ollama = False
        result = await run(SMALL, endpoint)
    assert [s.errors for s in result.summaries] == [0, 0]
    assert "ignore_eos, which was refused" in report.terminal(result)


async def test_a_server_that_counts_nothing_has_its_chunks_counted_and_that_is_said() -> None:
    none = {"prompt_eval_count": None, "eval_count": None, "done_reason": "length"}
    result = await measured(but(requests=2), lambda r: Answer(["w"] * asked(r), final=none))
    summary = result.summaries[0]
    assert (summary.ok, summary.short) == (2, 0) and not records_of(result)[0].is_counted
    assert any("number of chunks" in notice for notice in summary.notices)


async def test_answers_may_end_where_the_model_ends_them() -> None:
    work = msgspec.structs.replace(TINY, ignore_eos=False)
    async with (
        ScriptedEndpoint(lambda _: Answer(["one"])) as server,
        endpoint_of(server) as endpoint,
    ):
        result = await run(but(workload=work, requests=2), endpoint)
    assert result.summaries[0].ok == 2 and result.summaries[0].short == 0
    assert "ignore_eos" not in server.generations()[0].body["options"]


async def test_facts_from_elsewhere_are_in_the_result_and_price_it() -> None:
    facts = Facts(engine="vllm", slots=4, hardware="rtx4090", provider="akash1x", usd_per_hour=0.5)
    result = await measured(but(requests=2), quick, facts=facts)
    assert result.config.usd_per_hour == 0.5
    assert result.summaries[0].usd_per_million_tokens
    told = dict(report.facts(result))
    assert (told["hardware"], told["provider"], told["slots"]) == ("rtx4090", "akash1x", "4")
    assert told["price"] == "0.5 USD per hour" and "Python" in told["measured"]
    given = await measured(but(requests=2, usd_per_hour=2.0), quick, facts=facts)
    assert given.config.usd_per_hour == 2.0


async def test_a_warm_up_that_fails_ends_the_run_before_it_begins() -> None:
    with pytest.raises(EndpointError, match="boom"):
        await measured(SMALL, lambda _: Answer(status=500, error="boom"))


async def test_the_key_is_in_no_error() -> None:
    key = "ak-canary-0ddba11"
    async with (
        ScriptedEndpoint(lambda _: Answer(status=500, error=f"bad key {key}"), key=key) as server,
        Endpoint.open(url=server.url, key=key, model="m") as endpoint,
    ):
        result = await run(but(warmup=0, requests=1, concurrency=(1,)), endpoint)
    assert key not in result.to_json() and result.summaries[0].errors == 1


async def test_a_result_survives_its_file(tmp_path: Path) -> None:
    config = but(slos=(parse("ttft<=1s"),), usd_per_hour=1.0, sweep=Sweep(most=1))
    result = await measured(config, quick)
    path = tmp_path / "runs" / "result.json"
    result.save(path)
    assert Result.load(path) == result
    path.write_text("{}")
    with pytest.raises(UsageError, match="not a benchmark result"):
        Result.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency": ()},
        {"concurrency": (0,)},
        {"concurrency": (5000,)},
        {"rates": (0.0,)},
        {"rates": (1.0,), "arrival": "closed"},
        {"rates": (1.0,), "burstiness": 0.0},
        {"ramp_from": 1.0},
        {"rates": (1.0,), "ramp_from": 1.0},
        {"requests": 0},
        {"requests": None},
        {"duration_s": 0.0},
        {"cooldown_s": 1.0},
        {"duration_s": 2.0, "warmup_s": 1.0, "cooldown_s": 1.0},
        {"warmup": -1},
        {"max_errors": -1},
        {"workload": Workload(output_tokens=1)},
        {"usd_per_hour": -1.0},
        {"usd_per_hour": float("nan")},
        {"api": "soap"},
        {"sweep": Sweep(most=0)},
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        BenchConfig(**changes).checked()
    assert caught.value.hint


def test_loads_come_from_the_configuration() -> None:
    loads: Sequence[Any] = BenchConfig(rates=(1.0, 2.0), arrival="gamma", burstiness=2.0).loads()
    assert [str(load) for load in loads] == ["1/s gamma 2", "2/s gamma 2"]
