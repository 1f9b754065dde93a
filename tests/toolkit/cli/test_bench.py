"""`akash-llm bench` as processes: what is written, what it ends with, what it refuses."""

import asyncio
import json
import signal
from pathlib import Path

from tests.support.benching import asked, in_turn, level, paced, record, result_of
from tests.support.endpoint import Answer, Hold, Received, ScriptedEndpoint
from tests.toolkit.cli.test_chat_and_bench import ran, started
from toolkit.bench import Workload
from toolkit.bench.config import BenchConfig

SHORT = ("--prompt-words", "4", "--output-tokens", "3")
RUN = ("bench", "run", *SHORT)


def without(module: str) -> tuple[str, ...]:
    """The command line as it is where a module is not installed."""
    code = f"import sys; sys.modules[{module!r}] = None; from toolkit.cli import main; main()"
    return ("-c", code)


def tokens(received: Received) -> Answer:
    return Answer(["w "] * asked(received))


async def test_an_open_loop_with_every_kind_of_file(tmp_path: Path) -> None:
    endings = (".json", ".jsonl", ".csv", ".md", ".html")
    files = [tmp_path / f"result{ending}" for ending in endings]
    async with ScriptedEndpoint(tokens) as server:
        ended = await ran(
            *RUN, "--url", server.url, "--rate", "50,80", "--arrival", "constant",
            "--requests", "5", "--usd-per-hour", "1.5", "--api", "openai",
            *(part for path in files for part in ("--out", str(path))),
        )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "50/s constant" in ended.out and "USD per million tokens" in ended.out
    assert all(path.stat().st_size for path in files)
    assert ended.out.count("written: ") == 5
    assert json.loads(files[0].read_text())["subject"]["api"] == "openai"


async def test_a_missed_objective_ends_with_eight_and_is_said() -> None:
    async with ScriptedEndpoint(paced) as server:
        given = (*RUN, "--url", server.url, "--concurrency", "1", "--requests", "2")
        missed = await ran(*given, "--slo", "ttft:p99<=1ms")
        met = await ran(*given, "--slo", "ttft:p99<=60s", "--slo", "error_rate<=0")
    assert missed.code == 8 and "No level meets ttft_ms:p99<=1" in missed.out
    assert met.code == 0 and "Best rate under ttft_ms:p99<=60000 and error_rate<=0" in met.out


async def test_errors_that_an_objective_allows_are_no_failure() -> None:
    half = in_turn(tokens, lambda _: Answer(status=503, error="busy"))
    async with ScriptedEndpoint(half) as server:
        given = (*RUN, "--url", server.url, "--concurrency", "1", "--requests", "4")
        allowed = await ran(*given, "--warmup", "0", "--slo", "error_rate<=60%")
        forbidden = await ran(*given, "--warmup", "0", "--slo", "error_rate<=10%")
        ended = await ran(*given, "--warmup", "0", "--max-errors", "0")
    assert (allowed.code, forbidden.code, ended.code) == (0, 8, 7)
    assert "errors: partial result" in ended.out


async def test_a_sweep_says_the_best_load_in_one_sentence() -> None:
    async with ScriptedEndpoint(paced) as server:
        ended = await ran(
            "bench", "sweep", *SHORT, "--url", server.url, "--duration", "0.3", "--most", "2",
            "--slo", "ttft<=60s",
        )  # fmt: skip
        none = await ran(
            "bench", "sweep", *SHORT, "--url", server.url, "--duration", "0.2",
            "--slo", "ttft<=1ms",
        )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1].startswith("Best rate under ttft_ms:p99<=60000: ")
    assert none.code == 8


async def test_prompts_of_a_file_and_the_texts_that_are_kept(tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "result.json"
    prompts.write_text('{"prompt": "the canary sings"}\n')
    async with ScriptedEndpoint(tokens) as server:
        given = (*RUN, "--url", server.url, "--concurrency", "1", "--requests", "2")
        files = ("--file", str(prompts), "--out", str(out))
        assert (await ran(*given, *files)).code == 0
        private = out.read_text()
        assert (await ran(*given, *files, "--keep-text")).code == 0
    assert "canary" not in private and str(tmp_path) not in private
    assert "the canary sings" in out.read_text()


async def test_a_reply_with_half_a_character_is_measured_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    files = ("--out", str(out), "--out", str(tmp_path / "lines.jsonl"), "--keep-text")
    for api in ("ollama", "openai"):
        async with ScriptedEndpoint(lambda _: Answer(["w ", "a\ud800b", " w"])) as server:
            ended = await ran(
                *RUN, "--url", server.url, "--api", api, "--concurrency", "1", "--requests", "1",
                "--warmup", "0", *files,
            )  # fmt: skip
        assert ended.code == 0, ended.err
        (kept,) = json.loads(out.read_text())["levels"][0]["records"]
        assert kept["reply"] == "w a\ufffdb w"


async def test_an_interrupted_run_writes_its_files(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    script = in_turn(*[tokens] * 3, *[lambda _: Answer(["a", Hold()])] * 50)
    async with ScriptedEndpoint(script) as server:
        process = await started(
            *RUN, "--url", server.url, "--concurrency", "2", "--requests", "9", "--out", str(out)
        )
        await server.until(lambda s: s.active == 2 and len(s.generations()) == 5)
        process.send_signal(signal.SIGINT)
        text, err = await process.communicate()
        await server.until(lambda s: s.active == 0)
    assert process.returncode == 130, err
    whole = json.loads(out.read_text())
    assert not whole["complete"] and whole["summaries"][0]["ok"] == 2
    assert whole["summaries"][0]["unfinished"] == 2 and b"partial result" in text


async def test_two_results_are_compared_or_refused(tmp_path: Path) -> None:
    one, other, odd = (tmp_path / name for name in ("a.json", "b.json", "c.json"))
    result_of(level(record())).save(one)
    result_of(level(record(end_s=1.8))).save(other)
    result_of(level(record()), config=BenchConfig(workload=Workload(seed=2))).save(odd)
    same, as_json, refused, none = await asyncio.gather(
        ran("bench", "compare", str(one), str(other)),
        ran("bench", "compare", str(one), str(other), "--json"),
        ran("bench", "compare", str(one), str(odd)),
        ran("bench", "compare", str(one), str(tmp_path / "none.json")),
    )
    assert same.code == 0 and "whole request p50" in same.out
    assert json.loads(as_json.out)["schema"] == 1
    assert refused.code == 2 and "seed: 1 and 2" in refused.err
    assert none.code == 2 and "cannot be read: No such file" in none.err


async def test_a_result_is_shown_and_written_in_other_forms(tmp_path: Path) -> None:
    kept, table = tmp_path / "a.json", tmp_path / "a.csv"
    result_of(level(record())).save(kept)
    shown, written, whole, bad = await asyncio.gather(
        ran("bench", "report", str(kept)),
        ran("bench", "report", str(kept), "--out", str(table), "--like", "vllm"),
        ran("bench", "report", str(kept), "--json"),
        ran("bench", "report", str(kept), "--out", str(tmp_path / "a.docx")),
    )
    assert shown.code == 0 and "Formulas:" in shown.out
    assert written.code == 0 and "median_ttft_ms" in table.read_text()
    assert json.loads(whole.out)["schema"] == 1
    assert bad.code == 2 and ".html" in bad.err


async def test_the_engine_alone_and_the_client_alone(tmp_path: Path) -> None:
    out = tmp_path / "engine.csv"
    async with ScriptedEndpoint(tokens) as server:
        engine = await ran(
            "bench", "engine", "--url", server.url, "-p", "16", "-n", "4", "-r", "2",
            "--out", str(out),
        )  # fmt: skip
        page = await ran("bench", "engine", "--url", server.url, "--out", str(tmp_path / "a.html"))
    assert engine.code == 0, engine.err
    assert "| pp16 |" in engine.out and "| tg4 |" in engine.out
    assert out.read_text().startswith("model,") and page.code == 2
    client = await ran("bench", "calibrate", "--streams", "3", "--chunks", "5", "--json")
    assert json.loads(client.out)["chunks"] == 15


async def test_what_cannot_be_meant_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    async with ScriptedEndpoint(tokens) as server:
        ends = await asyncio.gather(
            ran(*RUN, "--url", server.url, "--slo", "fast"),
            ran(*RUN, "--url", server.url, "--rate", "a"),
            ran(*RUN, "--url", server.url, "--ramp", "5", "--duration", "1"),
            ran(*RUN, "--url", server.url, "--ramp", "1:5"),
            ran(*RUN, "--url", server.url, "--ramp", "1:5", "--rate", "2", "--duration", "1"),
            ran(*RUN, "--url", server.url, "--prompt-words", "9-x"),
            ran(*RUN, "--url", server.url, "--out", str(tmp_path / "none" / "a.json")),
            ran(*RUN, "--url", server.url, "--file", str(tmp_path / "none.jsonl")),
            ran("bench", "engine", "--url", server.url, "--pg", "5"),
        )
        assert server.received == []
    assert [end.code for end in ends] == [2] * len(ends), [end.err for end in ends]
    assert "ttft_ms:p99<=500" in ends[0].err and "0.5:8" in ends[2].err


async def test_a_file_that_cannot_be_written_is_said_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text("an older result")
    (tmp_path / "folder.md").mkdir()
    tables = ("/proc/a.csv", str(tmp_path / "folder.md"), str(tmp_path / f"{'n' * 260}.json"))
    async with ScriptedEndpoint(tokens) as server:
        given = ("--url", server.url, "--out", str(kept), "--out")
        plain = await asyncio.gather(*(ran(*RUN, *given, out) for out in tables))
        engine = await ran("bench", "engine", *given, "/proc/a.csv")
        page = await ran(
            *RUN, *given, str(tmp_path / "page.html"), program=without("matplotlib")
        )  # fmt: skip
        assert server.received == []
    assert [end.code for end in (*plain, engine, page)] == [3, 2, 3, 3, 3], page.err
    assert "/proc/a.csv cannot be written" in plain[0].err and "directory" in plain[1].err
    assert "pip install 'akash-llm[notebook]'" in page.err and "Traceback" not in page.err
    assert kept.read_text() == "an older result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.md", "kept.json"]
